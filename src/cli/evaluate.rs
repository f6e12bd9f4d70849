//! `agoge evaluate`

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

use super::{format::count, model_args::ModelArgs};
use crate::{
    Error, Result,
    config::{List, MaskPrompt, RunConfig, Task},
    data::{DataFiles, Dataset, Source, Tokenizer},
    model::classifier::Purpose,
    source,
    train::{classification::Classification, evaluate::evaluate, inputs::data_settings},
};

/// Part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Train,
    Valid,
    Test,
}

/// Arguments of `agoge evaluate`.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    /// Data file, or a folder with train.*, valid.* or test.*
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Which file of a folder; otherwise the validation file if there is one
    #[arg(long, value_enum)]
    split: Option<Part>,
    /// Rows in a batch
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Most tokens in a row; 0 = 512 or the model's limit, whichever is less
    #[arg(long, default_value_t = 0)]
    max_seq_length: usize,
    /// Evaluate only the answers
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
        let source = Source::from_path(&self.file()?)?;
        let (base, device) = self.model.load().await?;
        let tokenizer = Tokenizer::from_folder(&base.folder)?;
        let mut config = RunConfig {
            max_seq_length: self.max_seq_length,
            mask_prompt: self.mask_prompt,
            skip_bad_rows: self.skip_bad_rows,
            ..RunConfig::default()
        };
        if let Purpose::Classify(head) = &base.purpose {
            config.task = Task::Classify;
            config.classes = List(head.classes.clone());
            config.template = head.template.clone().unwrap_or_default();
        }
        let architecture = &base.transformer.architecture;
        let settings = data_settings(&config, architecture.max_positions)?;
        let dataset = Dataset::from_sources(source, None, &settings, &tokenizer)?;
        dataset.check_vocabulary(architecture.vocab_size)?;
        dataset.check_token_types(architecture.token_types)?;
        let result = evaluate(&base, &dataset.train, self.batch_size, 0, &device).await?;
        if self.json {
            println!("{}", serde_json::json!(result));
            return Ok(ExitCode::SUCCESS);
        }
        println!("data        {} ({} rows)", dataset.report.train.file, count(result.rows));
        match &result.classification {
            None => {
                println!("tokens      {} evaluated", count(result.target_tokens));
                println!("loss        {:.4}", result.loss);
                println!("perplexity  {:.3}", result.perplexity);
            }
            Some(figures) => {
                println!("loss        {:.4}", result.loss);
                print(figures, base.classes());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn file(&self) -> Result<PathBuf> {
        let files = DataFiles::find(&source::data(&self.data)?, None)?;
        let missing = |what: &str| {
            Error::input(format!("--split {what}: there is no {what} file beside {}", files.train.display()))
        };
        match self.split {
            None => Ok(files.valid.unwrap_or(files.train)),
            Some(Part::Train) => Ok(files.train),
            Some(Part::Valid) => files.valid.clone().ok_or_else(|| missing("valid")),
            Some(Part::Test) => files.test.clone().ok_or_else(|| missing("test")),
        }
    }
}

/// Figures and confusion matrix for people.
fn print(figures: &Classification, classes: &[String]) {
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    println!("accuracy    {} (balanced {})", share(figures.accuracy), share(figures.balanced_accuracy));
    println!("F1          {:.4} (mean over classes {:.4})", figures.f1, figures.macro_f1);
    println!("Matthews    {:.4}", figures.matthews);
    let width = classes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(7);
    println!("\ntrue class, its accuracy, and how often each class was answered:");
    let heads: String = classes.iter().map(|name| format!("  {name:>width$}")).collect();
    println!("{:width$}  {:>8}{heads}", "", "");
    for ((name, row), &accuracy) in classes.iter().zip(&figures.confusion).zip(&figures.per_class) {
        let cells: String = row.iter().map(|&rows| format!("  {:>width$}", count(rows))).collect();
        println!("{name:width$}  {:>8}{cells}", share(accuracy));
    }
}
