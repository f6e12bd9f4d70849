//! The adapter folder: `adapter.json` (what it is and which model it belongs to) and `adapter.safetensors` (values).
//!
//! Folders of other programs are read as well, by [`formats`](super::formats); what they hold is then told in the same words.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use safetensors::Dtype;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::change::{TensorChange, misfit};
use crate::{
    Error, Result, files,
    kernel::Packing,
    model::{
        Pretrained, Transformer,
        classifier::{self, HeadStart, Purpose},
        weights::Weights,
    },
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

/// Files of a folder that are not yet written: name and bytes.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// One layout of an adapter folder.
#[derive(Debug)]
pub struct Format {
    /// Name for `--format`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The file by which a folder is recognised.
    pub marker: &'static str,
    /// Reads the files; nothing is compared with a model yet.
    pub open: fn(&Path) -> Result<(Info, Weights)>,
    /// What the adapter does to the tensors of a model.
    pub changes: fn(&Adapter, &Transformer) -> Result<Vec<TensorChange>>,
    /// The files of an adapter in this layout.
    pub write: fn(&Export) -> Result<Files>,
}

/// An adapter to be written, known to fit its model.
#[derive(Debug)]
pub struct Export<'a> {
    /// The adapter as it was read.
    pub adapter: &'a Adapter,
    /// What it does to each tensor.
    pub changes: Vec<TensorChange>,
    /// Its base model.
    pub base: &'a Pretrained,
    /// Where other programs find the base model: a folder, or a name on the Hugging Face hub.
    pub base_name: String,
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

impl Adapter {
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
}

/// Most mismatches that one message lists.
const MOST_SHOWN: usize = 20;

/// Checks the tensors that an adapter lists against a model: each is there, once, and has the shape.
///
/// # Errors
/// All mismatches at once, by tensor name.
pub(super) fn check_listed<'a>(
    adapter: &Adapter,
    listed: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    transformer: &Transformer,
) -> Result<()> {
    let parameters = transformer.parameters();
    let (mut seen, mut problems) = (HashSet::new(), Vec::new());
    for (name, shape) in listed {
        if !seen.insert(name) {
            problems.push(format!("{name} is listed twice"));
            continue;
        }
        match parameters.iter().find(|parameter| parameter.name == name) {
            None => problems.push(format!("the model has no parameter {name}")),
            Some(parameter) if parameter.dims != shape => problems
                .push(format!("{name} has shape {shape:?} in the adapter but {:?} in the model", parameter.dims)),
            Some(_) => {}
        }
    }
    all_of(adapter, &problems)
}

/// Checks the changes of one adapter against a model: tensors as [`check_listed`] does, and that every change has the
/// values and places that its tensor needs.
///
/// # Errors
/// All mismatches at once, by tensor name.
pub(super) fn check_fits(adapter: &Adapter, changes: &[TensorChange], transformer: &Transformer) -> Result<()> {
    check_listed(adapter, changes.iter().map(|tensor| (&tensor.name[..], &tensor.shape[..])), transformer)?;
    let parameters = transformer.parameters();
    let problem = |tensor: &TensorChange| {
        let parameter = parameters.iter().find(|parameter| parameter.name == tensor.name)?;
        misfit(tensor, parameter)
    };
    all_of(adapter, &changes.iter().filter_map(problem).collect::<Vec<_>>())
}

/// One sentence about all problems.
fn all_of(adapter: &Adapter, problems: &[String]) -> Result<()> {
    match problems {
        [] => Ok(()),
        [problem] => Err(adapter.error(problem)),
        _ => {
            let shown: String = problems.iter().take(MOST_SHOWN).map(|problem| format!("\n  {problem}")).collect();
            let more = problems.len().saturating_sub(MOST_SHOWN);
            let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            Err(adapter.error(format!("it does not fit the model ({} tensors):{shown}{more}", problems.len())))
        }
    }
}

/// Short name of a storage type, as adapters write it.
pub fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        _ => "f32",
    }
}
