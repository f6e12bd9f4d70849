//! `agoge classify`

use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{format::percent, model_args::ModelArgs};
use crate::{
    Error, Result,
    data::{Batch, IGNORED_LABEL, Tokenizer, encode_for_classification},
    device::{self, ComputeDevice},
    model::{Pretrained, classifier::Purpose},
    train::{
        evaluate::{most_likely, softmax},
        objective::Prepared,
    },
};

/// Arguments of `agoge classify`.
#[derive(Debug, Args)]
pub(super) struct Classify {
    #[command(flatten)]
    model: ModelArgs,
    /// Texts to classify; without any, one a line from standard input
    texts: Vec<String>,
    /// Second text of each pair, for classifiers of pairs
    #[arg(long, value_name = "TEXT")]
    text2: Option<String>,
    /// Most tokens of a text; 0 = 512 or the model's limit, whichever is less
    #[arg(long, default_value_t = 0)]
    max_seq_length: usize,
    /// Write one JSON object a text
    #[arg(long)]
    json: bool,
}

impl Classify {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let (base, device) = self.model.load().await?;
        let Purpose::Classify(head) = &base.purpose else {
            return Err(Error::input(
                "this is a language model, not a classifier; give --adapter with a run of --task classify",
            ));
        };
        let limit = base.transformer.architecture.max_positions;
        if self.max_seq_length > limit {
            return Err(Error::input(format!(
                "--max-seq-length {}: the model has only {limit} positions",
                self.max_seq_length
            )));
        }
        let longest = if self.max_seq_length == 0 { limit.min(512) } else { self.max_seq_length };
        let tokenizer = Tokenizer::from_folder(&base.folder)?;
        for text in self.texts()? {
            let (ids, second) =
                encode_for_classification(&tokenizer, &text, self.text2.as_deref(), head.template.as_deref(), longest)
                    .map_err(|e| Error::input(format!("\"{text}\": {e}")))?;
            let probabilities = probabilities(&base, &ids, second, &device).await?;
            let class = &head.classes[most_likely(&probabilities)];
            if self.json {
                let all: serde_json::Map<String, _> =
                    head.classes.iter().cloned().zip(probabilities.iter().map(|p| json!(p))).collect();
                println!("{}", json!({ "text": text, "class": class, "probabilities": all }));
                continue;
            }
            println!("{class}  {text}");
            let widest = head.classes.iter().map(|name| name.chars().count()).max().unwrap_or(0);
            for (name, &probability) in head.classes.iter().zip(&probabilities) {
                let bar = "━".repeat((30.0 * probability).round() as usize);
                println!("    {name:widest$}  {:>6}  {bar}", percent(probability));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn texts(&self) -> Result<Vec<String>> {
        if !self.texts.is_empty() {
            return Ok(self.texts.clone());
        }
        if std::io::stdin().is_terminal() {
            return Err(Error::input("give at least one text, or texts line by line on standard input"));
        }
        let lines = std::io::stdin().lock().lines();
        let lines: Vec<String> =
            lines.collect::<std::io::Result<_>>().map_err(|e| Error::input(format!("standard input: {e}")))?;
        Ok(lines.into_iter().filter(|line| !line.trim().is_empty()).collect())
    }
}

/// Probabilities of the classes for one row of ids, whose second text begins at `second`.
async fn probabilities(base: &Pretrained, ids: &[u32], second: usize, device: &ComputeDevice) -> Result<Vec<f64>> {
    let vocabulary = base.transformer.architecture.vocab_size;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::input(format!(
            "the tokenizer gives token {id}, but the model's vocabulary has only {vocabulary}; tokenizer and model do not \
             belong together"
        )));
    }
    let width = ids.len();
    let types = if second < width { (0..width).map(|at| i32::from(at >= second)).collect() } else { Vec::new() };
    let batch = Batch {
        ids: ids.iter().map(|&id| id as i32).collect(),
        labels: vec![IGNORED_LABEL; width],
        attention_mask: vec![1; width],
        row_count: 1,
        width,
        target_tokens: 1,
        tokens: width,
        // Not known: it only says that this row has a class.
        classes: vec![0],
        token_types: types,
    };
    let batch = Prepared::new(&batch, &base.transformer, device);
    let hidden = base.transformer.hidden(batch.ids.clone(), &batch.layout);
    Ok(softmax(&device::read(batch.logits(&base.transformer, hidden)).await?))
}
