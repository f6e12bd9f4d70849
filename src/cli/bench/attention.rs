//! `agoge bench attention`: blockwise attention against all scores at once.

use std::process::ExitCode;

use burn::tensor::Tensor;
use clap::Args;
use serde_json::json;

use super::measure::{fastest, in_use};
use crate::{
    Error, Result,
    cli::format::bytes,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{self, AttentionRule, attention},
    rng::Stream,
};

#[derive(Debug, Args)]
pub(super) struct Attention {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Sizes of a call: sequences, positions, heads, key/value heads, width of a head, whether later keys are hidden.
type Size = (usize, usize, usize, usize, usize, bool);

/// Those of some models at usual batches.
const SIZES: &[(&str, Size)] = &[
    ("MiniLM", (16, 64, 12, 12, 32, false)),
    ("babyllama105", (8, 256, 8, 4, 16, true)),
    ("stories260K", (8, 128, 8, 4, 8, true)),
    ("SmolLM2-135M", (4, 256, 9, 3, 64, true)),
    ("Qwen2.5-0.5B", (1, 1024, 14, 2, 64, true)),
    ("Gemma-2-2B", (1, 512, 8, 4, 256, true)),
];

impl Attention {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        kernel::check_launches();
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({})", device.facts.name, device.facts.backend);
            println!("times in ms of all scores at once and of blocks; kept = memory from forward to backward pass\n");
            println!(
                "{:<13} {:<18} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7} {:>9} {:>9}",
                "model", "B T H K head", "forward", "blocks", "x", "and back", "blocks", "x", "kept", "blocks"
            );
        }
        for &(name, size) in SIZES {
            let row = Row::measure(&device, size)?;
            let (sequences, positions, heads, kv_heads, head_dim, _) = size;
            if !self.json {
                let sizes = format!("{sequences} {positions} {heads} {kv_heads} {head_dim}");
                let kept = row.kept.map(|kept| kept.map_or("-".into(), bytes));
                println!(
                    "{name:<13} {sizes:<18} {:>9.2} {:>9.2} {:>7.2} {:>9.2} {:>9.2} {:>7.2} {:>9} {:>9}",
                    1e3 * row.forward[0],
                    1e3 * row.forward[1],
                    row.forward[0] / row.forward[1],
                    1e3 * row.both[0],
                    1e3 * row.both[1],
                    row.both[0] / row.both[1],
                    kept[0],
                    kept[1]
                );
            }
            rows.push(json!({
                "model": name, "sequences": sequences, "positions": positions, "heads": heads, "kv_heads": kv_heads,
                "head_dim": head_dim, "forward_secs": row.forward, "forward_backward_secs": row.both,
                "kept_bytes": row.kept,
            }));
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All scores at once, then blocks.
struct Row {
    forward: [f64; 2],
    both: [f64; 2],
    /// Bytes beyond the operands between the passes, where the device has an allocator to ask.
    kept: [Option<u64>; 2],
}

/// Attention of queries, keys and values, on tracked tensors or not.
type Op<'a> = &'a dyn Fn([Tensor<4>; 3], bool) -> Tensor<4>;

impl Row {
    fn measure(
        device: &ComputeDevice,
        (sequences, positions, heads, kv_heads, head_dim, causal): Size,
    ) -> Result<Self> {
        let mut stream = Stream::new(1, "bench");
        let mut random = |heads: usize| {
            let dims = [sequences, positions, heads, head_dim];
            let values = (0..dims.iter().product()).map(|_| stream.unit() as f32 - 0.5);
            device.floats(values.collect(), dims)
        };
        let operands = [random(heads), random(kv_heads), random(kv_heads)];
        let rule = AttentionRule { scale: (head_dim as f32).sqrt().recip(), softcap: None, window: None, causal };
        let none = device.integers(vec![1]);
        let visible = attention::visible(&operands[0], &operands[1], None, rule);
        let at_once: Op = &|[queries, keys, values], tracked| {
            let visible = if tracked { Tensor::from_inner(visible.clone()) } else { visible.clone() };
            attention::composed(queries, keys, values, visible, rule)
        };
        let blocks: Op = &|[queries, keys, values], _| kernel::attention(queries, keys, values, none.clone(), rule);
        let leaves = || operands.clone().map(|x| Tensor::from_inner(x).require_grad());
        let forward = |op: Op| fastest(device, || op(operands.clone(), false).sum());
        let both = |op: Op| {
            fastest(device, || {
                let leaves = leaves();
                let grads = op(leaves.clone(), true).sum().backward();
                let [q, k, v] = leaves.map(|leaf| leaf.grad(&grads).expect("the result depends on every operand"));
                q.sum() + k.sum() + v.sum()
            })
        };
        let kept = |op: Op| {
            let before = in_use(device)?;
            let result = op(leaves(), true);
            let after = in_use(device)?;
            drop(result);
            Ok::<_, Error>((!device.is_cpu()).then_some(after.saturating_sub(before)))
        };
        Ok(Self {
            forward: [forward(at_once)?, forward(blocks)?],
            both: [both(at_once)?, both(blocks)?],
            kept: [kept(at_once)?, kept(blocks)?],
        })
    }
}
