//! A Hugging Face model folder as one value: description, transformer, fingerprint.

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;

use super::{
    architecture::{Architecture, NormKind},
    classifier::{Purpose, WithHead},
    family::{self, left_over},
    fields::Fields,
    fingerprint,
    parameter::{Parameter, ParameterSource, Role},
    transformer::Transformer,
    weights::{Keeping, Loader, Weights, packing_of},
};
use crate::{
    Error, Result,
    device::ComputeDevice,
    kernel::{Matrix, Packing},
    rng::Stream,
    storage,
};

/// A loaded model.
#[derive(Debug)]
pub struct Pretrained {
    /// Where it came from.
    pub folder: PathBuf,
    /// The forward pass and its weights on the device.
    pub transformer: Transformer,
    /// `config.json`.
    pub config: Value,
    /// Identity of the weights.
    pub fingerprint: String,
    /// Storage type of the checkpoint's matrices.
    pub dtype: Dtype,
    /// How its weights were to be kept.
    pub keeping: Keeping,
    /// What it was loaded for.
    pub purpose: Purpose,
}

/// Reads and parses `config.json` of a model folder.
///
/// # Errors
/// A folder that is not one, a missing file, or bad JSON.
pub fn read_config(folder: &Path) -> Result<Value> {
    if !storage::is_dir(folder) {
        return Err(Error::input(format!(
            "{}: there is no such folder; --model wants a Hugging Face model folder",
            folder.display()
        )));
    }
    let path = folder.join("config.json");
    if !storage::exists(&path) {
        return Err(Error::input(format!(
            "{}: not a model folder, there is no config.json; --model wants a Hugging Face model folder",
            folder.display()
        )));
    }
    let text = storage::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
    let config: Value =
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not valid JSON: {e}", path.display())))?;
    if !config.is_object() {
        return Err(Error::input(format!("{}: config.json must hold one JSON object", folder.display())));
    }
    Ok(config)
}

/// Reads `config.json` of a model folder as a description of a transformer.
///
/// # Errors
/// As [`read_config`], and an unsupported family or a faulty field.
pub fn read_architecture(folder: &Path) -> Result<(Value, Architecture)> {
    let config = read_config(folder)?;
    let architecture = in_folder(folder, family::describe(&config))?;
    Ok((config, architecture))
}

impl Pretrained {
    /// Loads a Hugging Face folder onto a device, as a language model.
    ///
    /// # Errors
    /// An unsupported family, missing files, or weights that do not fit `config.json`.
    pub fn load(folder: &Path, device: &ComputeDevice) -> Result<Self> {
        Self::load_for(folder, Purpose::LanguageModel, device)
    }

    /// Loads a Hugging Face folder onto a device, for a purpose.
    ///
    /// # Errors
    /// As [`Self::load`], and a model that cannot serve the purpose.
    pub fn load_for(folder: &Path, purpose: Purpose, device: &ComputeDevice) -> Result<Self> {
        Self::load_as(folder, purpose, Keeping::AS_STORED, device)
    }

    /// As [`Self::load_for`]; `keeping` says in how many bits weights are kept on a GPU. On the CPU device all are in f32.
    ///
    /// # Errors
    /// As [`Self::load_for`].
    pub fn load_as(folder: &Path, purpose: Purpose, keeping: Keeping, device: &ComputeDevice) -> Result<Self> {
        let (config, architecture) = read_architecture(folder)?;
        let weights = Weights::open(folder)?;
        Self::assemble(folder, config, architecture, purpose, &weights, keeping, device)
    }

