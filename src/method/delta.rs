//! What an adapter does to a model, whatever method or program made it: one change for each tensor.

/// A change of one tensor, in the layout of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// `weight[i] += value` for sorted, distinct flat indices.
    Sparse {
        /// Flat indices `[N]`.
        indices: Vec<u32>,
        /// What is added there `[N]`.
        values: Vec<f32>,
    },
    /// `weight += scale * B A` for a weight `[outputs, inputs]` (its transpose for one that is stored `[inputs, outputs]`).
    LowRank {
        /// `R`.
        rank: usize,
        /// `[R, inputs]`.
        a: Vec<f32>,
        /// `[outputs, R]`.
        b: Vec<f32>,
        /// Factor on the product: `alpha / R`, or `alpha / sqrt(R)` for rsLoRA.
        scale: f32,
    },
    /// The tensor is replaced by these values.
    Replace(Vec<f32>),
}

/// The change of a named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDelta {
    /// Name of the parameter in the checkpoint.
    pub name: String,
    /// Shape of the parameter in the checkpoint.
    pub shape: Vec<usize>,
    /// What happens to it.
    pub delta: Delta,
}
