//! The list of settings: names, types, defaults and explanations, in the order in which help and window show them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    grad_checkpointing::GradCheckpointing,
    values::{
        AdapterDtype, HeadStart, Init, List, MaskPrompt, Prompts, Quantize, Schedule, Task, WeightsDtype, Written,
    },
};
use crate::device::DeviceChoice;

/// One setting, for a form.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingInfo {
    /// Its name in [`RunConfig`].
    pub name: String,
    /// The group it belongs to; empty for the first ones, which say what is trained on what.
    pub heading: String,
    /// What it does, as `--help` says it.
    pub help: String,
    /// The values that there are, where these are a few words; else empty.
    pub values: Vec<String>,
    /// Its default.
    pub default: Value,
}

/// The heading among what is said of a setting.
macro_rules! heading {
    (help_heading = $heading:literal $($rest:tt)*) => {
        $heading
    };
    ($($rest:tt)*) => {
        ""
    };
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

        impl RunConfig {
            /// Sets one setting from text; `None` where there is none of this name.
            pub(super) fn set(&mut self, name: &str, text: &str) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => Some(Written::read(text).map(|value| self.$name = value)),)*
                    _ => None,
                }
            }

            /// The text of a setting's value, as [`Self::with`] takes it; `None` where there is none of this name.
            pub fn text(&self, name: &str) -> Option<String> {
                match name {
                    $(stringify!($name) => Some(self.$name.write()),)*
                    _ => None,
                }
            }

            /// Every setting and what a form says of it, in the order of the list.
            pub(super) fn listed() -> Vec<SettingInfo> {
                let defaults = serde_json::json!(Self::default());
                vec![$(SettingInfo {
                    name: stringify!($name).into(),
                    heading: heading!($($($arg)*)?).into(),
                    help: [$($doc.trim()),+].join(" "),
                    values: <$type as Written>::all().iter().map(|&word| word.into()).collect(),
                    default: defaults[stringify!($name)].clone(),
                },)*]
            }

            /// Name and written value of each setting that differs from that of `other`, in the order of the list.
            pub fn differing(&self, other: &Self) -> Vec<(&'static str, String)> {
                let mut found = Vec::new();
                $(if self.$name != other.$name { found.push((stringify!($name), self.$name.write())); })*
                found
            }
        }

        /// The settings that a person typed as flags.
        #[derive(Clone, Debug, Default)]
        #[cfg_attr(feature = "cli", derive(clap::Args))]
        pub struct Overrides {
            $(
                $(#[doc = $doc])+
                #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true $(, $($arg)*)?))]
                pub $name: Option<$type>,
            )*
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

/// The method of a run that names none.
pub const DEFAULT_METHOD: &str = "sparta";

settings! {
    /// Model folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json), org/name on the Hugging Face hub, or agoge-demo (the model inside this program)
    #[arg(value_name = "MODEL")] model: PathBuf = PathBuf::new();
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(value_name = "REVISION")] revision: String = String::new();
    /// Training data: a file, a folder with train.* and perhaps valid.* (plain text, JSON Lines, CSV, TSV or Parquet), or agoge-demo (the data inside this program)
    #[arg(value_name = "PATH")] data: PathBuf = PathBuf::new();
    /// Validation file, where it is not beside the training file
    #[arg(value_name = "FILE")] valid_data: PathBuf = PathBuf::new();
    /// Folder for the adapter, metrics and checkpoints of the run
    #[arg(value_name = "FOLDER")] out: PathBuf = PathBuf::new();
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(value_name = "DEVICE")] device: DeviceChoice = DeviceChoice::Auto;

    /// What is trained on: text (causal-lm) or the class of a text (classify)
    #[arg(help_heading = "Task", value_enum)] task: Task = Task::CausalLm;
    /// How a new classification head starts: random, or from-vocabulary (rows of the language-model head, one response word a class)
    #[arg(help_heading = "Task", value_enum)] head_start: HeadStart = HeadStart::Random;
    /// Response words, one a class in the order of the classes, for --head-start from-vocabulary [default: the classes' names]
    #[arg(help_heading = "Task", value_name = "WORDS")] response_words: List<String> = List(Vec::new());
    /// Text around the columns of a row, such as "Review: {text}"
    #[arg(help_heading = "Task", value_name = "TEXT")] template: String = String::new();
    /// Classes in the order of their numbers, comma-separated [default: those of the training data, sorted]
    #[arg(help_heading = "Task", value_name = "NAMES")] classes: List<String> = List(Vec::new());

    /// Training method
    #[arg(help_heading = "Method")] method: String = DEFAULT_METHOD.into();
    /// Adapter to start from: its values, masks and ranks are taken over, its optimizer state is not
    #[arg(help_heading = "Method", value_name = "FOLDER")] init_adapter: PathBuf = PathBuf::new();
    /// Share of the whole model's parameters that stay frozen
    #[arg(help_heading = "Method")] sparsity: f64 = 0.99;
    /// Share of each target tensor that is trained, instead of --sparsity; 0 = use --sparsity
    #[arg(help_heading = "Method")] density: f64 = 0.0;
    /// Exact number of trainable parameters in the target tensors, instead of --sparsity; 0 = use --sparsity
    #[arg(help_heading = "Method", value_name = "N")] trainable_parameters: usize = 0;
    /// Which entries are trained: random, magnitude-low, magnitude-high or gradient
    #[arg(help_heading = "Method")] mask: String = "random".into();
    /// Rank of the two matrices
    #[arg(help_heading = "Method", value_name = "R")] lora_rank: usize = 8;
    /// The product of the matrices is multiplied by alpha / rank
    #[arg(help_heading = "Method", value_name = "ALPHA")] lora_alpha: f64 = 16.0;
    /// Share of a target layer's inputs that are dropped in training
    #[arg(help_heading = "Method", value_name = "SHARE")] lora_dropout: f64 = 0.0;
    /// Scale by alpha / sqrt(rank) instead (rsLoRA)
    #[arg(help_heading = "Method", num_args = 0..=1, default_missing_value = "true")] lora_rs: bool = false;
    /// Parts of the names of the tensors to train, comma-separated; * is a wildcard, all-linear a word [default: those of the method]
    #[arg(help_heading = "Method", value_name = "NAMES")] target_modules: List<String> = List(Vec::new());
    /// Parts of the names of tensors that stay frozen, comma-separated; alone it means: train all others
    #[arg(help_heading = "Method", value_name = "NAMES")] frozen_modules: List<String> = List(Vec::new());
    /// Ids of tokens whose whole embedding rows are trained, comma-separated
    #[arg(help_heading = "Method", value_name = "IDS")] trainable_tokens: List<u32> = List(Vec::new());
    /// Storage type of the adapter's values
    #[arg(help_heading = "Method", value_enum)] adapter_dtype: AdapterDtype = AdapterDtype::F32;
    /// Store the mask's indices in the adapter instead of only their seed
    #[arg(help_heading = "Method", num_args = 0..=1, default_missing_value = "true")] explicit_indices: bool = false;
    /// Start from the folder's weights or from random ones
    #[arg(help_heading = "Method", value_enum)] init: Init = Init::Pretrained;
    /// Bits of the weights on a GPU: auto (as the checkpoint has them) or f32; tensors that are trained as a whole are in f32 anyway
    #[arg(help_heading = "Method", value_enum)] weights_dtype: WeightsDtype = WeightsDtype::Auto;
    /// Quantize the frozen weights of linear layers to q8 or q4, in groups of 32 numbers
    #[arg(help_heading = "Method", value_enum)] quantize: Quantize = Quantize::None;

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
    #[arg(help_heading = "Training", value_enum, num_args = 0..=1, default_missing_value = "on")] grad_checkpointing: GradCheckpointing = GradCheckpointing::Auto;
    /// Memory to stay within, such as 6GB: chooses batch size, accumulation (of the same rows in a step) and recomputation
    #[arg(help_heading = "Training", value_name = "AMOUNT")] memory_budget: String = String::new();
    /// Seed of masks, data order, fresh weights and samples
    #[arg(help_heading = "Training")] seed: u64 = 0;

    /// Mask prompt tokens, so that only the answers are trained on: auto (where rows have a prompt), true or false
    #[arg(help_heading = "Data", num_args = 0..=1, default_missing_value = "true")] mask_prompt: MaskPrompt = MaskPrompt::Auto;
    /// Count and skip rows that cannot be used instead of stopping
    #[arg(help_heading = "Data", num_args = 0..=1, default_missing_value = "true")] skip_bad_rows: bool = false;
    /// Date for a chat template that asks for today's, such as 2024-07-26 [default: the day on which the run starts]
    #[arg(help_heading = "Data", value_name = "DATE")] chat_date: String = String::new();

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
