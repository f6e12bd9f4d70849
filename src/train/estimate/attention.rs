//! Attention in sizes. [`Forward::scores_and_mix`] is what depends on how attention is computed.

use super::{
    forward::Forward,
    tape::{Extent, Grad, Input, Part, to},
};
use crate::model::attention::Attention;

/// Bytes at whose multiples a part of a tensor may begin on any device; elsewhere it is copied.
const ALIGNMENT: usize = 256;

impl Forward<'_> {
    /// `[B * T, D]` to `[B * T, D]`.
    pub(super) fn attention(&mut self, layer: &Attention, x: Extent) -> Extent {
        let [mut query, mut keys, values] = self.project(layer, x);
        if let Some([query_norm, key_norm]) = &layer.norms {
            query = self.norm(query_norm, query);
            keys = self.norm(key_norm, keys);
        }
        if self.transformer.rotary_embeddings() > 0 {
            query = self.rotate(query);
            keys = self.rotate(keys);
        }
        let mixed = self.scores_and_mix(query, keys, values);
        self.linear(&layer.output, mixed)
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
    /// `[B * T, H * head_dim]`: the probabilities `[B, H, T, T]` exist, and are kept for the backward pass.
    fn scores_and_mix(&mut self, query: Extent, keys: Extent, values: Extent) -> Extent {
        let a = &self.transformer.architecture;
        let (mixed, square) = (query.numbers, self.shape.tokens() * self.shape.width * a.heads as u64);
        // Positions lie outside of heads in memory. Bringing heads outside costs copies: of the queries only where several
        // of them share a key, otherwise at each product, where the GPU's matmul wants rows that lie together.
        let grouped = a.heads != a.kv_heads;
        let query = self.tape.copy(query, grouped, true);
        let keys = self.tape.copy(keys, false, true);
        let values = self.tape.copy(values, false, true);
        let gather = |numbers: u64| if self.cpu { 0 } else { numbers };
        let (few, many) = (gather(keys.numbers), if grouped { 0 } else { gather(mixed) });

        let mut scores = self.matmul([&query, &keys], square, few + many, [few, many]);
        drop((query, keys));
        if a.attention_softcap.is_some() {
            scores = self.tape.scale(scores);
            scores = self.softcap(scores);
        }
        let (probabilities, scores) = self.own_room(scores, false);
        let grad = self.own(square);
        let kept = probabilities.clone();
        let probabilities = self.tape.record(probabilities, &[to(&scores, grad)], &[&kept]);
        drop((scores, kept));
        let mixture = self.matmul([&probabilities, &values], mixed, few, [few + many, many]);
        drop((probabilities, values));
        self.tape.copy(mixture, true, grouped)
    }

    /// A product of two activations, and the numbers that it and the gradients of its operands need meanwhile.
    fn matmul(&mut self, [x, y]: [&Extent; 2], numbers: u64, scratch: u64, backward: [u64; 2]) -> Extent {
        let output = self.tape.new_tensor(numbers, Part::Activations);
        drop(self.tape.new_tensor(scratch, Part::Activations));
        let inputs = [
            Input { of: x, grad: Grad::New(x.numbers), scratch: backward[0] },
            Input { of: y, grad: Grad::New(y.numbers), scratch: backward[1] },
        ];
        // An operand is read for the gradient of the other.
        let kept: Vec<&Extent> =
            [(x, y), (y, x)].into_iter().filter(|(_, other)| other.is_tracked()).map(|(kept, _)| kept).collect();
        self.tape.record(output, &inputs, &kept)
    }
}
