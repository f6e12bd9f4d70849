//! Attention by WGSL shaders.

use burn::backend::{
    ops::FloatTensorOps,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Device, Shape};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::{AttentionPasses, AttentionRule, AttentionState, Extent};
use crate::{device::is_software, kernel::launch};

/// Rows or keys of a block.
const TILE: usize = 32;
/// Workgroups that keep a software adapter busy, and a GPU.
const ENOUGH_GROUPS: [usize; 2] = [8, 2048];
/// Workgroups that share the blocks of a backward pass at most.
const MOST_SHARES: usize = 8;
/// Numbers of a head in a chunk, four a vector.
const CHUNK: usize = 32;

/// A shader for workgroups that sum up so many chunks of a head.
macro_rules! shader {
    ($chunks:literal, $($file:literal),+) => {
        concat!(
            "const CHUNKS: u32 = ",
            $chunks,
            "u;\n",
            include_str!("../../../shaders/shared/nan.wgsl"),
            include_str!("../../../shaders/shared/attention.wgsl"),
            $(include_str!(concat!("../../../shaders/", $file, ".wgsl"))),+
        )
    };
}

/// One shader for each number of chunks, fewest first.
type Variants = &'static [(usize, &'static str)];

const FORWARD: Variants = &[
    (1, shader!("1", "attention")),
    (2, shader!("2", "attention")),
    (3, shader!("3", "attention")),
    (4, shader!("4", "attention")),
    (8, shader!("8", "attention")),
];
const BACKWARD_QUERIES: Variants = &[
    (1, shader!("1", "shared/attention_backward", "attention_backward_queries")),
    (2, shader!("2", "shared/attention_backward", "attention_backward_queries")),
    (3, shader!("3", "shared/attention_backward", "attention_backward_queries")),
    (4, shader!("4", "shared/attention_backward", "attention_backward_queries")),
    (8, shader!("8", "shared/attention_backward", "attention_backward_queries")),
];
/// It sums up two matrices, so that more chunks would not fit into registers.
const BACKWARD_KEYS: Variants = &[
    (1, shader!("1", "shared/attention_backward", "attention_backward_keys")),
    (2, shader!("2", "shared/attention_backward", "attention_backward_keys")),
    (3, shader!("3", "shared/attention_backward", "attention_backward_keys")),
    (4, shader!("4", "shared/attention_backward", "attention_backward_keys")),
];
const ROWS: &str = include_str!("../../../shaders/attention_rows.wgsl");

/// Every shader with its name; those of one file have the number of chunks behind it.
pub(in crate::kernel) const SHADERS: crate::kernel::Named = &[
    ("attention", FORWARD[0].1),
    ("attention 2", FORWARD[1].1),
    ("attention 3", FORWARD[2].1),
    ("attention 4", FORWARD[3].1),
    ("attention 8", FORWARD[4].1),
    ("attention_rows", ROWS),
    ("attention_backward_queries", BACKWARD_QUERIES[0].1),
    ("attention_backward_queries 2", BACKWARD_QUERIES[1].1),
    ("attention_backward_queries 3", BACKWARD_QUERIES[2].1),
    ("attention_backward_queries 4", BACKWARD_QUERIES[3].1),
    ("attention_backward_queries 8", BACKWARD_QUERIES[4].1),
    ("attention_backward_keys", BACKWARD_KEYS[0].1),
    ("attention_backward_keys 2", BACKWARD_KEYS[1].1),
    ("attention_backward_keys 3", BACKWARD_KEYS[2].1),
    ("attention_backward_keys 4", BACKWARD_KEYS[3].1),
];

/// The shader for heads of `head_dim` numbers, and how many workgroups share one block of such a head.
fn variant(variants: Variants, head_dim: usize) -> (&'static str, usize) {
    let chunks = head_dim.div_ceil(CHUNK);
    let (most, text) = *variants.iter().find(|(most, _)| chunks <= *most).unwrap_or(&variants[variants.len() - 1]);
    (text, chunks.div_ceil(most))
}

impl Extent {
    fn of(queries: &CubeTensor, keys: &CubeTensor) -> Self {
        Self::new(queries.meta.shape().dims(), keys.meta.shape().dims())
    }

    /// The parameters of all shaders, as shared/attention.wgsl lists them.
    fn parameters(&self, padding: &CubeTensor, rule: AttentionRule, shares: usize) -> Vec<u8> {
        let padded = padding.meta.shape().num_elements() == self.sequences * self.keys;
        // A window beyond all keys hides none.
        let window = rule.window.map_or(0, |window| window.min(self.keys));
        let mut words = launch::words(&[
            self.sequences,
            self.width,
            self.keys,
            self.heads,
            self.kv_heads,
            self.head_dim / 4,
            window,
            usize::from(rule.causal),
            usize::from(padded),
        ]);
        words.extend(rule.scale.to_le_bytes());
        words.extend(rule.softcap.unwrap_or(0.0).to_le_bytes());
        words.extend(launch::words(&[shares]));
        words
    }

