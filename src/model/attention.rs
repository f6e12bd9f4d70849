//! Causal self-attention with grouped key/value heads.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

use super::{architecture::Architecture, decoder::Linear, rope::RopeTables};
use crate::kernel;

/// Query, key, value and output projections of one block.
#[derive(Debug)]
pub struct Attention {
    /// `[H * head_dim, D]`.
    pub query: Linear,
    /// `[K * head_dim, D]`.
    pub key: Linear,
    /// `[K * head_dim, D]`.
    pub value: Linear,
    /// `[D, H * head_dim]`.
    pub output: Linear,
}

/// Keys and values of the positions so far, `[B, K, positions, head_dim]` each, for one block.
#[derive(Clone, Debug)]
pub struct KeyValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

/// What attention needs to know of the batch.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `B`.
    pub rows: usize,
    /// `T`, new positions in each row.
    pub width: usize,
    /// Rotation of the new positions.
    pub rope: RopeTables,
    /// Added to the scores, `[1 or B, 1, G * T, positions]` with `G = H / K`; hides what must not be seen.
    pub bias: Tensor<4>,
}

/// Score of a hidden position: small enough that its softmax is exactly 0, far from infinity so that nothing is NaN.
const HIDDEN: f32 = -1e30;

/// The bias that hides later positions, `[1, 1, groups * width, start + width]`, for new positions `start ..`.
pub fn causal_bias(groups: usize, start: usize, width: usize, device: &Device) -> Tensor<4> {
    let seen = start + width;
    let row = |t: usize| (0..seen).map(move |key| if key <= start + t { 0.0 } else { HIDDEN });
    let values: Vec<f32> = (0..groups).flat_map(|_| (0..width).flat_map(row)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, groups * width, seen]), device)
}

/// The causal bias that also hides padded keys, `[B, 1, groups * width, width]`; `mask` is `[B * width]`, 0 = padding.
pub fn padded_bias(groups: usize, rows: usize, width: usize, mask: &[u8], device: &Device) -> Tensor<4> {
    let mut values = Vec::with_capacity(rows * groups * width * width);
    for row in 0..rows {
        for query in (0..groups).flat_map(|_| 0..width) {
            let visible = |key: usize| key <= query && mask[row * width + key] != 0;
            values.extend((0..width).map(|key| if visible(key) { 0.0 } else { HIDDEN }));
        }
    }
    Tensor::from_data(TensorData::new(values, [rows, 1, groups * width, width]), device)
}

impl Attention {
    /// Attention over `x` `[B * T, D]`; with `past`, over the earlier positions as well, which it then extends.
    pub fn forward(
        &self,
        architecture: &Architecture,
        x: Tensor<2>,
        layout: &Layout,
        past: Option<&mut Option<KeyValues>>,
    ) -> Tensor<2> {
        let (rows, width, head_dim) = (layout.rows, layout.width, architecture.head_dim);
        let (heads, kv_heads) = (architecture.heads, architecture.kv_heads);
        let rotate = |x: Tensor<2>| kernel::rope(x, layout.rope.cos.clone(), layout.rope.sin.clone());
        let split = |x: Tensor<2>, heads: usize| x.reshape([rows, width, heads, head_dim]).swap_dims(1, 2);

        let query = split(rotate(self.query.forward(x.clone())), heads);
        let mut keys = split(rotate(self.key.forward(x.clone())), kv_heads);
        let mut values = split(self.value.forward(x), kv_heads);
        if let Some(past) = past {
            if let Some(past) = past.take() {
                keys = Tensor::cat(vec![past.keys, keys], 2);
                values = Tensor::cat(vec![past.values, values], 2);
            }
            *past = Some(KeyValues { keys: keys.clone(), values: values.clone() });
        }

        // The G query heads that share a key/value head lie one below the other: keys need not be repeated.
        let query = query.reshape([rows, kv_heads, heads / kv_heads * width, head_dim]);
        let scale = (head_dim as f64).sqrt().recip();
        let scores = query.mul_scalar(scale).matmul(keys.swap_dims(2, 3)) + layout.bias.clone();
        let mixed = softmax(scores, 3).matmul(values);
        let mixed = mixed.reshape([rows, heads, width, head_dim]).swap_dims(1, 2);
        self.output.forward(mixed.reshape([rows * width, heads * head_dim]))
    }
}
