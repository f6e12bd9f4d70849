//! The one list of a run's settings, with defaults, explanations, bounds and checks.
//!
//! A setting comes from its default, then from `--config file.toml`, then from a flag. The list below makes all three:
//! [`RunConfig`] (what a run uses and `config.json` records) and [`Overrides`] (what a person typed).

pub mod bytes;
mod recompute;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

pub use self::recompute::Recompute;
use crate::{Error, Result, device::DeviceChoice};

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The peak rate throughout.
    Constant,
    /// A straight line down to the minimum.
    Linear,
    /// Half a cosine down to the minimum.
    #[default]
    Cosine,
}

/// Where the weights of the model come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The folder's safetensors files.
    #[default]
    Pretrained,
    /// Random numbers from the seed; the folder needs only config.json and tokenizer.json.
    Random,
}

/// What a model learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// To predict the next token.
    #[default]
    CausalLm,
    /// To tell classes of texts apart.
    Classify,
}

/// How a new classification head starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum HeadStart {
    /// Small random numbers, scaled as the SpaRTA authors do.
    #[default]
    Random,
    /// Rows of the language-model head.
    FromVocabulary,
}

/// Storage type of an adapter's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AdapterDtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[arg($($arg:tt)*)])? $name:ident: $type:ty = $default:expr;)*) => {
        /// Everything that decides a run.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct RunConfig {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Default for RunConfig {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// The settings that a person typed as flags.
        #[derive(Clone, Debug, Default, Args)]
        pub struct Overrides {
            $($(#[doc = $doc])+ #[arg(long, allow_negative_numbers = true $(, $($arg)*)?)] pub $name: Option<$type>,)*
        }

        impl Overrides {
            /// Lays the typed settings over `config`.
            pub fn apply(self, config: &mut RunConfig) {
                $(if let Some(value) = self.$name { config.$name = value; })*
            }

            /// Names of the settings that were typed.
            pub fn given(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$name.is_some() { names.push(stringify!($name)); })*
                names
            }
        }
    };
}

/// A comma-separated list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct List<T>(pub Vec<T>);

impl<T: std::str::FromStr> std::str::FromStr for List<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(|e| format!("{item}: {e}"))).collect::<Result<_, _>>().map(Self)
    }
}

