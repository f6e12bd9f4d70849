//! `agoge export`: an adapter in the layout of another program.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, builder::PossibleValuesParser};

use super::format::{bytes, count};
use crate::{
    Result,
    device::ComputeDevice,
    method::{
        adapter::Adapter,
        formats::{self, FORMATS},
    },
    model::Pretrained,
    source::{Files, ModelSource, to_stderr},
    train::results,
};

/// Arguments of `agoge export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Model folder in the Hugging Face layout, org/name on the Hugging Face hub, or agoge-demo
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// Folder of a run, or of another program's adapter
    #[arg(long, value_name = "FOLDER")]
    adapter: PathBuf,
    /// Layout to write: agoge, sparta (the authors' package) or peft (LoRA and SHiRA)
    #[arg(long, value_parser = PossibleValuesParser::new(FORMATS.iter().map(|format| format.name)))]
    format: String,
    /// Folder for the adapter
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Where the other program finds the base model: a folder, or a name on the Hugging Face hub [default: what the
    /// adapter says, else --model]
    #[arg(long, value_name = "NAME")]
    base_name: Option<String>,
    /// Replace an adapter that is in the --out folder already
    #[arg(long)]
    overwrite: bool,
}

impl Export {
    pub(super) fn run(self) -> Result<ExitCode> {
        let format = formats::find(&self.format)?;
        let adapter = Adapter::read(&self.adapter)?;
        results::check_export_out(&self.out, format, self.overwrite)?;
        let folder = ModelSource::named(&self.model, "")?.folder(Files::All, &to_stderr)?;
        let base = Pretrained::load_for(&folder, adapter.purpose(), &ComputeDevice::cpu())?;
        let base_name = self.base_name.clone().unwrap_or_else(|| results::known_base(&adapter, &self.model));
        let written = results::export(&adapter, &base, format, base_name, &self.out)?;
        println!(
            "adapter in {}: {}, {} trained parameters, {}",
            self.out.display(),
            format.about,
            count(adapter.info.trained_parameters),
            bytes(written)
        );
        Ok(ExitCode::SUCCESS)
    }
}
