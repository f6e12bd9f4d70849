//! Self-attention with grouped key/value heads.

use burn::tensor::{Int, Tensor};

use super::{
    architecture::{Architecture, BlockFacts},
    linear::Linear,
    parameter::{ParameterSource, Role, parts},
    qk_norm::HeadNorm,
    rope::RopeTables,
};
use crate::kernel::{self, AttentionRule};

/// Query, key, value and output projections of one block.
#[derive(Debug)]
pub struct Attention {
    /// One matrix `[H + 2 K heads, D]` for queries, keys and values, or none of these fields.
    pub(crate) fused: Option<Linear>,
    /// `[H * head_dim, D]`.
    pub(crate) query: Option<Linear>,
    /// `[K * head_dim, D]`.
    pub(crate) key: Option<Linear>,
    /// `[K * head_dim, D]`.
    pub(crate) value: Option<Linear>,
    /// `[D, H * head_dim]`.
    pub(crate) output: Linear,
    /// Norms of queries and keys.
    pub(crate) norms: Option<[HeadNorm; 2]>,
}

parts!(Attention: fused, query, key, value, output, norms);

/// Keys and values of the positions so far, `[B, positions, K, head_dim]` each, for one block.
#[derive(Clone, Debug)]
pub struct KeyValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

/// What a model needs to know of the batch besides its ids.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `B`.
    pub rows: usize,
    /// `T`, new positions in each row.
    pub width: usize,
    /// Rotations of the new positions, one for each of the architecture's rotary embeddings.
    pub ropes: Vec<RopeTables>,
    /// `[B * T]` with 0 for padding, or `[1]` where padded keys need not be hidden.
    pub padding: Tensor<1, Int>,
    /// Numbers of the positions `[T]`, for models that learn a row for each.
    pub positions: Option<Tensor<1, Int>>,
    /// Token types `[B * T]`, or `[1]` with a 0 where there is no second text; for models that know types.
    pub token_types: Option<Tensor<1, Int>>,
}

impl Attention {
    pub(super) fn new(
        source: &mut dyn ParameterSource,
        a: &Architecture,
        role: Role,
        path: impl Fn(&str) -> String,
    ) -> Self {
        let (d, q, kv) = (a.hidden_size, a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let names = a.names;
        let mut projection = |wanted: bool, name: &str, outputs: usize| {
            wanted.then(|| Linear::new(source, &path(name), [outputs, d], a.qkv_bias, role))
        };
        let fused = projection(a.fused_qkv, names.fused_qkv, q + 2 * kv);
        let [query, key, value] = [(names.query, q), (names.key, kv), (names.value, kv)]
            .map(|(name, outputs)| projection(!a.fused_qkv, name, outputs));
        Self {
            fused,
            query,
            key,
            value,
            output: Linear::new(source, &path(names.output), [d, q], a.output_bias, role),
            norms: a.qk_norm.map(|kind| {
                [(names.query_norm, a.heads), (names.key_norm, a.kv_heads)]
                    .map(|(name, heads)| HeadNorm::new(source, kind, &path(name), a, heads))
            }),
        }
    }

    /// Queries `[B * T, H * head_dim]`, keys and values `[B * T, K * head_dim]` of `x` `[B * T, D]`.
    fn project(&self, a: &Architecture, x: Tensor<2>) -> [Tensor<2>; 3] {
        if let (Some(query), Some(key), Some(value)) = (&self.query, &self.key, &self.value) {
            return [query.forward(x.clone()), key.forward(x.clone()), value.forward(x)];
        }
        let fused = self.fused.as_ref().expect("projections are separate or fused").forward(x);
        if a.qkv_by_head {
            let [tokens, width] = fused.dims();
            let by_head = fused.reshape([tokens, a.heads, 3, a.head_dim]);
            return [0, 1, 2].map(|part| by_head.clone().slice_dim(2, part..part + 1).reshape([tokens, width / 3]));
        }
        let (q, kv) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        [0..q, q..q + kv, q + kv..q + 2 * kv].map(|part| fused.clone().slice_dim(1, part))
    }

    /// Attention over `x` `[B * T, D]`, added to `residual` if that is given; with `past`, over the earlier positions as well,
    /// which it then extends.
    pub(super) fn forward(
        &self,
        a: &Architecture,
        facts: BlockFacts,
        x: Tensor<2>,
        residual: Option<Tensor<2>>,
        layout: &Layout,
        past: Option<&mut Option<KeyValues>>,
    ) -> Tensor<2> {
        let (rows, width, head_dim) = (layout.rows, layout.width, a.head_dim);
        let (heads, kv_heads) = (a.heads, a.kv_heads);
        let rotate = |x: Tensor<2>| match facts.rope.and_then(|rope| layout.ropes.get(rope)) {
            Some(rope) => kernel::rope(x, rope.cos.clone(), rope.sin.clone(), head_dim),
            None => x,
        };
        let split = |x: Tensor<2>, heads: usize| x.reshape([rows, width, heads, head_dim]);

        let [mut query, mut keys, values] = self.project(a, x);
        if let Some([query_norm, key_norm]) = &self.norms {
            query = query_norm.forward(query, head_dim);
            keys = key_norm.forward(keys, head_dim);
        }
        let query = split(rotate(query), heads);
        let mut keys = split(rotate(keys), kv_heads);
        let mut values = split(values, kv_heads);
        if let Some(past) = past {
            if let Some(past) = past.take() {
                keys = Tensor::cat(vec![past.keys, keys], 1);
                values = Tensor::cat(vec![past.values, values], 1);
            }
            *past = Some(KeyValues { keys: keys.clone(), values: values.clone() });
        }

        let rule = AttentionRule {
            scale: a.attention_scale as f32,
            softcap: a.attention_softcap.map(|cap| cap as f32),
            window: facts.window,
            causal: a.causal,
        };
        let mixed = kernel::attention(query, keys, values, layout.padding.clone(), rule);
        self.output.forward_onto(mixed.reshape([rows * width, heads * head_dim]), residual)
    }
}

/// `cap * tanh(x / cap)` (Gemma 2, section 2).
pub(super) fn softcap<const D: usize>(x: Tensor<D>, cap: f64) -> Tensor<D> {
    x.div_scalar(cap).tanh().mul_scalar(cap)
}
