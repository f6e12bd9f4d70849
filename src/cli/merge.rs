//! `agoge merge`

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use safetensors::Dtype;

use super::{
    format::{bytes, count},
    model_args::ModelArgs,
};
use crate::{
    Error, Result,
    method::stack::Overlap,
    model::{
        gguf::{self, encode::Encoding},
        pretrained::read_config,
        save,
        weights::Weights,
    },
    train::results::check_merged_out,
};

/// Storage type of the merged weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MergedDtype {
    F32,
    F16,
    Bf16,
    /// 8 bits in blocks of 32 (GGUF only)
    #[value(name = "q8_0")]
    Q8,
}

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MergedFormat {
    /// A model folder in the Hugging Face layout
    #[default]
    Hf,
    /// One file for llama.cpp and its relatives
    Gguf,
}

/// Arguments of `agoge merge`.
#[derive(Debug, Args)]
pub(super) struct Merge {
    #[command(flatten)]
    model: ModelArgs,
    /// What to write; as gguf also without an adapter
    #[arg(long, value_enum, default_value_t)]
    format: MergedFormat,
    /// Folder for the merged model, or the file for --format gguf
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Storage type; the base model's by default
    #[arg(long, value_enum)]
    dtype: Option<MergedDtype>,
    /// Replace a model that is there already
    #[arg(long)]
    overwrite: bool,
}

impl Merge {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.format {
            MergedFormat::Hf => self.folder().await,
            MergedFormat::Gguf => self.file().await,
        }
    }

    async fn folder(self) -> Result<ExitCode> {
        if self.model.adapter.is_empty() {
            return Err(Error::input("--adapter is missing: give the folder of the run to merge"));
        }
        check_merged_out(&self.out, &self.model.model, self.overwrite)?;
        if self.dtype == Some(MergedDtype::Q8) {
            return Err(Error::input(
                "--dtype q8_0 is a type of GGUF files; add --format gguf, or take f32, f16 or bf16",
            ));
        }
        let (base, _device, overlaps) = self.model.in_f32().load_reporting().await?;
        let dtype = match self.dtype {
            Some(MergedDtype::F32) => Dtype::F32,
            Some(MergedDtype::F16) => Dtype::F16,
            Some(MergedDtype::Bf16) => Dtype::BF16,
            Some(MergedDtype::Q8) | None => base.dtype,
        };
        let size = save::folder(&base, dtype, &self.out, save::MOST_FILE_BYTES).await?;
        self.report(&overlaps);
        println!(
            "merged model in {}: {} parameters as {dtype:?}, {}",
            self.out.display(),
            count(base.transformer.parameter_count()),
            bytes(size)
        );
        Ok(ExitCode::SUCCESS)
    }

    async fn file(self) -> Result<ExitCode> {
        let out = self.out.display();
        if self.out.is_dir() {
            return Err(Error::input(format!(
                "--out {out}: this is a folder; give the name of a file, like model.gguf"
            )));
        }
        if self.out.exists() && !self.overwrite {
            return Err(Error::input(format!(
                "--out {out}: there is a file of this name already; use --overwrite to replace it, or another name"
            )));
        }
        let folder = &self.model.folder()?;
        let config = read_config(folder)?;
        let encoding = |stored: Dtype| match (self.dtype, stored) {
            (Some(MergedDtype::Q8), _) => Encoding::Q8,
            (Some(MergedDtype::F16), _) | (None, Dtype::F16) => Encoding::F16,
            (Some(MergedDtype::Bf16), _) | (None, Dtype::BF16) => Encoding::Bf16,
            (Some(MergedDtype::F32), _) | (None, _) => Encoding::F32,
        };
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let report = if self.model.adapter.is_empty() {
            // Without an adapter nothing is computed: the checkpoint is rewritten tensor by tensor.
            let weights = Weights::open(folder)?;
            let stored = weights.names().find(|name| name.contains("embed_tokens") || name.contains("wte"));
            let stored = stored.and_then(|name| weights.dtype(name)).unwrap_or(Dtype::F32);
            gguf::write(gguf::Source::File(&weights), &config, folder, &name, encoding(stored), &self.out).await?
        } else {
            let (base, _device, overlaps) = self.model.in_f32().load_reporting().await?;
            self.report(&overlaps);
            let source = gguf::Source::Model(&base.transformer);
            gguf::write(source, &config, folder, &name, encoding(base.dtype), &self.out).await?
        };
        for note in &report.notes {
            println!("note         {note}");
        }
        if let Some(first) = report.not_quantized.first() {
            println!(
                "note         {} matrices have rows that are no multiple of 32 and are stored as f16: {first}{}",
                report.not_quantized.len(),
                if report.not_quantized.len() > 1 { ", ..." } else { "" }
            );
        }
        println!("model in {out}: {} tensors, {}", count(report.tensors), bytes(report.bytes));
        Ok(ExitCode::SUCCESS)
    }

    /// Reports which adapters change the same entries.
    fn report(&self, overlaps: &[Overlap]) {
        for overlap in overlaps {
            let name = |place: usize| self.model.adapter[place].folder.display();
            println!(
                "overlap      {} entries are changed by both {} and {}: the changes add",
                count(overlap.shared),
                name(overlap.first),
                name(overlap.second)
            );
        }
    }
}
