//! `agoge bench matmul`: every shader that multiplies by a frozen matrix or forms the gradient of a trained one, at the
//! linear layers of some models.

use std::process::ExitCode;

use burn::tensor::Tensor;
use clap::Args;
use serde_json::json;

use super::measure::fastest;
use crate::{
    Result,
    device::{self, ComputeDevice, DeviceChoice},
    kernel::{
        self, Matrix, Packed, Packing,
        matrix::{
            self,
            choice::{Shape, VARIANTS, Variant},
        },
        narrow_product,
        weight_gradient::{self, FORMS, Form},
    },
    rng::Stream,
};

#[derive(Debug, Args)]
pub(super) struct Matmul {
    /// Device; gpu takes software adapters too
    #[arg(long, default_value = "gpu")]
    device: DeviceChoice,
    /// Tokens, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "512")]
    tokens: Vec<usize>,
    /// Storage types: f32, bf16, f16, q8, q4
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16,q8")]
    storage: Vec<Storage>,
    /// Only layers that have this in their name, e.g. Llama
    #[arg(long, value_name = "PART", default_value = "")]
    layers: String,
    /// Write the figures as JSON
    #[arg(long)]
    json: bool,
}

/// A storage type by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Storage {
    F32,
    Bf16,
    F16,
    Q8,
    Q4,
}

impl Storage {
    fn packing(self) -> Option<Packing> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(Packing::Bf16),
            Self::F16 => Some(Packing::F16),
            Self::Q8 => Some(Packing::Q8),
            Self::Q4 => Some(Packing::Q4),
        }
    }
}

/// Outputs and inputs of some models' linear layers.
const LAYERS: &[(&str, usize, usize)] = &[
    ("MiniLM attention", 384, 384),
    ("MiniLM up", 1536, 384),
    ("MiniLM down", 384, 1536),
    ("SmolLM2-135M attention", 576, 576),
    ("SmolLM2-135M up", 1536, 576),
    ("SmolLM2-135M down", 576, 1536),
    ("width 1024 attention", 1024, 1024),
    ("width 1024 up", 4096, 1024),
    ("width 1024 down", 1024, 4096),
    ("Llama-3.2-1B attention", 2048, 2048),
    ("Llama-3.2-1B up", 8192, 2048),
    ("Llama-3.2-1B down", 2048, 8192),
    ("head of 8192 tokens", 8192, 576),
    ("rank 16 into 576", 16, 576),
    ("rank 16 out to 1536", 1536, 16),
    ("rank 16 into 2048", 16, 2048),
    ("rank 16 out to 8192", 8192, 16),
    ("rank 64 out to 2048", 2048, 64),
];

