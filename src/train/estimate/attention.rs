//! Attention in sizes. [`Forward::scores_and_mix`] is what depends on how attention is computed.

use super::{
    forward::Forward,
    tape::{Extent, Grad, Input, Part, to},
};
use crate::model::{attention::Attention, qk_norm::HeadNorm};

/// Bytes at whose multiples a part of a tensor may begin on any device; elsewhere it is copied.
const ALIGNMENT: usize = 256;

impl Forward<'_> {
    /// `[B * T, D]` to `[B * T, D]`, added to `onto` if that is given.
    pub(super) fn attention(&mut self, layer: &Attention, x: Extent, onto: Option<Extent>) -> Extent {
        let [mut query, mut keys, values] = self.project(layer, x);
        if let Some(
            [HeadNorm::Head(of_query) | HeadNorm::Width(of_query), HeadNorm::Head(of_keys) | HeadNorm::Width(of_keys)],
        ) = &layer.norms
        {
            query = self.norm(of_query, query);
            keys = self.norm(of_keys, keys);
        }
        if self.transformer.rotary_embeddings() > 0 {
            query = self.rotate(query);
            keys = self.rotate(keys);
        }
        let mixed = self.scores_and_mix(query, keys, values);
        self.linear_onto(&layer.output, mixed, onto)
    }

    fn project(&mut self, layer: &Attention, x: Extent) -> [Extent; 3] {
        if let (Some(query), Some(key), Some(value)) = (&layer.query, &layer.key, &layer.value) {
            return [self.linear(query, x.clone()), self.linear(key, x.clone()), self.linear(value, x)];
        }
        let a = &self.transformer.architecture;
        let (q, kv) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
        let fused = self.linear(layer.fused.as_ref().expect("projections are separate or fused"), x);
        let tokens = self.shape.tokens();
        let view = self.cpu || (4 * q).is_multiple_of(ALIGNMENT) && (4 * kv).is_multiple_of(ALIGNMENT);
        [q, kv, kv].map(|width| self.tape.part_of(&fused, tokens * width as u64, view))
    }

    fn rotate(&mut self, x: Extent) -> Extent {
        let (y, x) = self.own_room(x, false);
        let grad = self.own(x.numbers);
        self.tape.record(y, &[to(&x, grad)], &[])
    }

    /// From queries `[B * T, H * head_dim]`, keys and values `[B * T, K * head_dim]` to their mixture
    /// `[B * T, H * head_dim]`. All of them are kept for the backward pass, and one number a query and head; the backward
    /// pass makes another such number besides the three gradients.
    fn scores_and_mix(&mut self, query: Extent, keys: Extent, values: Extent) -> Extent {
        let rows = self.shape.tokens() * self.transformer.architecture.heads as u64;
        let mixed = self.tape.new_tensor(query.numbers, Part::Activations);
        let sums = self.tape.new_tensor(rows, Part::Activations);
        let inputs = [
            Input { of: &query, grad: Grad::New(query.numbers), scratch: rows },
            to(&keys, Grad::New(keys.numbers)),
            to(&values, Grad::New(values.numbers)),
        ];
        let kept = mixed.clone();
        self.tape.record(mixed, &inputs, &[&query, &keys, &values, &kept, &sums])
    }
}
