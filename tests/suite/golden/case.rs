//! A golden case as it is read and replayed: by the tests of the program, and by the checks of the page (`web/src/checks.rs`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agoge::{
    Error, Result,
    config::{RunConfig, Schedule},
    data::Batch,
    device::ComputeDevice,
    kernel::{self, AdamW, Matrix},
    method::{
        self, Setup, Training,
        change::{Change, TensorChange},
    },
    model::{
        Adaptation, LinearCall, Pretrained, Transformer, classifier::Purpose, pretrained::read_config, weights::Weights,
    },
    storage,
    train::schedule::LearningRate,
};
use burn::tensor::{Int, Tensor};
use serde_json::Value;

/// Reference values and where they come from.
pub struct Case {
    pub folder: PathBuf,
    pub info: Value,
    pub values: Weights,
}

/// Entries of a tensor that a reference trained: its name, their sorted flat indices, and the deltas they came to.
pub type Trained = (String, Vec<u32>, Vec<f32>);

/// The start of a run that trains these entries of these tensors, which are unchanged.
pub fn sparse_start(masks: Vec<(String, Vec<u32>)>, transformer: &Transformer) -> Vec<TensorChange> {
    let parameters = transformer.parameters();
    let start = |(name, indices): (String, Vec<u32>)| {
        let shape = parameters.iter().find(|parameter| parameter.name == name)?.dims.clone();
        let values = vec![0.0; indices.len()];
        Some(TensorChange { name, shape, change: Change::Sparse { indices, values } })
    };
    masks.into_iter().filter_map(start).collect()
}

/// Sparse training of these entries.
pub async fn train_entries(
    masks: Vec<(String, Vec<u32>)>,
    transformer: &mut Transformer,
    device: &ComputeDevice,
) -> Result<Training> {
    let config = RunConfig::default().method_config();
    let mut setup = Setup::new(&config, device, 0);
    setup.initial = sparse_start(masks, transformer);
    method::start(method::find("sparta")?, &mut setup, transformer).await
}