impl Matmul {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let device = device::open(&self.device).await?;
        kernel::check_launches();
        if !self.json {
            println!("{} ({})", device.facts.name, device.facts.backend);
            println!("GFLOP/s of Burn's product in f32 and of each shader; * marks what is chosen\n");
            print!("{:<23} {:>6} {:>5} {:<6} {:>8}", "layer", "tokens", "type", "", "burn f32");
            VARIANTS.iter().skip(1).for_each(|variant| print!(" {:>8.8}", format!("{variant:?}").to_lowercase()));
            println!();
        }
        let mut rows = Vec::new();
        for &(name, outputs, inputs) in LAYERS.iter().filter(|(name, ..)| name.contains(&self.layers)) {
            for &tokens in &self.tokens {
                let layer = Layer { outputs, inputs, tokens };
                for along in [true, false] {
                    let burn = layer.measure(&device, None, along, Variant::Burn)?;
                    for storage in &self.storage {
                        let packing = storage.packing();
                        let shape = layer.shape(packing, along);
                        matrix::prepare(&device, &[(&layer.matrix(&device, packing), false)]);
                        let chosen = shape.choose(&device.handle);
                        let mut figures = Vec::new();
                        for variant in VARIANTS.into_iter().skip(1) {
                            let speed = match shape.allows(variant, &device.handle) {
                                true => Some(layer.measure(&device, packing, along, variant)?),
                                false => None,
                            };
                            figures.push((variant, speed));
                        }
                        if !self.json {
                            let direction = if along { "x W^T" } else { "dy W" };
                            let kind = format!("{storage:?}").to_lowercase();
                            print!("{name:<23} {tokens:>6} {kind:>5} {direction:<6} ");
                            let mark = |variant| if variant == chosen { '*' } else { ' ' };
                            print!("{burn:>7.1}{}", mark(Variant::Burn));
                            for (variant, speed) in &figures {
                                let speed = speed.map_or("-".into(), |speed| format!("{speed:.1}"));
                                print!(" {speed:>7}{}", mark(*variant));
                            }
                            println!();
                        }
                        let figures: Vec<_> = figures
                            .iter()
                            .map(|(variant, speed)| json!({ "variant": variant, "gflops": speed }))
                            .collect();
                        rows.push(json!({
                            "layer": name, "tokens": tokens, "outputs": outputs, "inputs": inputs, "along_rows": along,
                            "storage": format!("{storage:?}").to_lowercase(), "burn_gflops": burn, "variants": figures,
                            "chosen": chosen,
                        }));
                    }
                }
            }
        }
        let (gradients, narrow) = (self.gradients(&device)?, self.narrow(&device)?);
        if self.json {
            println!(
                "{}",
                json!({ "device": device.facts, "rows": rows, "gradients": gradients, "narrow_products": narrow })
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The gradients of weights in f32.
    fn gradients(&self, device: &ComputeDevice) -> Result<Vec<serde_json::Value>> {
        if !self.json {
            println!("\nGFLOP/s of the weight's gradient dy^T x in f32\n");
            print!("{:<23} {:>6} {:>8} {:>8}", "layer", "tokens", "burn", "chosen");
            FORMS.iter().for_each(|form| print!(" {:>8}", format!("{form:?}").to_lowercase()));
            println!();
        }
        let mut rows = Vec::new();
        for &(name, outputs, inputs) in LAYERS.iter().filter(|(name, ..)| name.contains(&self.layers)) {
            for &tokens in &self.tokens {
                let layer = Layer { outputs, inputs, tokens };
                let burn = layer.measure_gradient(device, &weight_gradient::composed)?;
                let by =
                    |form: Option<Form>| layer.measure_gradient(device, &|x, dy| kernel::weight_gradient(x, dy, form));
                let chosen = by(None)?;
                let forms = FORMS.iter().map(|form| by(Some(*form))).collect::<Result<Vec<f64>>>()?;
                if !self.json {
                    print!("{name:<23} {tokens:>6} {burn:>8.1} {chosen:>8.1}");
                    forms.iter().for_each(|speed| print!(" {speed:>8.1}"));
                    println!();
                }
                let named = FORMS.iter().map(|form| format!("{form:?}").to_lowercase());
                let forms: serde_json::Map<_, _> = named.zip(forms.into_iter().map(|speed| json!(speed))).collect();
                rows.push(json!({
                    "layer": name, "tokens": tokens, "outputs": outputs, "inputs": inputs, "burn_gflops": burn,
                    "chosen_gflops": chosen, "forms": forms,
                }));
            }
        }
        Ok(rows)
    }

    /// Products into a low rank.
    fn narrow(&self, device: &ComputeDevice) -> Result<Vec<serde_json::Value>> {
        let narrow = |&&(name, outputs, inputs): &&(&str, usize, usize)| {
            name.contains(&self.layers) && outputs.min(inputs) <= NARROW
        };
        let mut rows = Vec::new();
        for &(name, outputs, inputs) in LAYERS.iter().filter(narrow) {
            for &tokens in &self.tokens {
                let layer = Layer { outputs, inputs, tokens };
                // The rank is the outer side of the product: forward of the first factor, backward of the second.
                let along = outputs < inputs;
                let burn = layer.measure_narrow(device, along, &narrow_product::composed)?;
                let own = layer.measure_narrow(device, along, &kernel::narrow_product)?;
                if !self.json {
                    if rows.is_empty() {
                        println!("\nGFLOP/s of products into a low rank, scaled, in f32\n");
                        println!("{:<23} {:>6} {:>8} {:>8}", "layer", "tokens", "burn", "narrow");
                    }
                    println!("{name:<23} {tokens:>6} {burn:>8.1} {own:>8.1}");
                }
                rows.push(json!({
                    "layer": name, "tokens": tokens, "outputs": outputs, "inputs": inputs, "along_rows": along,
                    "burn_gflops": burn, "narrow_gflops": own,
                }));
            }
        }
        Ok(rows)
    }
}

/// The largest rank of a product into a low rank.
const NARROW: usize = 64;

/// Values from -0.5 to 0.5.
fn random(count: usize) -> Vec<f32> {
    let mut stream = Stream::new(1, "bench");
    (0..count).map(|_| stream.unit() as f32 - 0.5).collect()
}

struct Layer {
    outputs: usize,
    inputs: usize,
    tokens: usize,
}

impl Layer {
    fn shape(&self, packing: Option<Packing>, along: bool) -> Shape {
        let (inner, outer) = if along { (self.inputs, self.outputs) } else { (self.outputs, self.inputs) };
        Shape { packing, along, tokens: self.tokens, inner, outer }
    }

    /// A random matrix of the layer.
    fn matrix(&self, device: &ComputeDevice, packing: Option<Packing>) -> Matrix {
        let dims = [self.outputs, self.inputs];
        let values = random(dims[0] * dims[1]);
        match packing {
            None => Matrix::Dense(device.floats(values, dims)),
            Some(packing) => Matrix::Packed(Packed::from_values(&values, packing, dims, &device.handle)),
        }
    }

    /// GFLOP/s of one shader.
    fn measure(&self, device: &ComputeDevice, packing: Option<Packing>, along: bool, variant: Variant) -> Result<f64> {
        let matrix = self.matrix(device, packing);
        let shape = self.shape(packing, along);
        let x = device.floats(random(self.tokens * shape.inner), [self.tokens, shape.inner]);
        let secs = fastest(device, || {
            let y = matrix.product_by(x.clone(), along, Some(variant));
            y.slice([0..1, 0..1]).reshape([1])
        })?;
        Ok(self.gflops(secs))
    }

    /// GFLOP/s of one shader that forms the weight's gradient.
    fn measure_gradient(
        &self,
        device: &ComputeDevice,
        gradient: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Result<f64> {
        let [x, dy] =
            [self.inputs, self.outputs].map(|width| device.floats(random(self.tokens * width), [self.tokens, width]));
        let secs = fastest(device, || gradient(x.clone(), dy.clone()).slice([0..1, 0..1]).reshape([1]))?;
        Ok(self.gflops(secs))
    }

    /// GFLOP/s of one shader into a low rank.
    fn measure_narrow(
        &self,
        device: &ComputeDevice,
        along: bool,
        product: &dyn Fn(Tensor<2>, Tensor<2>, bool, f32) -> Tensor<2>,
    ) -> Result<f64> {
        let inner = self.outputs.max(self.inputs);
        let x = device.floats(random(self.tokens * inner), [self.tokens, inner]);
        let w = device.floats(random(self.outputs * self.inputs), [self.outputs, self.inputs]);
        let secs = fastest(device, || product(x.clone(), w.clone(), along, 2.0).slice([0..1, 0..1]).reshape([1]))?;
        Ok(self.gflops(secs))
    }

    fn gflops(&self, secs: f64) -> f64 {
        2e-9 * (self.tokens * self.outputs * self.inputs) as f64 / secs
    }
}
