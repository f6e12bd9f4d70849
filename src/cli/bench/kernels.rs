//! `agoge bench kernels`: the masked gather of gradients, every strategy against the dense gradient and a gather.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::measure::{fastest, reserve};
use crate::{
    Result,
    cli::format::bytes,
    config::List,
    device::{self, DeviceChoice},
    kernel::{
        Strategy,
        masked_gather::{self, Machine, masked_gather},
    },
    method::mask,
    rng::Stream,
};

#[derive(Debug, Args)]
pub(super) struct Kernels {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Widths of square weights, comma-separated
    #[arg(long, default_value = "256,512,1024,2048")]
    sizes: List<usize>,
    /// Densities, comma-separated
    #[arg(long, default_value = "0.001,0.003,0.01,0.03,0.1,0.3")]
    densities: List<f64>,
    /// Tokens
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Kernels {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        crate::kernel::check_launches();
        let mut rows = Vec::new();
        if !self.json {
            println!("{} ({}), {} tokens", device.facts.name, device.facts.backend, self.tokens);
            println!("times in ms; x = dense + gather divided by ours; memory beyond the inputs and the mask\n");
            println!(
                "{:>5} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}  {:>7} {:<7} {:>10} {:>10}",
                "width",
                "density",
                "dense",
                "direct",
                "dot",
                "transp.",
                "tiled",
                "x auto",
                "auto",
                "mem dense",
                "mem auto"
            );
        }
        for &size in &self.sizes.0 {
            let mut stream = Stream::new(1, "bench");
            let mut random = |len: usize| (0..len).map(|_| stream.unit() as f32 - 0.5).collect::<Vec<f32>>();
            let x = device.floats(random(self.tokens * size), [self.tokens, size]);
            let dy = device.floats(random(self.tokens * size), [self.tokens, size]);
            let mut crossover = None;
            for &density in &self.densities.0 {
                let selected = ((density * (size * size) as f64).round() as usize).max(1);
                let indices = device.indices(&mask::draw(1, "bench", size * size, selected));
                let gather = |strategy| masked_gather(x.clone(), dy.clone(), indices.clone(), strategy);
                let composed = || masked_gather::composed(x.clone(), dy.clone(), indices.clone());
                let dense = fastest(&device, composed)?;
                let direct = fastest(&device, || gather(Strategy::Direct))?;
                let dots = fastest(&device, || gather(Strategy::DotProducts))?;
                let turned = fastest(&device, || gather(Strategy::Transposed))?;
                let tiled = fastest(&device, || gather(Strategy::Tiled))?;
                let chosen = Strategy::Auto.resolve(Machine::of(&device), self.tokens, size, size, selected);
                let auto = match chosen {
                    Strategy::Tiled => tiled,
                    Strategy::DotProducts => dots,
                    Strategy::Transposed => turned,
                    _ => direct,
                };
                let (dense_memory, auto_memory) =
                    (reserve(&device, composed)?, reserve(&device, || gather(Strategy::Auto))?);
                if tiled < direct.min(dots).min(turned) && crossover.is_none() {
                    crossover = Some(density);
                }
                rows.push(json!({
                    "width": size, "density": density, "tokens": self.tokens, "dense_secs": dense,
                    "direct_secs": direct, "dots_secs": dots, "turned_secs": turned, "tiled_secs": tiled,
                    "chosen": format!("{chosen:?}").to_lowercase(),
                    "speedup": dense / auto, "dense_bytes": dense_memory, "bytes": auto_memory,
                    "weight_bytes": 4 * size * size,
                }));
                if !self.json {
                    println!(
                        "{size:>5} {density:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}  {:>7.2} {:<7} {:>10} {:>10}",
                        1e3 * dense,
                        1e3 * direct,
                        1e3 * dots,
                        1e3 * turned,
                        1e3 * tiled,
                        dense / auto,
                        format!("{chosen:?}").to_lowercase(),
                        bytes(dense_memory),
                        bytes(auto_memory)
                    );
                }
            }
            if !self.json {
                let measured = crossover.map_or("none of these".into(), |density| density.to_string());
                println!("      first density at which tiled is the fastest: {measured}\n");
            }
        }
        if self.json {
            println!("{}", json!({ "device": device.facts, "rows": rows }));
        }
        Ok(ExitCode::SUCCESS)
    }
}