    /// A language model from files in memory (the embedded default, or a browser's upload).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(name: &str, config: &str, safetensors: Vec<u8>, device: &ComputeDevice) -> Result<Self> {
        Self::from_bytes_as(name, config, safetensors, Keeping::AS_STORED, device)
    }

    /// The same, kept as [`Self::load_as`] says.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes_as(
        name: &str,
        config: &str,
        safetensors: Vec<u8>,
        keeping: Keeping,
        device: &ComputeDevice,
    ) -> Result<Self> {
        let config: Value =
            serde_json::from_str(config).map_err(|e| Error::input(format!("{name}: config.json is not JSON: {e}")))?;
        let architecture = in_folder(Path::new(name), family::describe(&config))?;
        let weights = Weights::from_bytes(name, safetensors)?;
        Self::assemble(Path::new(name), config, architecture, Purpose::LanguageModel, &weights, keeping, device)
    }

    /// A model with fresh random weights from `seed`, for a folder that holds only `config.json` and a tokenizer.
    ///
    /// # Errors
    /// An unsupported or faulty `config.json`.
    pub fn random(folder: &Path, seed: u64, purpose: Purpose, adapter: &ComputeDevice) -> Result<Self> {
        let (config, architecture) = read_architecture(folder)?;
        in_folder(folder, purpose.check(&architecture, None))?;
        let architecture = Architecture { stored: None, ..architecture };
        check_fits(folder, &architecture, &purpose, Keeping::F32, adapter)?;
        let device = &adapter.handle;
        let mut body = Fresh {
            seed,
            deviation: architecture.initializer_range,
            norm: if architecture.norm == NormKind::RmsOffset { 0.0 } else { 1.0 },
            device: adapter,
        };
        let described = architecture.clone();
        let mut source =
            WithHead { body: &mut body, architecture: &described, purpose: &purpose, weights: None, device };
        let transformer = Transformer::new(architecture, purpose.head(), device, &mut source);
        transformer.prepare_products(adapter);
        let keeping = Keeping::F32;
        let fingerprint = format!("random weights from seed {seed}");
        Ok(Self { folder: folder.to_path_buf(), transformer, config, fingerprint, dtype: Dtype::F32, keeping, purpose })
    }

    fn assemble(
        folder: &Path,
        config: Value,
        mut architecture: Architecture,
        purpose: Purpose,
        weights: &Weights,
        keeping: Keeping,
        adapter: &ComputeDevice,
    ) -> Result<Self> {
        in_folder(folder, purpose.check(&architecture, Some(weights)))?;
        let table = format!("{}{}.weight", architecture.names.prefix, architecture.names.embedding);
        let table = weights.alias(&table).and_then(|name| weights.dtype(name));
        let dtype = table.unwrap_or(Dtype::F32);
        // What the files hold counts, not what config.json says of them.
        architecture.stored = packing_of(dtype).filter(|_| keeping.packed && !adapter.is_cpu());
        check_fits(folder, &architecture, &purpose, keeping, adapter)?;
        let device = &adapter.handle;
        let described = architecture.clone();
        let classifier = matches!(purpose, Purpose::Classify(_)).then(|| described.names.classifier);
        let mut loader = Loader::new(weights, adapter, keeping, classifier);
        let mut source =
            WithHead { body: &mut loader, architecture: &described, purpose: &purpose, weights: Some(weights), device };
        let transformer = Transformer::new(architecture, purpose.head(), device, &mut source);
        let family = family::find(&described.model_type).expect("a described family");
        let classifying = classifier.is_some();
        loader.finish(folder, |name| left_over::problem(family, &described, classifying, weights, name))?;
        in_folder(folder, some_are_quantized(&transformer, keeping))?;
        let fingerprint = fingerprint::of(weights)?;
        transformer.prepare_products(adapter);
        Ok(Self { folder: folder.to_path_buf(), transformer, config, fingerprint, dtype, keeping, purpose })
    }

    /// Names of the classes; empty for a language model.
    pub fn classes(&self) -> &[String] {
        match &self.purpose {
            Purpose::LanguageModel => &[],
            Purpose::Classify(classify) => &classify.classes,
        }
    }

    /// Name of its folder, for people; `org/name` in the cache of the Hugging Face hub, where the folder is a commit.
    pub fn name(&self) -> String {
        let above = |levels: usize| self.folder.ancestors().nth(levels)?.file_name()?.to_str();
        if above(1) == Some("snapshots")
            && let Some((owner, name)) = above(2).and_then(|repo| repo.strip_prefix("models--")?.split_once("--"))
        {
            return format!("{owner}/{name}");
        }
        self.folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The id that fills padded places: the configuration's, else 0. Padding never reaches the loss, so any id of the
    /// vocabulary will do where the configuration names one outside of it.
    pub fn pad_id(&self) -> u32 {
        let vocabulary = self.transformer.architecture.vocab_size;
        Fields::new(&self.config).token("pad_token_id").filter(|&id| (id as usize) < vocabulary).unwrap_or(0)
    }
}

