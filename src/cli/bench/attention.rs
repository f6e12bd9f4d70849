//! `agoge bench attention`: blockwise attention against all scores at once.

use std::process::ExitCode;

use burn::tensor::Tensor;
use clap::Args;
use serde_json::json;

use super::{fastest, reserve};
use crate::{
    Result,
    cli::format::bytes,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{self, AttentionRule},
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

/// Sizes of a call: sequences, positions, heads, key/value heads, numbers in a head, whether later keys are hidden.
type Size = (usize, usize, usize, usize, usize, bool);

/// Those of some models at usual batches.
const SIZES: &[(&str, Size)] = &[
    ("MiniLM", (16, 64, 12, 12, 32, false)),
    ("babyllama105", (8, 256, 8, 4, 16, true)),
    ("stories260K", (8, 128, 8, 4, 8, true)),
    ("SmolLM2-135M", (4, 256, 9, 3, 64, true)),
    ("Qwen2.5-0.5B", (1, 1024, 14, 2, 64, true)),
    ("Gemma-2-2B", (1, 512, 8, 4, 256, true)),
    ("Qwen2.5-0.5B, generating", (1, 1, 14, 2, 64, true)),
];

impl Attention {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({})", device.facts.name, device.facts.backend);
            println!("times in ms of all scores at once and of blocks; memory beyond the operands\n");
            println!(
                "{:<26} {:<18} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7} {:>10} {:>10}",
                "model", "B T H K head", "forward", "blocks", "x", "with back", "blocks", "x", "mem", "blocks"
            );
        }
        for &(name, size) in SIZES {
            let row = Row::measure(&device, size)?;
            let (sequences, positions, heads, kv_heads, head_dim, _) = size;
            if !self.json {
                println!(
                    "{name:<26} {:<18} {:>9.2} {:>9.2} {:>7.2} {:>9.2} {:>9.2} {:>7.2} {:>10} {:>10}",
                    format!("{sequences} {positions} {heads} {kv_heads} {head_dim}"),
                    1e3 * row.forward[0],
                    1e3 * row.forward[1],
                    row.forward[0] / row.forward[1],
                    1e3 * row.both[0],
                    1e3 * row.both[1],
                    row.both[0] / row.both[1],
                    bytes(row.memory[0]),
                    bytes(row.memory[1])
                );
            }
            rows.push(json!({
                "model": name, "sequences": sequences, "positions": positions, "heads": heads, "kv_heads": kv_heads,
                "head_dim": head_dim, "forward_secs": row.forward, "forward_backward_secs": row.both,
                "bytes": row.memory,
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
    /// Of a forward and backward pass.
    memory: [u64; 2],
}

impl Row {
    fn measure(device: &ComputeDevice, (sequences, positions, heads, kv_heads, head_dim, causal): Size) -> Result<Self> {
        let mut stream = Stream::new(1, "bench");
        // Generation is one new position among many keys.
        let keys = if positions == 1 { 1000 } else { positions };
        let mut random = |positions: usize, heads: usize| {
            let dims = [sequences, positions, heads, head_dim];
            let values = (0..dims.iter().product()).map(|_| stream.unit() as f32 - 0.5);
            device.floats(values.collect(), dims)
        };
        let operands = [random(positions, heads), random(keys, kv_heads), random(keys, kv_heads)];
        let rule = AttentionRule { scale: (head_dim as f32).sqrt().recip(), softcap: None, window: None, causal };
        let none = device.integers(vec![1]);
        let visible = kernel::attention::visible(&operands[0], &operands[1], None, rule);
        type Op<'a> = &'a dyn Fn([Tensor<4>; 3], bool) -> Tensor<4>;
        let at_once: Op = &|[q, k, v], tracked| {
            let visible = if tracked { Tensor::from_inner(visible.clone()) } else { visible.clone() };
            kernel::attention::composed(q, k, v, visible, rule)
        };
        let old: Op = &|[query, keys, values], _| {
            let [rows, width, heads, head_dim] = query.dims();
            let [_, length, kv_heads, _] = keys.dims();
            let query = query.swap_dims(1, 2);
            let keys = keys.swap_dims(1, 2);
            let values = values.swap_dims(1, 2);
            let query = query.reshape([rows, kv_heads, heads / kv_heads * width, head_dim]);
            let scores = query.matmul(keys.swap_dims(2, 3));
            let shape = scores.dims();
            let mask = kernel::AttentionMask {
                scale: rule.scale, width, start: length - width, window: None, rows_per_sequence: heads * width, causal };
            let scores = scores.reshape([rows * heads * width, length]);
            let probabilities = kernel::attention_softmax(scores, none.clone(), mask);
            let mixed = probabilities.reshape(shape).matmul(values);
            mixed.reshape([rows, heads, width, head_dim]).swap_dims(1, 2).reshape([rows, width, heads, head_dim])
        };
        let at_once = if std::env::var("OLD").is_ok() { old } else { at_once };
        let blocks: Op = &|[q, k, v], _| kernel::attention(q, k, v, none.clone(), rule);
        let forward = |op: Op| fastest(device, || op(operands.clone(), false).sum());
        let round_trip = |op: Op| {
            let leaves = operands.clone().map(|x| Tensor::from_inner(x).require_grad());
            let grads = op(leaves.clone(), true).sum().backward();
            let [q, k, v] = leaves.map(|leaf| leaf.grad(&grads).expect("the result depends on every operand"));
            q.sum() + k.sum() + v.sum()
        };
        let both = |op: Op| fastest(device, || round_trip(op));
        Ok(Self {
            forward: [forward(at_once)?, forward(blocks)?],
            both: [both(at_once)?, both(blocks)?],
            memory: [reserve(device, || round_trip(at_once))?, reserve(device, || round_trip(blocks))?],
        })
    }
}
