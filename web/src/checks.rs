//! Whether this browser computes what it should: reference values of PyTorch and the kernels' composed twins, on its own
//! device. For tests, and for whoever wants to know about a new browser or driver.
//!
//! Each check gives the largest error in units of its tolerance (1 is just right enough), by name.

use std::{collections::BTreeMap, path::Path};

use agoge::{
    Error, Result,
    config::{RunConfig, Schedule},
    data::Batch,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{
        self, AdamW, Matrix,
        masked_gather::{self, Strategy},
    },
    method::{Sparta, mask},
    model::{Adaptation, Pretrained, classifier::Purpose, pretrained::read_config, weights::Weights},
    rng::Stream,
    storage,
    train::{objective::Prepared, schedule::LearningRate, step::optimizer_step},
};
use burn::tensor::{Int, Tensor};
use serde_json::Value;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::sentence;

type Worst = BTreeMap<String, f32>;

/// The masked gather at ragged sizes against the dense gradient.
#[wasm_bindgen(js_name = checkGather)]
pub async fn check_gather() -> Result<String, JsValue> {
    told(gather().await)
}

/// Logits and every gradient of the golden case in a folder.
#[wasm_bindgen(js_name = checkForward)]
pub async fn check_forward(folder: String) -> Result<String, JsValue> {
    told(forward(Path::new(&folder)).await)
}

/// Losses of the golden SpaRTA run in a folder.
#[wasm_bindgen(js_name = checkTrajectory)]
pub async fn check_trajectory(folder: String) -> Result<String, JsValue> {
    told(trajectory(Path::new(&folder)).await)
}

fn told(worst: Result<Worst>) -> Result<String, JsValue> {
    serde_json::to_string(&worst.map_err(sentence)?).map_err(sentence)
}

async fn open() -> Result<ComputeDevice> {
    device::open(&DeviceChoice::Gpu).await
}

/// The largest error in units of `atol + rtol * |expected|`; infinite where the lengths differ or a number is none.
fn excess(actual: &[f32], expected: &[f32], rtol: f32, atol: f32) -> f32 {
    if actual.len() != expected.len() || actual.is_empty() {
        return f32::INFINITY;
    }
    let errors = actual.iter().zip(expected).map(|(a, e)| (a - e).abs() / (atol + rtol * e.abs()));
    errors.fold(0.0, |worst, error| if error.is_nan() { f32::INFINITY } else { worst.max(error) })
}

async fn gather() -> Result<Worst> {
    let device = open().await?;
    let mut stream = Stream::new(1, "masked gather");
    let mut worst = Worst::new();
    for (tokens, inputs, outputs) in [(1, 1, 1), (5, 3, 7), (64, 64, 64), (33, 100, 65), (130, 67, 129), (257, 31, 200)]
    {
        for density in [0.001, 0.1, 1.0] {
            let mut normals = |count| (0..count).map(|_| stream.normal() as f32).collect();
            let x = device.floats(normals(tokens * inputs), [tokens, inputs]);
            let dy = device.floats(normals(tokens * outputs), [tokens, outputs]);
            let all = inputs * outputs;
            let count = ((density * all as f64).round() as usize).clamp(1, all);
            let indices = device.indices(&mask::draw(3, "w", all, count));
            let expected = device::read(masked_gather::composed(x.clone(), dy.clone(), indices.clone())).await?;
            for strategy in [Strategy::Direct, Strategy::Turned, Strategy::Tiled] {
                let actual = kernel::masked_gather(x.clone(), dy.clone(), indices.clone(), strategy);
                let error = excess(&device::read(actual).await?, &expected, 1e-4, 1e-4);
                worst.insert(format!("{tokens}x{inputs}x{outputs} {density} {strategy:?}"), error);
            }
        }
    }
    Ok(worst)
}

/// A golden case.
struct Case {
    info: Value,
    values: Weights,
}

impl Case {
    fn open(folder: &Path) -> Result<Self> {
        let read =
            |name: &str| storage::read(folder.join(name)).map_err(|e| Error::file("read", &folder.join(name), e));
        let info = serde_json::from_slice(&read("case.json")?).map_err(|e| Error::input(format!("case.json: {e}")))?;
        Ok(Self { info, values: Weights::from_bytes("case.safetensors", read("case.safetensors")?)? })
    }

    fn number(&self, key: &str) -> f64 {
        self.info[key].as_f64().unwrap_or(f64::NAN)
    }

    fn numbers(&self, key: &str) -> Vec<f32> {
        let list = self.info[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_f64).map(|value| value as f32).collect()
    }

    fn integers(&self, name: &str) -> Result<Vec<i32>> {
        Ok(self.values.indices(name)?.into_iter().map(|word| word as i32).collect())
    }

    /// Batch `index` of stacked tensors `[S, B, T]`, or the only one of `[B, T]`.
    fn batch(&self, index: usize) -> Result<Batch> {
        let dims = self.values.dims("input_ids").unwrap_or(&[0, 0]).to_vec();
        let (rows, width) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let part = |name: &str| Ok::<_, Error>(self.integers(name)?[index * rows * width..][..rows * width].to_vec());
        let (ids, mask, labels) = (part("input_ids")?, part("attention_mask")?, part("labels")?);
        Ok(Batch {
            tokens: mask.iter().filter(|&&one| one != 0).count(),
            attention_mask: mask.into_iter().map(|one| one as u8).collect(),
            target_tokens: labels.chunks(width).flat_map(|row| &row[1..]).filter(|&&label| label >= 0).count(),
            ids,
            labels,
            row_count: rows,
            width,
            classes: Vec::new(),
            token_types: Vec::new(),
        })
    }
}

