//! Attention as one differentiable operation, over blocks of queries and keys (Dao 2023, "FlashAttention-2").
//!
//! No matrix of scores or probabilities exists, forward or backward: memory grows with the number of tokens. The backward
//! pass computes the scores of a block anew, from the logarithm of each query's sum of exponentials.

mod cpu;
mod wgsl;

use std::ops::Range;

use burn::backend::{
    Autodiff, Backend, Dispatch,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Int, Tensor, TensorData, activation::softmax};
use burn_cubecl::CubeBackend;
use burn_flex::Flex;

pub(super) use wgsl::SHADERS;

/// How scores come about and which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionRule {
    /// Factor on the products of queries and keys, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Bound of the scaled scores, `cap * tanh(score / cap)` (Gemma 2, section 2).
    pub softcap: Option<f32>,
    /// A query sees keys that are less than this many positions away, its own included.
    pub window: Option<usize>,
    /// Whether keys behind the query's own position are hidden.
    pub causal: bool,
}

impl AttentionRule {
    /// Which of `keys` keys the query at `position` among them may see, before padding is looked at.
    fn visible(&self, position: usize, keys: usize) -> Range<usize> {
        let next = position + 1;
        let start = next.saturating_sub(self.window.unwrap_or(next));
        let end = match (self.causal, self.window) {
            (true, _) => next,
            (false, Some(window)) => keys.min(position.saturating_add(window)),
            (false, None) => keys,
        };
        start..end
    }
}

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
struct Extent {
    sequences: usize,
    /// New positions of a sequence, the last ones among its keys.
    width: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Extent {
    /// From the shapes of queries and keys.
    fn new(queries: [usize; 4], keys: [usize; 4]) -> Self {
        let [sequences, width, heads, head_dim] = queries;
        let [_, keys, kv_heads, _] = keys;
        Self { sequences, width, keys, heads, kv_heads, head_dim }
    }

    /// Query heads that share a key/value head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Positions before the first query (a key/value cache).
    fn start(&self) -> usize {
        self.keys - self.width
    }
}

/// Backend dispatch of [`attention`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// See [`attention`].
    fn attention_op(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        padding: IntTensor<Self>,
        rule: AttentionRule,
    ) -> FloatTensor<Self>;
}

/// Both passes of [`AttentionOps`], on backends that compute.
pub trait AttentionPasses: Backend {
    /// The result `[B, T, H, head_dim]`, and for each query the logarithm of its sum of exponentials `[B, T, H]`.
    fn attention_forward(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        padding: IntTensor<Self>,
        rule: AttentionRule,
    ) -> [FloatTensor<Self>; 2];

    /// Gradients of the queries, where `wanted`, and of keys and values, where wanted, from the gradient
    /// `[B, T, H, head_dim]` of the result.
    fn attention_backward(
        kept: AttentionState<Self>,
        grad: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (Option<FloatTensor<Self>>, Option<[FloatTensor<Self>; 2]>);
}

/// Mixes of values `[B, T, H, head_dim]` for queries `[B, T, H, head_dim]`: each query takes the values of the keys that
/// `rule` lets it see, weighted by the softmax of their scores.
///
/// Keys and values are `[B, S, K, head_dim]`; `H / K` query heads in a row share a key/value head. The queries are the last
/// `T` of the `S` positions. `padding` is `[B * S]` with 0 for keys that are padding, or of any other length where there is
/// none. A query that may see no key gets zeros and gives no gradient.
pub fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    padding: Tensor<1, Int>,
    rule: AttentionRule,
) -> Tensor<4> {
    let [_, width, heads, head_dim] = queries.dims();
    let [_, length, kv_heads, _] = keys.dims();
    assert!(heads % kv_heads == 0 && width <= length, "heads come in groups, and queries are among the keys");
    // Shaders read four numbers at a time; zeros change neither products nor mixes.
    let missing = head_dim.next_multiple_of(4) - head_dim;
    let [queries, keys, values] = [queries, keys, values].map(|x| {
        let [sequences, positions, heads, _] = x.dims();
        let zeros = || Tensor::zeros([sequences, positions, heads, missing], &x.device());
        if missing == 0 { x } else { Tensor::cat(vec![x.clone(), zeros()], 3) }
    });
    let mixed = Tensor::from_dispatch(Dispatch::attention_op(
        queries.into_dispatch(),
        keys.into_dispatch(),
        values.into_dispatch(),
        padding.into_dispatch(),
        rule,
    ));
    if missing == 0 { mixed } else { mixed.slice_dim(3, 0..head_dim) }
}

