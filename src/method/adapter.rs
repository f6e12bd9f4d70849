//! The adapter folder: `adapter.json` (what it is and which model it belongs to) and `adapter.safetensors` (values).

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Method, dtype_name, find};
use crate::{
    Error, Result,
    device::{self, ComputeDevice},
    files,
    model::{Pretrained, save::cast, weights::Weights},
};

/// Version of the folder's layout.
const VERSION: u32 = 1;
const INFO: &str = "adapter.json";
const VALUES: &str = "adapter.safetensors";

/// `adapter.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// "agoge-adapter".
    pub format: String,
    /// Version of the layout.
    pub version: u32,
    /// Name of the method.
    pub method: String,
    /// The model it was trained on.
    pub base_model: BaseModel,
    /// Number of trained numbers.
    pub trained_parameters: usize,
    /// Storage type of the values: "f32" or "f16".
    pub dtype: String,
    /// What the method needs to apply it.
    pub settings: Value,
}

/// The model that an adapter belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Folder name, for people.
    pub name: String,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// Number of parameters.
    pub parameters: usize,
    /// Identity of its weights.
    pub fingerprint: String,
}

/// An adapter folder that has been read.
#[derive(Debug)]
pub struct Adapter {
    /// Where it is.
    pub folder: PathBuf,
    /// `adapter.json`.
    pub info: Info,
    /// `adapter.safetensors`.
    pub weights: Weights,
}

/// The files of an adapter, as (name, bytes), not yet written.
///
/// # Errors
/// The device failed while reading the values.
pub async fn files(
    method: &dyn Method,
    name: &str,
    base: &Pretrained,
    dtype: Dtype,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let saved = method.save(&base.transformer);
    let mut tensors = Vec::new();
    for (name, values) in saved.values {
        let values = device::read(values).await?;
        tensors.push((name, dtype, values.len(), cast(&values, dtype)?));
    }
    for (name, indices) in saved.indices {
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        tensors.push((name, Dtype::U32, indices.len(), bytes));
    }
    let info = Info {
        format: "agoge-adapter".into(),
        version: VERSION,
        method: name.into(),
        base_model: BaseModel {
            name: base.name(),
            model_type: base.transformer.architecture.model_type.clone(),
            parameters: base.transformer.parameter_count(),
            fingerprint: base.fingerprint.clone(),
        },
        trained_parameters: method.trained_parameters(),
        dtype: dtype_name(dtype).into(),
        settings: saved.settings,
    };
    let json = serde_json::to_string_pretty(&info).map_err(|e| Error::Run(format!("adapter.json: {e}")))?;
    let values = files::safetensors(
        tensors.iter().map(|(name, dtype, len, bytes)| (name.clone(), *dtype, vec![*len], &bytes[..])),
        &[("format", "agoge-adapter")],
    )?;
    // The values first: a folder without adapter.json is not an adapter yet.
    Ok(vec![(VALUES, values), (INFO, format!("{json}\n").into_bytes())])
}

/// Writes an adapter folder.
///
/// # Errors
/// The device failed, or the folder cannot be written.
pub async fn write(method: &dyn Method, name: &str, base: &Pretrained, dtype: Dtype, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    for (file, bytes) in files(method, name, base, dtype).await? {
        files::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}

impl Adapter {
    /// Reads an adapter folder.
    ///
    /// # Errors
    /// A folder that is not an adapter, is of a newer version, or whose files are cut off.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(INFO);
        if !path.exists() {
            return Err(Error::input(format!(
                "{}: not an adapter folder, there is no {INFO}; give the --out folder of a training run",
                folder.display()
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
        let info: Info = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: not a valid adapter description: {e}", path.display())))?;
        if info.format != "agoge-adapter" || info.version > VERSION {
            return Err(Error::input(format!(
                "{}: written in version {} of the format \"{}\", this program reads agoge-adapter up to {VERSION}",
                path.display(),
                info.version,
                info.format
            )));
        }
        let values = folder.join(VALUES);
        let bytes = std::fs::read(&values).map_err(|e| Error::file("read", &values, e))?;
        let weights = Weights::from_bytes(&values.display().to_string(), bytes)?;
        Ok(Self { folder: folder.to_path_buf(), info, weights })
    }

    /// The method's own settings.
    ///
    /// # Errors
    /// Settings that do not belong to the method.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.info.settings.clone())
            .map_err(|e| self.error(format!("{INFO}: the settings of {} are not valid: {e}", self.info.method)))
    }

    /// An error about this adapter.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: {message}", self.folder.display()))
    }

    /// Applies the adapter to its base model's weights, in place. The weights are untouched if anything is wrong.
    ///
    /// # Errors
    /// Another base model, or values that do not fit.
    pub fn apply(&self, base: &mut Pretrained, device: &ComputeDevice) -> Result<()> {
        if self.info.base_model.fingerprint != base.fingerprint {
            return Err(self.error(format!(
                "this adapter belongs to another model: it was trained on {} ({} parameters), whose weights differ from \
                 those of {} ({} parameters)",
                self.info.base_model.name,
                self.info.base_model.parameters,
                base.folder.display(),
                base.transformer.parameter_count()
            )));
        }
        (find(&self.info.method).map_err(|e| self.error(e))?.apply)(self, &mut base.transformer, device)
    }
}
