//! The bounds of each setting that need no model and no data.

use super::{Init, Quantize, RunConfig, values::Written};
use crate::{Error, Result};

/// A setting out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Its name in [`RunConfig`].
    pub setting: &'static str,
    /// What it is and what it may be.
    pub message: String,
}

impl RunConfig {
    /// Checks every bound that needs no model and no data.
    ///
    /// # Errors
    /// The first setting that is out of bounds, with what it may be.
    pub fn check(&self) -> Result<()> {
        self.faults().into_iter().next().map_or(Ok(()), |fault| Err(Error::Input(fault.message)))
    }

    /// Every setting that is out of bounds, with what it may be.
    pub fn faults(&self) -> Vec<OutOfBounds> {
        let mut faults = Vec::new();
        let mut unless = |good: bool, setting: &'static str, value: &dyn std::fmt::Display, rule: &str| {
            if !good {
                let message = format!("--{} {value}: it must be {rule}", setting.replace('_', "-"));
                faults.push(OutOfBounds { setting, message });
            }
        };
        unless(
            self.sparsity > 0.0 && self.sparsity < 1.0,
            "sparsity",
            &self.sparsity,
            "between 0 and 1 (0.99 trains 1 % of the model)",
        );
        unless(
            self.init == Init::Pretrained || self.quantize == Quantize::None,
            "quantize",
            &self.quantize.write(),
            "none with --init random: weights that are all new are not worth fewer bits",
        );
        unless((0.0..=1.0).contains(&self.density), "density", &self.density, "between 0 and 1");
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("min_learning_rate", self.min_learning_rate),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ] {
            unless(value.is_finite() && value >= 0.0, name, &value, "a finite number that is not negative");
        }
        unless(
            !(self.learning_rate > 0.0 && self.min_learning_rate > self.learning_rate),
            "min_learning_rate",
            &self.min_learning_rate,
            "at most the learning rate",
        );
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            unless((0.0..1.0).contains(&value), name, &value, "at least 0 and below 1");
        }
        for (name, value) in [("epsilon", self.epsilon), ("lora_alpha", self.lora_alpha)] {
            unless(value > 0.0 && value.is_finite(), name, &value, "a positive number");
        }
        unless((0.0..1.0).contains(&self.lora_dropout), "lora_dropout", &self.lora_dropout, "at least 0 and below 1");
        for (name, value) in [
            ("lora_rank", self.lora_rank),
            ("batch_size", self.batch_size),
            ("grad_accumulation_steps", self.grad_accumulation_steps),
            ("keep_checkpoints", self.keep_checkpoints),
        ] {
            unless(value > 0, name, &value, "at least 1");
        }
        unless(self.logging_steps > 0, "logging_steps", &0, "at least 1");
        unless(self.steps > 0 || self.epochs > 0, "epochs", &0, "at least 1 where --steps is not given");
        unless(self.max_seq_length != 1, "max_seq_length", &1, "at least 2, for a token and the one it predicts");
        if let Err(error) = self.memory_budget_bytes() {
            faults.push(OutOfBounds { setting: "memory_budget", message: error.to_string() });
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_found_and_the_first_is_told() {
        let config = RunConfig { batch_size: 0, beta1: 1.0, steps: 0, epochs: 0, ..RunConfig::default() };
        let found: Vec<&str> = config.faults().iter().map(|fault| fault.setting).collect();
        assert_eq!(found, ["beta1", "batch_size", "epochs"]);
        let told = config.check().expect_err("three faults").to_string();
        assert_eq!(told, "--beta1 1: it must be at least 0 and below 1");
        let nan = RunConfig { learning_rate: f64::NAN, sparsity: f64::NAN, ..RunConfig::default() };
        assert_eq!(nan.faults().len(), 2);
        let fresh = RunConfig { init: Init::Random, quantize: Quantize::Q4, ..RunConfig::default() };
        assert_eq!(fresh.faults()[0].setting, "quantize");
        assert!(RunConfig::default().faults().is_empty());
    }
}
