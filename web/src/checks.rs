//! Whether this browser computes what it should: reference values of PyTorch and the kernels' composed twins, on its own
//! device. For tests, and for whoever wants to know about a new browser or driver.
//!
//! Each check gives the largest error in units of its tolerance (1 is just right enough), by name.

#[path = "../../tests/suite/golden/case.rs"]
mod case;

use std::{collections::BTreeMap, path::Path};

use agoge::{
    Error, Result,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{
        self, Matrix, Packed, Packing,
        masked_gather::{self, Strategy},
        matrix::{self, Variant},
    },
    method::mask,
    rng::Stream,
    train::{objective::Prepared, step::optimizer_step},
};
use case::{Case, track_all, train_entries};
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

/// Every way to multiply by a frozen matrix against the composed product.
#[wasm_bindgen(js_name = checkProducts)]
pub async fn check_products() -> Result<String, JsValue> {
    told(products().await)
}

/// The text of every shader that a page may need, by name, as JSON.
#[wasm_bindgen(js_name = shaderTexts)]
pub fn shader_texts() -> Result<String, JsValue> {
    // Browsers have no cooperative matrices.
    let all = kernel::shaders().filter(|shader| !shader.cooperative).map(|shader| (shader.name, shader.source));
    serde_json::to_string(&all.collect::<BTreeMap<_, _>>()).map_err(sentence)
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
            for strategy in [Strategy::Direct, Strategy::DotProducts, Strategy::Transposed, Strategy::Tiled] {
                let actual = kernel::masked_gather(x.clone(), dy.clone(), indices.clone(), strategy);
                let error = excess(&device::read(actual).await?, &expected, 1e-4, 1e-4);
                worst.insert(format!("{tokens}x{inputs}x{outputs} {density} {strategy:?}"), error);
            }
        }
    }
    Ok(worst)
}

async fn products() -> Result<Worst> {
    let device = open().await?;
    let mut stream = Stream::new(2, "products");
    let mut worst = Worst::new();
    let (tokens, rows, cols) = (70, 132, 160);
    let mut normals = |count| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
    let numbers = normals(rows * cols);
    let packed = [Packing::Bf16, Packing::F16, Packing::Q8, Packing::Q4]
        .map(|packing| Matrix::Packed(Packed::from_values(&numbers, packing, [rows, cols], &device.handle)));
    let matrices = packed.into_iter().chain([Matrix::Dense(device.floats(numbers.clone(), [rows, cols]))]);
    for matrix in matrices {
        let dense = device::read(matrix.dense()).await?;
        for along in [true, false] {
            let (inner, outer) = if along { (cols, rows) } else { (rows, cols) };
            let x = device.floats(normals(tokens * inner), [tokens, inner]);
            let rows = device.floats(normals(tokens * outer), [tokens, outer]);
            let twin = Matrix::Dense(device.floats(dense.clone(), matrix.dims()));
            let expected = device::read(matrix::composed(x.clone(), &twin, along) + rows.clone()).await?;
            for variant in [Variant::Block, Variant::Tiled, Variant::Wide, Variant::Rows] {
                let actual = matrix.linear_by(x.clone(), Some(rows.clone()), along, Some(variant));
                let error = excess(&device::read(actual).await?, &expected, 1e-5, 2e-5 * (inner as f32).sqrt());
                worst.insert(format!("{:?} along {along} {variant:?}", matrix.packing()), error);
            }
        }
    }
    Ok(worst)
}

async fn forward(folder: &Path) -> Result<Worst> {
    let (device, case) = (open().await?, Case::open(folder)?);
    let (rtol, atol) = (case.number("rtol")? as f32, case.number("atol")? as f32);
    let mut model = case.load(&device)?;
    let batch = case.batch(0)?;
    let layout = model.transformer.layout(batch.row_count, batch.width, Some(&batch.attention_mask), &[]);
    let logits = device::read(model.transformer.forward(device.integers(batch.ids.clone()), &layout)).await?;
    let mut worst = Worst::from([("logits".into(), excess(&logits, &case.floats("logits")?, rtol, atol))]);

    let prepared = Prepared::new(&batch, &model.transformer, &device);
    let leaves = track_all(&mut model.transformer);
    let hidden = model.transformer.hidden(prepared.ids.clone(), &prepared.layout);
    let loss = prepared.loss_sum(&model.transformer, hidden).div_scalar(prepared.target_tokens as f64);
    let gradients = loss.backward();
    for (name, leaf) in leaves {
        let gradient = leaf.grad(&gradients).ok_or_else(|| Error::Run(format!("{name} has no gradient")))?;
        let error = excess(&device::read(gradient).await?, &case.floats(&format!("grad.{name}"))?, rtol, atol);
        worst.insert(format!("grad.{name}"), error);
    }
    Ok(worst)
}

async fn trajectory(folder: &Path) -> Result<Worst> {
    let (device, case) = (open().await?, Case::open(folder)?);
    let mut model = case.load(&device)?;
    let trained = case.trained(&model.transformer)?;
    let masks = trained.into_iter().map(|(name, indices, _)| (name, indices)).collect();
    let mut training = train_entries(masks, &mut model.transformer, &device).await?;
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (step, settings) in (0..).zip(case.steps()?) {
        let batch = [case.batch(step as usize)?];
        let outcome = optimizer_step(&mut model.transformer, &mut training, &batch, step, &settings, false, &device)?;
        losses.extend(device::read(outcome.loss).await?);
        norms.extend(device::read(outcome.squared_norm).await?.into_iter().map(f32::sqrt));
    }
    let rtol = case.number("rtol")? as f32;
    Ok(Worst::from([
        ("losses".into(), excess(&losses, &case.numbers("losses")?, rtol, 0.0)),
        ("norms".into(), excess(&norms, &case.numbers("grad_norms")?, rtol, 0.0)),
    ]))
}