    /// How many workgroups `rows` rows or keys of each key/value head have.
    fn groups(&self, rows: usize, slices: usize) -> usize {
        self.sequences * self.kv_heads * rows.div_ceil(TILE) * slices
    }

    /// How many workgroups share the blocks of `others`, so that `groups` of them become enough for the GPU.
    fn shares(&self, groups: usize, others: usize, like: &CubeTensor) -> usize {
        let most = (others / TILE / 2).clamp(1, MOST_SHARES);
        let enough = ENOUGH_GROUPS[usize::from(!is_software(&Device::from(like.device.clone())))];
        (enough / groups).clamp(1, most)
    }
}

/// Room for the gradient of a tensor, once for each share.
fn shared(of: &CubeTensor, shares: usize) -> CubeTensor {
    launch::empty(of, Shape::new([shares, of.meta.shape().num_elements()]))
}

/// The sum of all shares of the gradient of a tensor.
fn together(parts: CubeTensor, of: &CubeTensor) -> CubeTensor {
    let [shares, _] = parts.meta.shape().dims();
    let sum = if shares == 1 { parts } else { CubeBackend::float_sum_dim(parts, 0) };
    CubeBackend::float_reshape(sum, of.meta.shape().clone())
}

impl AttentionPasses for CubeBackend {
    fn attention_forward(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        padding: IntTensor<Self>,
        rule: AttentionRule,
    ) -> [FloatTensor<Self>; 2] {
        let [queries, keys, values, padding] = [queries, keys, values, padding].map(launch::contiguous);
        let extent = Extent::of(&queries, &keys);
        let result = launch::empty(&queries, queries.meta.shape().clone());
        let logs = launch::empty(&queries, Shape::new([extent.sequences, extent.width, extent.heads]));
        let (text, slices) = variant(FORWARD, extent.head_dim);
        launch::launch(
            &queries,
            text,
            64,
            launch::groups_for(extent.groups(extent.width * extent.group(), slices), 1),
            &[&queries.handle, &keys.handle, &values.handle, &padding.handle, &result.handle, &logs.handle],
            &extent.parameters(&padding, rule, 1),
        );
        [result, logs]
    }

    fn attention_backward(
        kept: AttentionState<Self>,
        grad: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (Option<FloatTensor<Self>>, Option<[FloatTensor<Self>; 2]>) {
        let [queries, keys, values, padding] =
            [kept.queries, kept.keys, kept.values, kept.padding].map(launch::contiguous);
        let grad = launch::contiguous(grad);
        let extent = Extent::of(&queries, &keys);
        let parameters = |shares| extent.parameters(&padding, kept.rule, shares);
        let (all_rows, all_keys) = (extent.width * extent.group(), extent.keys);
        let count = [extent.sequences * extent.width * extent.heads, extent.sequences * extent.keys];
        let rows = launch::empty(&queries, Shape::new([2 * count[0] + count[1]]));
        launch::launch(
            &queries,
            ROWS,
            64,
            launch::groups_for(count[0].max(count[1]), 64),
            &[&kept.result.handle, &grad.handle, &kept.logs.handle, &padding.handle, &rows.handle],
            &parameters(1),
        );
        let query_grad = wanted[0].then(|| {
            let (text, slices) = variant(BACKWARD_QUERIES, extent.head_dim);
            let groups = extent.groups(all_rows, slices);
            let shares = extent.shares(groups, all_keys, &queries);
            let query_grad = shared(&queries, shares);
            launch::launch(
                &queries,
                text,
                64,
                launch::groups_for(groups * shares, 1),
                &[&queries.handle, &keys.handle, &values.handle, &grad.handle, &rows.handle, &query_grad.handle],
                &parameters(shares),
            );
            together(query_grad, &queries)
        });
        let others = wanted[1].then(|| {
            let (text, slices) = variant(BACKWARD_KEYS, extent.head_dim);
            let groups = extent.groups(all_keys, slices);
            let shares = extent.shares(groups, all_rows, &queries);
            let [key_grad, value_grad] = [(); 2].map(|()| shared(&keys, shares));
            launch::launch(
                &queries,
                text,
                64,
                launch::groups_for(groups * shares, 1),
                &[
                    &queries.handle,
                    &keys.handle,
                    &values.handle,
                    &grad.handle,
                    &rows.handle,
                    &key_grad.handle,
                    &value_grad.handle,
                ],
                &parameters(shares),
            );
            [key_grad, value_grad].map(|grad| together(grad, &keys))
        });
        (query_grad, others)
    }
}
