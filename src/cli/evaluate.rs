//! `agoge evaluate`

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{ModelArgs, format::count};
use crate::{
    Error, Result,
    config::{MaskPrompt, RunConfig},
    data::{DataFiles, Dataset, Source, Tokenizer},
    train::{evaluate::evaluate, inputs::data_settings},
};

/// Arguments of `agoge evaluate`.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    /// Data file, or a folder, of which the validation file is taken if there is one
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Rows in a batch
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Most tokens in a row; 0 = 512 or the model's limit, whichever is less
    #[arg(long, default_value_t = 0)]
    max_seq_length: usize,
    /// Judge only the answers
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "true")]
    mask_prompt: MaskPrompt,
    /// Count and skip rows that cannot be used instead of stopping
    #[arg(long)]
    skip_bad_rows: bool,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub(super) async fn run(self) -> Result<ExitCode> {
        if self.batch_size == 0 {
            return Err(Error::input("--batch-size 0: it must be at least 1"));
        }
        let files = DataFiles::find(&self.data, None)?;
        let source = Source::from_path(files.valid.as_ref().unwrap_or(&files.train))?;
        let (base, device) = self.model.load().await?;
        let tokenizer = Tokenizer::from_folder(&base.folder)?;
        let config = RunConfig {
            max_seq_length: self.max_seq_length,
            mask_prompt: self.mask_prompt,
            skip_bad_rows: self.skip_bad_rows,
            ..RunConfig::default()
        };
        let architecture = &base.transformer.architecture;
        let settings = data_settings(&config, architecture.max_positions)?;
        let dataset = Dataset::from_sources(source, None, &settings, &tokenizer)?;
        dataset.check_vocabulary(architecture.vocab_size)?;
        let result = evaluate(&base, &dataset.train, self.batch_size, 0, &device).await?;
        if self.json {
            println!("{}", serde_json::json!(result));
        } else {
            println!("data        {} ({} rows)", dataset.report.train.file, count(result.rows));
            println!("tokens      {} judged", count(result.target_tokens));
            println!("loss        {:.4}", result.loss);
            println!("perplexity  {:.3}", result.perplexity);
        }
        Ok(ExitCode::SUCCESS)
    }
}
