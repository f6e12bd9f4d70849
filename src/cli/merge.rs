//! `agoge merge`

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use safetensors::Dtype;

use super::{
    ModelArgs,
    format::{bytes, count},
};
use crate::{Error, Result, model::save};

/// Storage type of the merged weights.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MergedDtype {
    F32,
    F16,
    Bf16,
}

/// Arguments of `agoge merge`.
#[derive(Debug, Args)]
pub(super) struct Merge {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder for the merged model
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Storage type; the base model's unless told otherwise
    #[arg(long, value_enum)]
    dtype: Option<MergedDtype>,
    /// Replace a model that is in the --out folder already
    #[arg(long)]
    overwrite: bool,
}

impl Merge {
    pub(super) async fn run(self) -> Result<ExitCode> {
        if self.model.adapter.is_none() {
            return Err(Error::input("--adapter is missing: give the folder of the run to merge"));
        }
        if self.out.exists() && self.model.model.exists() && same(&self.out, &self.model.model) {
            return Err(Error::input(format!(
                "--out {}: this is the folder of the base model itself; give another folder",
                self.out.display()
            )));
        }
        if self.out.join("adapter.json").exists() || self.out.join("checkpoints").exists() {
            return Err(Error::input(format!(
                "--out {}: there is a run in this folder, whose config.json a model would replace; give another folder",
                self.out.display()
            )));
        }
        let target = self.out.join("model.safetensors");
        if target.exists() && !self.overwrite {
            return Err(Error::input(format!(
                "--out {}: there is a model in this folder already; use --overwrite to replace it, or another folder",
                self.out.display()
            )));
        }
        let (base, _device) = self.model.load().await?;
        let dtype = match self.dtype {
            None => base.dtype,
            Some(MergedDtype::F32) => Dtype::F32,
            Some(MergedDtype::F16) => Dtype::F16,
            Some(MergedDtype::Bf16) => Dtype::BF16,
        };
        save::folder(&base.transformer, dtype, &base.folder, &self.out).await?;
        let size = std::fs::metadata(&target).map_or(0, |meta| meta.len());
        println!(
            "merged model in {}: {} parameters as {dtype:?}, {}",
            self.out.display(),
            count(base.transformer.parameter_count()),
            bytes(size)
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn same(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
