//! The adapter folder: `adapter.json` (what it is and which model it belongs to) and `adapter.safetensors` (values).
//!
//! Folders of other programs are read as well, by [`formats`]; what they hold is then told in the same words.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Training,
    change::{TensorChange, check_fits},
    dtype_name,
    formats::{self, Format},
    stack,
};
use crate::{
    Error, Result,
    device::{self, ComputeDevice},
    files,
    kernel::Packing,
    model::{
        Pretrained, Transformer,
        classifier::{self, HeadStart, Purpose},
        save::cast,
        weights::Weights,
    },
    storage,
};

/// Version of the folder's layout.
pub(super) const VERSION: u32 = 1;
/// Name of the description.
pub(super) const INFO: &str = "adapter.json";
/// Name of the values' file.
pub(super) const VALUES: &str = "adapter.safetensors";
/// What `format` says.
pub(super) const NAME: &str = "agoge-adapter";

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
    /// Number of trainable parameters.
    pub trained_parameters: usize,
    /// Storage type of the values: "f32" or "f16".
    pub dtype: String,
    /// What the method needs to apply it; the description of another program's adapter as it is.
    pub settings: Value,
    /// Tensors that are replaced as a whole (a classification head); their values are stored under their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dense: Vec<TensorShape>,
    /// What a classifier answers; `None` for a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classify: Option<Classify>,
    /// How the frozen weights of linear layers were quantized when it was trained: it changes the model as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantized: Option<Packing>,
}

/// A tensor by name, with its shape in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorShape {
    /// Name of the parameter.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The answers of a classifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classify {
    /// Names of the classes, in the order of the head's rows.
    pub classes: Vec<String>,
    /// Text around the fields of a row, where there is one.
    #[serde(default)]
    pub template: Option<String>,
}

/// The model that an adapter belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseModel {
    /// Folder name, for people.
    pub name: String,
    /// `model_type` of its configuration; empty where another program's adapter does not say it.
    pub model_type: String,
    /// Number of parameters; 0 where it is not known.
    pub parameters: usize,
    /// Identity of its weights; empty where it is not known.
    pub fingerprint: String,
}

/// An adapter folder that has been read.
#[derive(Debug)]
pub struct Adapter {
    /// Where it is.
    pub folder: PathBuf,
    /// In which program's layout it is stored.
    pub format: &'static Format,
    /// `adapter.json`, or what another program's files say in its place.
    pub info: Info,
    /// Its tensors.
    pub weights: Weights,
}

/// The files of an adapter, as (name, bytes), not yet written.
///
/// # Errors
/// The device failed while reading the values.
pub async fn files(
    training: &Training,
    name: &str,
    base: &Pretrained,
    dtype: Dtype,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let saved = training.save(&base.transformer);
    let mut tensors = Vec::new();
    for (name, values) in saved.tensors.values {
        let values = device::read(values).await?;
        tensors.push((name, dtype, values.len(), cast(&values, dtype)?));
    }
    for (name, indices) in saved.tensors.indices {
        let indices = device::read_indices(indices).await?;
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        tensors.push((name, Dtype::U32, indices.len(), bytes));
    }
    let info = Info {
        format: NAME.into(),
        version: VERSION,
        method: name.into(),
        base_model: BaseModel {
            name: base.name(),
            model_type: base.transformer.architecture.model_type.clone(),
            parameters: base.transformer.parameter_count(),
            fingerprint: base.fingerprint.clone(),
        },
        trained_parameters: training.trained_parameters(),
        dtype: dtype_name(dtype).into(),
        settings: saved.settings,
        dense: saved.whole.into_iter().map(|tensor| TensorShape { name: tensor.name, shape: tensor.shape }).collect(),
        classify: match &base.purpose {
            Purpose::LanguageModel => None,
            Purpose::Classify(head) => {
                Some(Classify { classes: head.classes.clone(), template: head.template.clone() })
            }
        },
        quantized: base.keeping.quantized,
    };
    folder_files(&info, &tensors)
}

/// The two files of an adapter folder from its description and its vectors (name, type, length, bytes).
pub(super) fn folder_files(
    info: &Info,
    tensors: &[(String, Dtype, usize, Vec<u8>)],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let json = serde_json::to_string_pretty(info).map_err(|e| Error::Run(format!("{INFO}: {e}")))?;
    let values = files::safetensors(
        tensors.iter().map(|(name, dtype, len, bytes)| (name.clone(), *dtype, vec![*len], &bytes[..])),
        &[("format", NAME)],
    )?;
    // The values first: a folder without adapter.json is not an adapter yet.
    Ok(vec![(VALUES, values), (INFO, format!("{json}\n").into_bytes())])
}

/// Writes an adapter folder.
///
/// # Errors
/// The device failed, or the folder cannot be written.
pub async fn write(training: &Training, name: &str, base: &Pretrained, dtype: Dtype, folder: &Path) -> Result<()> {
    storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    for (file, bytes) in files(training, name, base, dtype).await? {
        files::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}

impl Adapter {
    /// Reads an adapter folder, in whichever of the known layouts it is.
    ///
    /// # Errors
    /// A folder that is not an adapter, is of a newer version, or whose files are cut off.
    pub fn read(folder: &Path) -> Result<Self> {
        let format = formats::recognise(folder)?;
        let (info, weights) = (format.open)(folder)?;
        Ok(Self { folder: folder.to_path_buf(), format, info, weights })
    }

    /// What its base model must be loaded for.
    pub fn purpose(&self) -> Purpose {
        match &self.info.classify {
            None => Purpose::LanguageModel,
            Some(Classify { classes, template }) => Purpose::Classify(classifier::Classify {
                classes: classes.clone(),
                // The adapter brings the head.
                start: HeadStart::Random { seed: 0 },
                template: template.clone(),
            }),
        }
    }

    /// What it does to each tensor of `transformer`, in the layout of the checkpoint, known to fit.
    ///
    /// # Errors
    /// Values that are missing or do not fit; mismatches of names and shapes are told all at once.
    pub fn changes(&self, transformer: &Transformer) -> Result<Vec<TensorChange>> {
        let changes = (self.format.changes)(self, transformer)?;
        check_fits(self, &changes, transformer)?;
        Ok(changes)
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

    /// Refuses another base model than the one that the adapter was trained on, where that is known.
    ///
    /// # Errors
    /// Another base model.
    pub fn check_base(&self, base: &Pretrained) -> Result<()> {
        let known = &self.info.base_model;
        if known.fingerprint.is_empty() || known.fingerprint == base.fingerprint {
            return Ok(());
        }
        Err(self.error(format!(
            "this adapter belongs to another model: it was trained on {} ({} parameters), whose weights differ from \
             those of {} ({} parameters)",
            known.name,
            known.parameters,
            base.folder.display(),
            base.transformer.parameter_count()
        )))
    }

    /// Applies the adapter to its base model's weights, in place. The weights are untouched if anything is wrong.
    ///
    /// # Errors
    /// Another base model, or values that do not fit.
    pub fn apply(&self, base: &mut Pretrained, device: &ComputeDevice) -> Result<()> {
        stack::fold_for_good(&[(self, 1.0)], base, device).map(|_| ())
    }
}
