//! The one list of a run's settings, with defaults, explanations, bounds and checks.
//!
//! A setting comes from its default, then from `--config file.toml`, then from a flag. The list makes all three:
//! [`RunConfig`] (what a run uses and `config.json` records) and [`Overrides`] (what a person typed).

mod bounds;
mod by_name;
pub mod bytes;
mod grad_checkpointing;
mod list;
mod values;
mod words;

use std::path::Path;

use crate::{Error, Result, storage};

pub use bounds::OutOfBounds;
pub use by_name::settings;
pub use grad_checkpointing::GradCheckpointing;
pub use list::{DEFAULT_METHOD, Overrides, RunConfig, SettingInfo};
pub use values::{AdapterDtype, HeadStart, Init, List, MaskPrompt, Prompts, Quantize, Schedule, Task, WeightsDtype};

/// Settings that name model and data, which the demo inside this program brings along.
pub const OF_MODEL_AND_DATA: &[&str] = &["model", "revision", "data", "valid_data"];

/// The part of the settings that a method reads.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    /// Share of the whole model that stays frozen.
    pub sparsity: f64,
    /// Share of each target tensor that is trained, instead.
    pub density: Option<f64>,
    /// Exact number of numbers to train in the target tensors, instead.
    pub trainable_parameters: Option<usize>,
    /// Name of the way in which they are chosen.
    pub mask: String,
    /// Rank of low-rank matrices.
    pub lora_rank: usize,
    /// Numerator of their scale.
    pub lora_alpha: f64,
    /// Share of inputs dropped in training.
    pub lora_dropout: f64,
    /// Whether the scale's denominator is the root of the rank.
    pub lora_rs: bool,
    /// Name patterns to train; empty: the method's default.
    pub target_modules: Vec<String>,
    /// Name patterns to leave frozen.
    pub frozen_modules: Vec<String>,
    /// Whole embedding rows to train.
    pub trainable_tokens: Vec<u32>,
    /// Whether mask indices are stored.
    pub explicit_indices: bool,
}

impl RunConfig {
    /// Settings from a TOML file over the defaults.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or has a key that is not a setting.
    pub fn from_toml(path: &Path) -> Result<Self> {
        let text = storage::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {}", path.display(), e.to_string().trim_end())))
    }

    /// The settings that the run in `folder` has recorded, with `out` where it is now.
    ///
    /// # Errors
    /// A `config.json` that cannot be read, or is not that of a run.
    pub fn stored(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = storage::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: not the settings of a run: {e}", path.display())))?;
        Ok(Self { out: folder.to_path_buf(), ..config })
    }

    /// The memory to stay within, in bytes, if one is set.
    ///
    /// # Errors
    /// A text that is not an amount.
    pub fn memory_budget_bytes(&self) -> Result<Option<u64>> {
        if self.memory_budget.is_empty() {
            return Ok(None);
        }
        let read = bytes::parse(&self.memory_budget);
        read.map(Some).map_err(|rule| Error::input(format!("--memory-budget {}: {rule}", self.memory_budget)))
    }

    /// The settings that the method reads.
    pub fn method_config(&self) -> MethodConfig {
        MethodConfig {
            sparsity: self.sparsity,
            density: (self.density > 0.0).then_some(self.density),
            trainable_parameters: (self.trainable_parameters > 0).then_some(self.trainable_parameters),
            mask: self.mask.clone(),
            lora_rank: self.lora_rank,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            lora_rs: self.lora_rs,
            target_modules: self.target_modules.0.clone(),
            frozen_modules: self.frozen_modules.0.clone(),
            trainable_tokens: self.trainable_tokens.0.clone(),
            explicit_indices: self.explicit_indices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_their_own_checks_and_survive_a_round_trip() {
        let config = RunConfig::default();
        config.check().expect("defaults are in bounds");
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(toml::from_str::<RunConfig>(&text).expect("TOML"), config);
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut config: RunConfig = toml::from_str("steps = 7\nbatch_size = 2").expect("TOML");
        Overrides { steps: Some(9), ..Overrides::default() }.apply(&mut config);
        assert_eq!((config.steps, config.batch_size), (9, 2));
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error = toml::from_str::<RunConfig>("stepz = 7").expect_err("unknown");
        assert!(error.to_string().contains("stepz"), "{error}");
    }
}