settings! {
    /// Model folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json), or org/name on the Hugging Face hub
    #[arg(value_name = "MODEL")] model: PathBuf = PathBuf::new();
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(value_name = "REVISION")] revision: String = String::new();
    /// Training data: a file, or a folder with train.* and perhaps valid.* (plain text, JSON Lines, CSV, TSV or Parquet)
    #[arg(value_name = "PATH")] data: PathBuf = PathBuf::new();
    /// Validation file, where it is not beside the training file
    #[arg(value_name = "FILE")] valid_data: PathBuf = PathBuf::new();
    /// Folder for the adapter, metrics and checkpoints of the run
    #[arg(value_name = "FOLDER")] out: PathBuf = PathBuf::new();
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(value_name = "DEVICE")] device: DeviceChoice = DeviceChoice::Auto;

    /// What is learnt: text (causal-lm) or the class of a text (classify)
    #[arg(help_heading = "Task", value_enum)] task: Task = Task::CausalLm;
    /// How a new classification head starts: random, or from-vocabulary (rows of the language-model head, one response word a class)
    #[arg(help_heading = "Task", value_enum)] head_start: HeadStart = HeadStart::Random;
    /// Response words, one a class in the order of the classes, for --head-start from-vocabulary [default: the classes' names]
    #[arg(help_heading = "Task", value_name = "WORDS")] response_words: List<String> = List(Vec::new());
    /// Text around the columns of a row, such as "Review: {text}"
    #[arg(help_heading = "Task", value_name = "TEXT")] template: String = String::new();
    /// Classes in the order of their numbers, comma-separated [default: those of the training data, sorted]
    #[arg(help_heading = "Task", value_name = "NAMES")] classes: List<String> = List(Vec::new());

    /// Training method: sparta, lora, full or head
    #[arg(help_heading = "Method")] method: String = "sparta".into();
    /// Adapter to go on from: its values, masks and ranks are taken over, its optimizer state is not
    #[arg(help_heading = "Method", value_name = "FOLDER")] init_adapter: PathBuf = PathBuf::new();
    /// Share of the whole model's numbers that stay frozen (sparta)
    #[arg(help_heading = "Method")] sparsity: f64 = 0.99;
    /// Share of each target tensor that is trained, instead of --sparsity; 0 = use --sparsity (sparta)
    #[arg(help_heading = "Method")] density: f64 = 0.0;
    /// Exact number of numbers to train in the target tensors, instead of --sparsity; 0 = use --sparsity (sparta)
    #[arg(help_heading = "Method", value_name = "N")] trainable_parameters: usize = 0;
    /// Which numbers are trained: random, magnitude-low, magnitude-high or gradient (sparta)
    #[arg(help_heading = "Method")] mask: String = "random".into();
    /// Rank of the two matrices (lora)
    #[arg(help_heading = "Method", value_name = "R")] lora_rank: usize = 8;
    /// The product of the matrices is multiplied by alpha / rank (lora)
    #[arg(help_heading = "Method", value_name = "ALPHA")] lora_alpha: f64 = 16.0;
    /// Share of a target layer's inputs that are dropped in training (lora)
    #[arg(help_heading = "Method", value_name = "SHARE")] lora_dropout: f64 = 0.0;
    /// Scale by alpha / sqrt(rank) instead (rsLoRA)
    #[arg(help_heading = "Method", num_args = 0..=1, default_missing_value = "true")] lora_rs: bool = false;
    /// Parts of the names of the tensors to train, comma-separated; * is a wildcard, all-linear a word [default: attention values and outputs; lora: queries and values; full: all]
    #[arg(help_heading = "Method", value_name = "NAMES")] target_modules: List<String> = List(Vec::new());
    /// Parts of the names of tensors that stay frozen, comma-separated; alone it means: train all others
    #[arg(help_heading = "Method", value_name = "NAMES")] frozen_modules: List<String> = List(Vec::new());
    /// Ids of tokens whose whole embedding rows are trained, comma-separated (sparta)
    #[arg(help_heading = "Method", value_name = "IDS")] trainable_tokens: List<u32> = List(Vec::new());
    /// Storage type of the adapter's values
    #[arg(help_heading = "Method", value_enum)] adapter_dtype: AdapterDtype = AdapterDtype::F32;
    /// Store the mask's indices in the adapter instead of only their seed
    #[arg(help_heading = "Method", num_args = 0..=1, default_missing_value = "true")] explicit_indices: bool = false;
    /// Start from the folder's weights or from random ones
    #[arg(help_heading = "Method", value_enum)] init: Init = Init::Pretrained;

    /// Optimizer steps; 0 = count --epochs instead
    #[arg(help_heading = "Training", alias = "iters")] steps: u64 = 0;
    /// Passes over the data, where --steps is not given
    #[arg(help_heading = "Training")] epochs: u64 = 3;
    /// Rows in a batch
    #[arg(help_heading = "Training")] batch_size: usize = 8;
    /// Batches in one optimizer step
    #[arg(help_heading = "Training")] grad_accumulation_steps: usize = 1;
    /// Most tokens in a row; 0 = 512 or the model's limit, whichever is less
    #[arg(help_heading = "Training")] max_seq_length: usize = 0;
    /// Peak learning rate; 0 = the method's default
    #[arg(help_heading = "Training")] learning_rate: f64 = 0.0;
    /// Learning rate at the end of the schedule
    #[arg(help_heading = "Training")] min_learning_rate: f64 = 0.0;
    /// Steps over which the learning rate rises from 0
    #[arg(help_heading = "Training")] warmup_steps: u64 = 0;
    /// Shape of the learning rate after the warm-up
    #[arg(help_heading = "Training", value_enum)] schedule: Schedule = Schedule::Cosine;
    /// AdamW: decay of the first moment
    #[arg(help_heading = "Training")] beta1: f64 = 0.9;
    /// AdamW: decay of the second moment
    #[arg(help_heading = "Training")] beta2: f64 = 0.99;
    /// AdamW: added to the denominator
    #[arg(help_heading = "Training")] epsilon: f64 = 1e-8;
    /// AdamW: decoupled weight decay (sparta: of the deltas)
    #[arg(help_heading = "Training")] weight_decay: f64 = 0.0;
    /// Bound on the global gradient norm; 0 = none
    #[arg(help_heading = "Training")] max_grad_norm: f64 = 1.0;
    /// Keep only the inputs of each block and compute the rest again in the backward pass: auto (where it would not fit the device otherwise), on or off
    #[arg(help_heading = "Training", value_enum, num_args = 0..=1, default_missing_value = "on")] grad_checkpointing: Recompute = Recompute::Auto;
    /// Memory to stay within, such as 6GB: chooses batch size, accumulation (of the same rows in a step) and recomputation
    #[arg(help_heading = "Training", value_name = "AMOUNT")] memory_budget: String = String::new();
    /// Seed of masks, data order, fresh weights and samples
    #[arg(help_heading = "Training")] seed: u64 = 0;

    /// Learn only the answers: auto (where rows have a prompt), true or false
    #[arg(help_heading = "Data", num_args = 0..=1, default_missing_value = "true")] mask_prompt: MaskPrompt = MaskPrompt::Auto;
    /// Count and skip rows that cannot be used instead of stopping
    #[arg(help_heading = "Data", num_args = 0..=1, default_missing_value = "true")] skip_bad_rows: bool = false;

    /// Steps between evaluations of the validation data; 0 = only before and after
    #[arg(help_heading = "Run")] eval_steps: u64 = 100;
    /// Batches of an evaluation; 0 = the whole validation data
    #[arg(help_heading = "Run")] eval_batches: usize = 0;
    /// Stop after this many evaluations without a better loss; 0 = never
    #[arg(help_heading = "Run")] patience: u64 = 0;
    /// Steps between checkpoints; 0 = only at the end
    #[arg(help_heading = "Run")] save_steps: u64 = 100;
    /// Checkpoints that are kept
    #[arg(help_heading = "Run")] keep_checkpoints: usize = 2;
    /// Steps between reports; the steps in between are read together
    #[arg(help_heading = "Run")] logging_steps: u64 = 5;
    /// Prompts to continue at every evaluation, separated by |
    #[arg(help_heading = "Run", value_name = "TEXTS")] sample_prompts: Prompts = Prompts(Vec::new());
    /// Most tokens of a sample
    #[arg(help_heading = "Run")] sample_tokens: usize = 64;
}

