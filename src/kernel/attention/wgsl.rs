//! Attention by WGSL shaders.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::{AttentionPasses, AttentionRule, AttentionState, Extent};
use crate::kernel::launch;

/// Rows or keys of a block.
const TILE: usize = 32;
/// Numbers of a head in a chunk, four a vector.
const CHUNK: usize = 32;

/// A shader for workgroups that sum up so many chunks of a head.
macro_rules! shader {
    ($chunks:literal, $($file:literal),+) => {
        concat!(
            "const CHUNKS: u32 = ",
            $chunks,
            "u;\n",
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
pub(in crate::kernel) const SHADERS: &[(&str, &str)] = &[
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
    fn parameters(&self, padding: &CubeTensor, rule: AttentionRule) -> Vec<u8> {
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
        words
    }

    /// Workgroups for `rows` rows or keys of each key/value head.
    fn groups(&self, rows: usize, slices: usize) -> (u32, u32) {
        launch::groups_for(self.sequences * self.kv_heads * rows.div_ceil(TILE) * slices, 1)
    }
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
            extent.groups(extent.width * extent.group(), slices),
            &[&queries.handle, &keys.handle, &values.handle, &padding.handle, &result.handle, &logs.handle],
            &extent.parameters(&padding, rule),
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
        let parameters = extent.parameters(&padding, kept.rule);
        let count = [extent.sequences * extent.width * extent.heads, extent.sequences * extent.keys];
        let rows = launch::empty(&queries, Shape::new([2 * count[0] + count[1]]));
        launch::launch(
            &queries,
            ROWS,
            64,
            launch::groups_for(count[0].max(count[1]), 64),
            &[&kept.result.handle, &grad.handle, &kept.logs.handle, &padding.handle, &rows.handle],
            &parameters,
        );
        let query_grad = wanted[0].then(|| {
            let query_grad = launch::empty(&queries, queries.meta.shape().clone());
            let (text, slices) = variant(BACKWARD_QUERIES, extent.head_dim);
            launch::launch(
                &queries,
                text,
                64,
                extent.groups(extent.width * extent.group(), slices),
                &[&queries.handle, &keys.handle, &values.handle, &grad.handle, &rows.handle, &query_grad.handle],
                &parameters,
            );
            query_grad
        });
        let others = wanted[1].then(|| {
            let [key_grad, value_grad] = [(); 2].map(|()| launch::empty(&keys, keys.meta.shape().clone()));
            let (text, slices) = variant(BACKWARD_KEYS, extent.head_dim);
            launch::launch(
                &queries,
                text,
                64,
                extent.groups(extent.keys, slices),
                &[
                    &queries.handle,
                    &keys.handle,
                    &values.handle,
                    &grad.handle,
                    &rows.handle,
                    &key_grad.handle,
                    &value_grad.handle,
                ],
                &parameters,
            );
            [key_grad, value_grad]
        });
        (query_grad, others)
    }
}
