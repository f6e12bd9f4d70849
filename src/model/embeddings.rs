//! From token ids to the first activations: token, position and type embeddings.

use burn::tensor::{Int, Tensor};

use super::{
    architecture::{Architecture, Positions},
    attention::Layout,
    linear::Norm,
    parameter::{Parameter, ParameterSource, Role, parts},
};

/// The tables that turn ids into activations.
#[derive(Debug)]
pub struct Embeddings {
    /// `[V, D]`; the head as well where it is tied.
    pub tokens: Parameter,
    /// `[positions, D]`.
    pub(crate) positions: Option<Parameter>,
    /// `[types, D]`.
    pub(crate) token_types: Option<Parameter>,
    pub(crate) norm: Option<Norm>,
    scale: f64,
}

parts!(Embeddings: tokens, positions, token_types, norm);

impl Embeddings {
    pub(super) fn new(source: &mut dyn ParameterSource, a: &Architecture) -> Self {
        let (names, d) = (a.names, a.hidden_size);
        let mut table = |name: &str, rows: usize| {
            source.parameter(&format!("{}{name}.weight", names.prefix), &[rows, d], Role::Embedding)
        };
        Self {
            tokens: table(names.embedding, a.vocab_size),
            positions: (a.positions == Positions::Learned).then(|| table(names.positions, a.max_positions)),
            token_types: (a.token_types > 0).then(|| table(names.token_types, a.token_types)),
            norm: a
                .embedding_norm
                .then(|| Norm::new(source, &format!("{}{}", names.prefix, names.embedding_norm), a, d)),
            scale: a.embedding_scale,
        }
    }

    /// `[B * T, D]` for `ids` `[B * T]`.
    pub(super) fn forward(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        let mut x = self.tokens.embed(ids);
        if self.scale != 1.0 {
            x = x.mul_scalar(self.scale);
        }
        if let (Some(table), Some(types)) = (&self.token_types, &layout.token_types) {
            x = x + table.embed(types.clone());
        }
        if let (Some(table), Some(positions)) = (&self.positions, &layout.positions) {
            let [tokens, width] = x.dims();
            let rows = x.reshape([layout.rows, layout.width, width]);
            x = (rows + table.embed(positions.clone()).unsqueeze::<3>()).reshape([tokens, width]);
        }
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}