/// Refuses a model of which the device cannot bind a tensor, or a row of one that is kept in blocks of rows, before anything
/// is uploaded.
fn check_fits(
    folder: &Path,
    architecture: &Architecture,
    purpose: &Purpose,
    keeping: Keeping,
    device: &ComputeDevice,
) -> Result<()> {
    let Some(limit) = device.facts.max_binding_bytes else { return Ok(()) };
    let outline = Transformer::outline(architecture.clone(), purpose.head());
    let needed = |parameter: &Parameter| {
        let packing = outline.packing(parameter, keeping).filter(|_| !device.is_cpu());
        let [rows, cols] = parameter.matrix_dims();
        let entries = if parameter.role.by_rows() { cols } else { rows * cols };
        4 * packing.map_or(entries, |packing| packing.words(entries)) as u64
    };
    match outline.parameters().into_iter().find(|parameter| needed(parameter) > limit) {
        None => Ok(()),
        Some(parameter) => Err(Error::Device(format!(
            "{}: {} needs {} MB at once, but {} can bind only {} MB; use --device cpu or another device",
            folder.display(),
            parameter.name,
            needed(parameter).div_ceil(1_000_000),
            device.facts.name,
            limit / 1_000_000
        ))),
    }
}

/// Refuses to quantize where no layer can be.
fn some_are_quantized(transformer: &Transformer, keeping: Keeping) -> Result<()> {
    let fits = |packing: Packing| {
        transformer
            .parameters()
            .iter()
            .any(|p| p.is_linear() && p.dims.last().is_some_and(|width| packing.fits(*width)))
    };
    match keeping.quantized.filter(|packing| !fits(*packing)) {
        None => Ok(()),
        Some(_) => Err(Error::input(
            "--quantize: no linear layer of this model has rows of whole groups of 32 entries; leave it out",
        )),
    }
}

/// Puts the folder's name in front of a message about its `config.json`.
fn in_folder<T>(folder: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|e| match e {
        Error::Input(message) => Error::Input(format!("{}: {message}", folder.display())),
        other => other,
    })
}

/// Fresh weights: normal for matrices, ones for norms, zeros for biases. Each tensor has its own random stream.
struct Fresh<'a> {
    seed: u64,
    deviation: f64,
    /// Start of a norm's scale as it is stored.
    norm: f32,
    device: &'a ComputeDevice,
}

impl ParameterSource for Fresh<'_> {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        let count: usize = dims.iter().product();
        let values: Vec<f32> = match role {
            Role::Linear | Role::TransposedLinear | Role::Head | Role::Embedding => {
                let mut stream = Stream::new(self.seed, &format!("init/{name}"));
                (0..count).map(|_| (self.deviation * stream.normal()) as f32).collect()
            }
            Role::Norm => vec![self.norm; count],
            Role::Bias => vec![0.0; count],
        };
        let rows = if dims.len() == 1 { 1 } else { dims[0] };
        let limit = self.device.facts.max_binding_bytes.filter(|_| role.by_rows());
        let value = Matrix::from_values(values, None, [rows, count / rows], self.device, limit);
        Parameter::new(name, dims.to_vec(), role, value)
    }
}
