//! Causal self-attention with grouped key/value heads.

use burn::tensor::{Int, Tensor};

use super::{architecture::Architecture, parameter::Parameter, rope::RopeTables, transformer::Linear};
use crate::kernel::{self, AttentionMask};

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
    /// Scales of the norms of queries and keys, `[head_dim]` each.
    pub norms: Option<[Parameter; 2]>,
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
    /// Positions before them (a key/value cache).
    pub start: usize,
    /// `[B * T]` with 0 for padding, or `[1]` where padded keys need not be hidden.
    pub padding: Tensor<1, Int>,
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

        let (mut query, mut keys) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        if let Some([query_norm, key_norm]) = &self.norms {
            let by_head = |x: Tensor<2>, norm: &Parameter, heads: usize| {
                let x = x.reshape([rows * width * heads, head_dim]);
                let normed = kernel::rms_norm(x, norm.small(), architecture.norm_eps as f32);
                normed.reshape([rows * width, heads * head_dim])
            };
            query = by_head(query, query_norm, heads);
            keys = by_head(keys, key_norm, kv_heads);
        }
        let query = split(rotate(query), heads);
        let mut keys = split(rotate(keys), kv_heads);
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
        let scores = query.matmul(keys.swap_dims(2, 3));
        let shape = scores.dims();
        let mask = AttentionMask {
            scale: (head_dim as f32).sqrt().recip(),
            width,
            start: layout.start,
            window: architecture.sliding_window,
            rows_per_sequence: heads * width,
            causal: true,
        };
        let scores = scores.reshape([rows * heads * width, layout.start + width]);
        let probabilities = kernel::attention_softmax(scores, layout.padding.clone(), mask);
        let mixed = probabilities.reshape(shape).matmul(values);
        let mixed = mixed.reshape([rows, heads, width, head_dim]).swap_dims(1, 2);
        self.output.forward(mixed.reshape([rows * width, heads * head_dim]))
    }
}