impl Case {
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            storage::read(&path).map_err(|e| Error::file("read", &path, e))
        };
        let info = serde_json::from_slice(&read("case.json")?)
            .map_err(|e| Error::input(format!("{}: case.json: {e}", folder.display())))?;
        let values = Weights::from_bytes(&folder.display().to_string(), read("case.safetensors")?)?;
        Ok(Self { folder: folder.to_path_buf(), info, values })
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn missing(&self, what: &str) -> Error {
        Error::input(format!("{}: there is no {what}", self.name()))
    }

    pub fn number(&self, key: &str) -> Result<f64> {
        self.info[key].as_f64().ok_or_else(|| self.missing(key))
    }

    pub fn numbers(&self, key: &str) -> Result<Vec<f32>> {
        let list = self.info[key].as_array().ok_or_else(|| self.missing(key))?;
        let number = |value: &Value| value.as_f64().map(|value| value as f32).ok_or_else(|| self.missing(key));
        list.iter().map(number).collect()
    }

    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.values.floats(name)
    }

    fn dims(&self, name: &str) -> Result<&[usize]> {
        self.values.dims(name).ok_or_else(|| self.missing(name))
    }

    /// i32 values; -100 in labels wraps and comes back.
    fn integers(&self, name: &str) -> Result<Vec<i32>> {
        Ok(self.values.indices(name)?.into_iter().map(|word| word as i32).collect())
    }

    pub fn load(&self, device: &ComputeDevice) -> Result<Pretrained> {
        Pretrained::load_for(&self.folder, Purpose::of_checkpoint(&read_config(&self.folder)?), device)
    }

    /// Batch `index` of stacked tensors `[S, B, T]`, or the only one of `[B, T]`.
    pub fn batch(&self, index: usize) -> Result<Batch> {
        let &[.., rows, width] = self.dims("input_ids")? else { return Err(self.missing("batch")) };
        let part = |name: &str| {
            let all = self.integers(name)?;
            all.chunks_exact(rows * width).nth(index).map(<[_]>::to_vec).ok_or_else(|| self.missing("batch"))
        };
        let (ids, mask) = (part("input_ids")?, part("attention_mask")?);
        let classifies = self.info["task"] == "sequence-classification";
        let classes = if classifies { self.integers("labels")? } else { Vec::new() };
        let labels = if classifies { vec![-100; ids.len()] } else { part("labels")? };
        let counted = labels.chunks(width).flat_map(|row| &row[1..]).filter(|&&label| label >= 0).count();
        Ok(Batch {
            tokens: mask.iter().filter(|&&one| one != 0).count(),
            attention_mask: mask.into_iter().map(|one| one as u8).collect(),
            ids,
            labels,
            row_count: rows,
            width,
            target_tokens: if classifies { rows } else { counted },
            classes,
            token_types: Vec::new(),
        })
    }

    /// What a SpaRTA run trained of each tensor.
    pub fn trained(&self, transformer: &Transformer) -> Result<Vec<Trained>> {
        let mut all = Vec::new();
        for name in self.values.names().filter_map(|name| name.strip_prefix("indices.")) {
            let stored = format!("indices.{name}");
            let &[count, places] = self.dims(&stored)? else { return Err(self.missing(&stored)) };
            if count == 0 {
                continue;
            }
            let parameter = transformer.parameters().into_iter().find(|parameter| parameter.name == name);
            let width = parameter.and_then(|parameter| parameter.dims.last().copied());
            let width = width.ok_or_else(|| self.missing(name))? as u32;
            let at = self.integers(&stored)?;
            let flat = at.chunks(places).map(|place| place.iter().fold(0, |sum, &x| sum * width + x as u32));
            let mut pairs: Vec<(u32, f32)> = flat.zip(self.floats(&format!("deltas.{name}"))?).collect();
            pairs.sort_by_key(|pair| pair.0);
            let (indices, deltas) = pairs.into_iter().unzip();
            all.push((name.to_owned(), indices, deltas));
        }
        Ok(all)
    }

    /// The settings of each step.
    pub fn steps(&self) -> Result<Vec<AdamW>> {
        let (steps, lr) = (self.number("steps")? as u64, self.number("lr")?);
        let config = RunConfig {
            learning_rate: lr,
            min_learning_rate: lr / 10.0,
            warmup_steps: self.number("warmup")? as u64,
            schedule: Schedule::Cosine,
            ..RunConfig::default()
        };
        let schedule = LearningRate::new(&config, steps);
        let (weight_decay, max_norm) = (self.number("weight_decay")? as f32, self.number("clip_global_norm")? as f32);
        let settings = |step: u64| {
            let t = step as i32 + 1;
            AdamW {
                learning_rate: schedule.at(step) as f32,
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-8,
                weight_decay,
                correction1: (1.0 - 0.9f64.powi(t)) as f32,
                correction2: (1.0 - 0.99f64.powi(t)) as f32,
                max_norm,
            }
        };
        Ok((0..steps).map(settings).collect())
    }
}

/// Tracks a whole tensor: gives the dense gradient by plain autodiff.
#[derive(Debug)]
struct Dense(Tensor<2>);

impl Adaptation for Dense {
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2> {
        let transposed = layer.transposed;
        layer.with_added(|x, _, added| kernel::linear::composed(x, self.0.clone(), added, transposed))
    }

    fn embed(&self, ids: Tensor<1, Int>, _: &Matrix) -> Tensor<2> {
        self.0.clone().select(0, ids)
    }

    fn small(&self, _: &Matrix) -> Tensor<2> {
        self.0.clone()
    }
}

/// Tracks every parameter as a whole; the leaves by name.
pub fn track_all(transformer: &mut Transformer) -> BTreeMap<String, Tensor<2>> {
    let mut leaves = BTreeMap::new();
    for parameter in transformer.parameters_mut() {
        let leaf = Tensor::from_inner(parameter.value().dense()).require_grad();
        parameter.adaptation = Some(Box::new(Dense(leaf.clone())));
        leaves.insert(parameter.name.clone(), leaf);
    }
    leaves
}