/// The composed twin of [`attention`], with all scores at once; `visible` is from [`visible`].
pub fn composed(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    visible: Tensor<4>,
    rule: AttentionRule,
) -> Tensor<4> {
    let [sequences, width, heads, head_dim] = queries.dims();
    let [_, length, kv_heads, _] = keys.dims();
    // The query heads that share a key/value head lie one below the other: keys need not be repeated.
    let queries = queries.swap_dims(1, 2).reshape([sequences, kv_heads, heads / kv_heads * width, head_dim]);
    let scores = queries.matmul(keys.swap_dims(1, 2).swap_dims(2, 3)).mul_scalar(rule.scale);
    let scores = match rule.softcap {
        Some(cap) => scores.div_scalar(cap).tanh().mul_scalar(cap),
        None => scores,
    };
    let bias = (visible.clone() - 1.0) * 1e30;
    let weights = softmax(scores.reshape([sequences, heads, width, length]) + bias, 3) * visible;
    let weights = weights.reshape([sequences, kv_heads, heads / kv_heads * width, length]);
    let mixed = weights.matmul(values.swap_dims(1, 2));
    mixed.reshape([sequences, heads, width, head_dim]).swap_dims(1, 2)
}

/// Which keys queries of the shape `[B, T, _, _]` may see among keys of the shape `[B, S, _, _]`: `[B, 1, T, S]` with 1 or
/// 0, on the device of the queries.
pub fn visible(queries: &Tensor<4>, keys: &Tensor<4>, padding: Option<&[i32]>, rule: AttentionRule) -> Tensor<4> {
    let extent = Extent::new(queries.dims(), keys.dims());
    let (width, length) = (extent.width, extent.keys);
    let seen = (0..extent.sequences * width).flat_map(|row| {
        let range = rule.visible(extent.start() + row % width, length);
        (0..length).map(move |key| {
            let padded = padding.is_some_and(|padding| padding[row / width * length + key] == 0);
            f32::from(range.contains(&key) && !padded)
        })
    });
    Tensor::from_data(
        TensorData::new(seen.collect::<Vec<f32>>(), [extent.sequences, 1, width, length]),
        &queries.device(),
    )
}

macro_rules! without_gradients {
    ($backend:ty) => {
        impl AttentionOps for $backend {
            fn attention_op(
                queries: FloatTensor<Self>,
                keys: FloatTensor<Self>,
                values: FloatTensor<Self>,
                padding: IntTensor<Self>,
                rule: AttentionRule,
            ) -> FloatTensor<Self> {
                let [result, _] = Self::attention_forward(queries, keys, values, padding, rule);
                result
            }
        }
    };
}
without_gradients!(CubeBackend);
without_gradients!(Flex);

impl<B: AttentionOps + AttentionPasses, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn attention_op(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        padding: IntTensor<Self>,
        rule: AttentionRule,
    ) -> FloatTensor<Self> {
        let nodes = [queries.node(), keys.node(), values.node()];
        let (queries, keys, values) = (queries.into_primitive(), keys.into_primitive(), values.into_primitive());
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let [result, logs] =
                    B::attention_forward(queries.clone(), keys.clone(), values.clone(), padding.clone(), rule);
                let state = AttentionState { queries, keys, values, padding, result: result.clone(), logs, rule };
                prep.finish(state, result)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::attention_op(queries, keys, values, padding, rule)),
        }
    }
}

#[derive(Debug)]
struct Attention;

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
pub struct AttentionState<B: Backend> {
    queries: FloatTensor<B>,
    keys: FloatTensor<B>,
    values: FloatTensor<B>,
    padding: IntTensor<B>,
    result: FloatTensor<B>,
    logs: FloatTensor<B>,
    rule: AttentionRule,
}

impl<B: AttentionPasses> Backward<B, 3> for Attention {
    type State = AttentionState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let [queries, keys, values] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        let wanted = [queries.is_some(), keys.is_some() || values.is_some()];
        let (query_grad, others) = B::attention_backward(ops.state, grad, wanted);
        if let (Some(node), Some(grad)) = (queries, query_grad) {
            grads.register::<B>(node.id, grad);
        }
        if let Some([key_grad, value_grad]) = others {
            for (node, grad) in [(keys, key_grad), (values, value_grad)] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, grad);
                }
            }
        }
    }
}
