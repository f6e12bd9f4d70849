//! `agoge export`: an adapter in the layout of another program.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, builder::PossibleValuesParser};

use super::format::{bytes, count};
use crate::{
    Error, Result,
    demo::locate,
    device::ComputeDevice,
    files,
    hub::Wanted,
    method::{
        adapter::Adapter,
        formats::{self, FORMATS},
    },
    model::Pretrained,
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
        self.check_out()?;
        let folder = locate(&Wanted::whole(&self.model))?.folder;
        let base = Pretrained::load_for(&folder, adapter.purpose(), &ComputeDevice::cpu())?;
        let base_name = self.base_name.clone().unwrap_or_else(|| self.known_base(&adapter));
        let written = formats::export(&adapter, &base, format, base_name)?;
        std::fs::create_dir_all(&self.out).map_err(|e| Error::file("create", &self.out, e))?;
        for (name, content) in &written {
            files::write(&self.out.join(name), content)?;
        }
        println!(
            "adapter in {}: {}, {} trained numbers, {}",
            self.out.display(),
            format.about,
            count(adapter.info.trained_parameters),
            bytes(written.iter().map(|(_, content)| content.len() as u64).sum())
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Other programs' adapters say where their base model is; agoge's know only the name of its folder.
    fn known_base(&self, adapter: &Adapter) -> String {
        let told = &adapter.info.base_model;
        if told.fingerprint.is_empty() && !told.name.is_empty() {
            return told.name.clone();
        }
        self.model.display().to_string()
    }

    fn check_out(&self) -> Result<()> {
        let out = self.out.display();
        if self.out.join("checkpoints").exists() || self.out.join("metrics.jsonl").exists() {
            return Err(Error::input(format!("--out {out}: there is a run in this folder; give another folder")));
        }
        if self.out.join("model.safetensors").exists() || self.out.join("model.safetensors.index.json").exists() {
            return Err(Error::input(format!("--out {out}: there is a model in this folder; give another folder")));
        }
        // A folder with two adapters would be read as one of them.
        match FORMATS.iter().find(|format| self.out.join(format.marker).exists()) {
            Some(there) if there.name != self.format => Err(Error::input(format!(
                "--out {out}: there is an adapter in another layout ({}) in this folder; give another folder",
                there.name
            ))),
            Some(_) if !self.overwrite => Err(Error::input(format!(
                "--out {out}: there is an adapter in this folder already; use --overwrite to replace it, or another \
                 folder"
            ))),
            _ => Ok(()),
        }
    }
}