fn load(folder: &Path, device: &ComputeDevice) -> Result<Pretrained> {
    Pretrained::load_for(folder, Purpose::of_checkpoint(&read_config(folder)?), device)
}

/// Tracks a whole tensor.
#[derive(Debug)]
struct Dense(Tensor<2>, bool);

impl Adaptation for Dense {
    fn linear(&self, x: Tensor<2>, _: &Matrix, bias: Option<Tensor<2>>) -> Tensor<2> {
        let y = if self.1 { x.matmul(self.0.clone()) } else { x.matmul(self.0.clone().transpose()) };
        bias.into_iter().fold(y, Tensor::add)
    }

    fn embed(&self, ids: Tensor<1, Int>, _: &Matrix) -> Tensor<2> {
        self.0.clone().select(0, ids)
    }

    fn small(&self, _: &Matrix) -> Tensor<2> {
        self.0.clone()
    }
}

async fn forward(folder: &Path) -> Result<Worst> {
    let (device, case) = (open().await?, Case::open(folder)?);
    let (rtol, atol) = (case.number("rtol") as f32, case.number("atol") as f32);
    let mut model = load(folder, &device)?;
    let batch = case.batch(0)?;
    let layout = model.transformer.layout(batch.row_count, batch.width, Some(&batch.attention_mask), &[]);
    let logits = device::read(model.transformer.forward(device.integers(batch.ids.clone()), &layout)).await?;
    let mut worst = Worst::from([("logits".into(), excess(&logits, &case.values.floats("logits")?, rtol, atol))]);

    let prepared = Prepared::new(&batch, &model.transformer, &device);
    let mut leaves = BTreeMap::new();
    for parameter in model.transformer.parameters_mut() {
        let leaf = Tensor::from_inner(parameter.value().dense()).require_grad();
        parameter.adaptation = Some(Box::new(Dense(leaf.clone(), parameter.transposed())));
        leaves.insert(parameter.name.clone(), leaf);
    }
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    let loss = prepared.loss_sum(&model.transformer, hidden).div_scalar(prepared.target_tokens as f64);
    let gradients = loss.backward();
    for (name, leaf) in leaves {
        let gradient = leaf.grad(&gradients).ok_or_else(|| Error::Run(format!("{name} has no gradient")))?;
        let error = excess(&device::read(gradient).await?, &case.values.floats(&format!("grad.{name}"))?, rtol, atol);
        worst.insert(format!("grad.{name}"), error);
    }
    Ok(worst)
}

async fn trajectory(folder: &Path) -> Result<Worst> {
    let (device, case) = (open().await?, Case::open(folder)?);
    let mut model = load(folder, &device)?;
    let mut masks = Vec::new();
    for name in case.values.names().filter_map(|name| name.strip_prefix("indices.")) {
        let dims = case.values.dims(&format!("indices.{name}")).unwrap_or(&[0, 1]).to_vec();
        let parameter = model.transformer.parameter_mut(name);
        let Some(&width) = parameter.filter(|_| dims[0] > 0).and_then(|parameter| parameter.dims.last()) else {
            continue;
        };
        let at = case.integers(&format!("indices.{name}"))?;
        let flat = at.chunks(dims[1]).map(|i| i.iter().fold(0, |sum, &x| sum * width as u32 + x as u32));
        let mut flat: Vec<u32> = flat.collect();
        flat.sort_unstable();
        masks.push((name.to_owned(), flat));
    }
    let mut sparta = Sparta::with_indices(masks, &mut model.transformer, &device)?;
    let (steps, lr) = (case.number("steps") as u64, case.number("lr"));
    let config = RunConfig {
        learning_rate: lr,
        min_learning_rate: lr / 10.0,
        warmup_steps: case.number("warmup") as u64,
        schedule: Schedule::Cosine,
        ..RunConfig::default()
    };
    let schedule = LearningRate::new(&config, steps);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let t = step as i32 + 1;
        let settings = AdamW {
            learning_rate: schedule.at(step) as f32,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: case.number("weight_decay") as f32,
            correction1: (1.0 - 0.9f64.powi(t)) as f32,
            correction2: (1.0 - 0.99f64.powi(t)) as f32,
            max_norm: case.number("clip_global_norm") as f32,
        };
        let batch = [case.batch(step as usize)?];
        let outcome = optimizer_step(&mut model.transformer, &mut sparta, &batch, step, &settings, false, &device)?;
        losses.extend(device::read(outcome.loss).await?);
        norms.extend(device::read(outcome.squared_norm).await?.into_iter().map(f32::sqrt));
    }
    let rtol = case.number("rtol") as f32;
    Ok(Worst::from([
        ("losses".into(), excess(&losses, &case.numbers("losses"), rtol, 0.0)),
        ("norms".into(), excess(&norms, &case.numbers("grad_norms"), rtol, 0.0)),
    ]))
}
