//! `agoge devices`

use std::process::ExitCode;

use clap::Args;

use super::format::bytes;
use crate::{
    Result,
    device::{self, DeviceChoice},
};

/// Arguments of `agoge devices`.
#[derive(Debug, Args)]
pub(super) struct Devices {
    /// Write the list as JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let devices = device::list().await;
        if self.json {
            println!("{}", serde_json::json!(devices));
            return Ok(ExitCode::SUCCESS);
        }
        for facts in &devices {
            println!("{}  {}", facts.index, facts.name);
            let driver = if facts.driver.is_empty() { String::new() } else { format!(", driver {}", facts.driver) };
            let memory = facts.memory_bytes.map_or_else(String::new, |memory| format!(", {} of memory", bytes(memory)));
            println!("   {} through {}{driver}{memory}", facts.kind, facts.backend);
            if let (Some(binding), Some(buffers), Some(workgroup)) =
                (facts.max_binding_bytes, facts.max_storage_buffers, facts.max_workgroup_memory_bytes)
            {
                let f16 = if facts.shader_f16 { "f16 yes" } else { "f16 no" };
                let subgroups = match facts.subgroup_sizes {
                    Some((low, high)) if low == high => format!("subgroups of {low}"),
                    Some((low, high)) => format!("subgroups of {low} to {high}"),
                    None => "no subgroups".into(),
                };
                println!(
                    "   largest tensor {}, {buffers} storage buffers, {} workgroup memory, {f16}, {subgroups}",
                    bytes(binding),
                    bytes(u64::from(workgroup))
                );
            }
        }
        let chosen = device::open(&DeviceChoice::Auto).await?;
        println!("\n--device auto takes {} ({}): {}", chosen.facts.name, chosen.facts.backend, chosen.reason);
        Ok(ExitCode::SUCCESS)
    }
}
