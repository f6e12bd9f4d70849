//! What is made of an adapter for others: a merged model, or a folder in another program's layout. Checked before
//! anything expensive is done.

use std::path::Path;

use super::folder::stored_config;
use crate::{
    Error, Result,
    config::{Quantize, RunConfig},
    files,
    kernel::Packing,
    method::{
        adapter::Adapter,
        formats::{self, FORMATS, Format, OWN},
    },
    model::{Pretrained, save},
    source, storage,
};

/// Settings with which the adapter in `folder` is used: those of its run or, where there is only an adapter, those of a run
/// that would train it on the model that it names.
///
/// # Errors
/// No run and no adapter there, settings that cannot be read, or an adapter that names no model that is here.
pub fn settings_for_use(folder: &Path) -> Result<RunConfig> {
    // Beside another program's adapter a config.json describes its model.
    let is_foreign = formats::in_folder(folder).is_some_and(|format| format.name != OWN);
    if !is_foreign && storage::exists(folder.join("config.json")) {
        return stored_config(folder);
    }
    let adapter = Adapter::read(folder)?;
    let base = &adapter.info.base_model.name;
    if base.is_empty() {
        return Err(
            adapter.error("this adapter does not say which model it changes; name it with agoge generate --model")
        );
    }
    Ok(RunConfig {
        model: source::of_adapter(base).map_err(|e| adapter.error(e))?,
        out: folder.to_path_buf(),
        // It changes the weights as they were when it was trained.
        quantize: match adapter.info.quantized {
            Some(Packing::Q8) => Quantize::Q8,
            Some(Packing::Q4) => Quantize::Q4,
            _ => Quantize::None,
        },
        ..RunConfig::default()
    })
}

/// Refuses a folder that a merged model would damage.
///
/// # Errors
/// `out` is the folder of the base model, holds a run, or (unless `overwrite`) a model already.
pub fn check_merged_out(out: &Path, model: &Path, overwrite: bool) -> Result<()> {
    let same = matches!((out.canonicalize(), model.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same {
        return Err(Error::input(format!(
            "--out {}: this is the folder of the base model itself; give another folder",
            out.display()
        )));
    }
    if storage::exists(out.join("adapter.json")) || storage::exists(out.join("checkpoints")) {
        return Err(Error::input(format!(
            "--out {}: there is a run in this folder, whose config.json a model would replace; give another folder",
            out.display()
        )));
    }
    let there = storage::list(out).unwrap_or_default();
    let mut names = there.iter().filter_map(|path| path.file_name());
    if !overwrite && names.any(|name| save::is_weights(&name.to_string_lossy())) {
        return Err(Error::input(format!(
            "--out {}: there is a model in this folder already; use --overwrite to replace it, or another folder",
            out.display()
        )));
    }
    Ok(())
}

/// Refuses a folder that an exported adapter would damage.
///
/// # Errors
/// `out` holds a run, a model, an adapter in another layout, or (unless `overwrite`) one in this layout already.
pub fn check_export_out(out: &Path, format: &Format, overwrite: bool) -> Result<()> {
    let shown = out.display();
    if storage::exists(out.join("checkpoints")) || storage::exists(out.join("metrics.jsonl")) {
        return Err(Error::input(format!("--out {shown}: there is a run in this folder; give another folder")));
    }
    if storage::exists(out.join("model.safetensors")) || storage::exists(out.join("model.safetensors.index.json")) {
        return Err(Error::input(format!("--out {shown}: there is a model in this folder; give another folder")));
    }
    // A folder with two adapters would be read as one of them.
    match FORMATS.iter().find(|format| storage::exists(out.join(format.marker))) {
        Some(there) if there.name != format.name => Err(Error::input(format!(
            "--out {shown}: there is an adapter in another layout ({}) in this folder; give another folder",
            there.name
        ))),
        Some(_) if !overwrite => Err(Error::input(format!(
            "--out {shown}: there is an adapter in this folder already; use --overwrite to replace it, or another folder"
        ))),
        _ => Ok(()),
    }
}

/// Writes an adapter in a layout; returns the bytes of all its files.
///
/// # Errors
/// An adapter that the layout cannot hold or of another base model, or a folder that cannot be written.
pub fn export(adapter: &Adapter, base: &Pretrained, format: &Format, base_name: String, out: &Path) -> Result<u64> {
    let written = formats::export(adapter, base, format, base_name)?;
    storage::create_dir_all(out).map_err(|e| Error::file("create", out, e))?;
    for (name, content) in &written {
        files::write(&out.join(name), content)?;
    }
    Ok(written.iter().map(|(_, content)| content.len() as u64).sum())
}

/// Where the base model of an adapter is, for other programs: what the adapter says, else `model`. Other programs'
/// adapters say where their base model is; agoge's know only the name of its folder.
pub fn known_base(adapter: &Adapter, model: &Path) -> String {
    let base = &adapter.info.base_model;
    if base.fingerprint.is_empty() && !base.name.is_empty() {
        return base.name.clone();
    }
    model.display().to_string()
}