/// Whether prompts are masked out of the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MaskPrompt {
    /// Where rows have a prompt.
    #[default]
    Auto,
    /// Always where there is one.
    True,
    /// Never.
    False,
}

impl MaskPrompt {
    /// As the data module asks for it.
    pub fn as_option(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::True => Some(true),
            Self::False => Some(false),
        }
    }
}

/// Prompts separated by `|`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prompts(pub Vec<String>);

impl std::str::FromStr for Prompts {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.split('|').map(|prompt| prompt.replace("\\n", "\n")).collect()))
    }
}

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
        let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {}", path.display(), e.to_string().trim_end())))
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

    /// Checks every bound that needs no model and no data.
    ///
    /// # Errors
    /// The first setting that is out of bounds, with what it may be.
    pub fn check(&self) -> Result<()> {
        let bad = |name: &str, value: &dyn std::fmt::Display, rule: &str| {
            Err(Error::input(format!("--{name} {value}: it must be {rule}")))
        };
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        if !(self.sparsity > 0.0 && self.sparsity < 1.0) {
            return bad("sparsity", &self.sparsity, "between 0 and 1 (0.99 trains 1 % of the model)");
        }
        if !(0.0..=1.0).contains(&self.density) {
            return bad("density", &self.density, "between 0 and 1");
        }
        for (name, value) in [
            ("learning-rate", self.learning_rate),
            ("min-learning-rate", self.min_learning_rate),
            ("weight-decay", self.weight_decay),
            ("max-grad-norm", self.max_grad_norm),
        ] {
            if !positive(value) {
                return bad(name, &value, "a finite number that is not negative");
            }
        }
        if self.learning_rate > 0.0 && self.min_learning_rate > self.learning_rate {
            return bad("min-learning-rate", &self.min_learning_rate, "at most the learning rate");
        }
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return bad(name, &value, "at least 0 and below 1");
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return bad("epsilon", &self.epsilon, "a positive number");
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return bad("lora-dropout", &self.lora_dropout, "at least 0 and below 1");
        }
        if !(self.lora_alpha > 0.0 && self.lora_alpha.is_finite()) {
            return bad("lora-alpha", &self.lora_alpha, "a positive number");
        }
        for (name, value) in [
            ("lora-rank", self.lora_rank),
            ("batch-size", self.batch_size),
            ("grad-accumulation-steps", self.grad_accumulation_steps),
            ("keep-checkpoints", self.keep_checkpoints),
        ] {
            if value == 0 {
                return bad(name, &value, "at least 1");
            }
        }
        if self.logging_steps == 0 {
            return bad("logging-steps", &0, "at least 1");
        }
        if self.steps == 0 && self.epochs == 0 {
            return bad("epochs", &0, "at least 1 where --steps is not given");
        }
        if self.max_seq_length == 1 {
            return bad("max-seq-length", &1, "at least 2, for a token and the one it predicts");
        }
        self.memory_budget_bytes()?;
        Ok(())
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
