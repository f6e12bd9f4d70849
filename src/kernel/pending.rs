//! Composed stand-ins.
#![allow(missing_docs)]
use burn::tensor::{Int, Tensor, TensorData, activation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    GeluTanh,
    Gelu,
}
pub fn activate(x: Tensor<2>, a: Activation) -> Tensor<2> {
    match a {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let inner = (x.clone() + x.clone().powi_scalar(3).mul_scalar(0.044715))
                .mul_scalar((2.0 / std::f64::consts::PI).sqrt());
            x.mul_scalar(0.5) * inner.tanh().add_scalar(1.0)
        }
    }
}
pub fn gated(gate: Tensor<2>, up: Tensor<2>, a: Activation) -> Tensor<2> {
    activate(gate, a) * up
}
pub fn layer_norm(x: Tensor<2>, scale: Tensor<2>, bias: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let x = x.clone() - x.mean_dim(1);
    let var = (x.clone() * x.clone()).mean_dim(1);
    x * var.add_scalar(epsilon).sqrt().recip() * scale + bias
}
pub fn dropout(x: Tensor<2>, _rate: f32, _seed: u64) -> Tensor<2> {
    x
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionMask {
    pub scale: f32,
    pub width: usize,
    pub start: usize,
    pub rows_per_sequence: usize,
    pub window: Option<usize>,
    pub causal: bool,
}
pub fn attention_softmax(scores: Tensor<2>, padding: Tensor<1, Int>, m: AttentionMask) -> Tensor<2> {
    if m.causal {
        return super::causal_softmax(
            scores,
            padding,
            super::Causal {
                scale: m.scale,
                width: m.width,
                start: m.start,
                rows_per_sequence: m.rows_per_sequence,
                window: m.window,
            },
        );
    }
    let [rows, keys] = scores.dims();
    let padding: Vec<i32> = padding.into_data().iter::<i32>().collect();
    let bias: Vec<f32> = (0..rows)
        .flat_map(|r| {
            let p = &padding;
            (0..keys).map(move |k| if p.len() > 1 && p[r / m.rows_per_sequence * keys + k] == 0 { -1e30 } else { 0.0 })
        })
        .collect();
    let bias = Tensor::from_data(TensorData::new(bias, [rows, keys]), &scores.device());
    activation::softmax(scores.mul_scalar(m.scale) + bias, 1)
}
