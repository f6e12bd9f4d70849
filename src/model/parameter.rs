//! One named tensor of a model, and the place where a training method hooks into it.

use std::fmt::Debug;

use burn::tensor::{Int, Tensor};

use crate::kernel::Matrix;

/// What a tensor does in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weight of a linear layer `[outputs, inputs]`.
    Linear,
    /// Weight of a linear layer `[inputs, outputs]` (GPT-2's Conv1D).
    TransposedLinear,
    /// Weight `[outputs, inputs]` of the layer that gives the logits.
    Head,
    /// Embedding table `[vocabulary, width]`; also the head where it is tied.
    Embedding,
    /// Scale of a normalisation `[width]`.
    Norm,
    /// Bias of a linear layer `[outputs]`.
    Bias,
}

impl Role {
    /// Whether a tensor that the device cannot bind at once is kept in blocks of its rows: those that grow with the
    /// vocabulary are.
    pub fn by_rows(self) -> bool {
        matches!(self, Self::Embedding | Self::Head)
    }
}

/// How a training method changes the use of one tensor. The model calls it in place of the plain operation and does
/// not know which method it is. `weight` is the tensor's current value, untracked, in f32 or packed.
pub trait Adaptation: Debug + Send {
    /// `y` `[T, outputs]` of a linear layer, with bias and residual added.
    fn linear(&self, layer: LinearCall<'_>) -> Tensor<2>;

    /// Rows `ids` `[T]` of an embedding table, as `[T, width]`.
    fn embed(&self, ids: Tensor<1, Int>, weight: &Matrix) -> Tensor<2>;

    /// The value `[1, width]` of a small tensor (a norm's scale, a bias) to compute with.
    fn small(&self, weight: &Matrix) -> Tensor<2>;
}

/// One use of a linear layer: `y = x W^T + bias + residual`.
#[derive(Debug)]
pub struct LinearCall<'a> {
    /// Input `[T, inputs]`.
    pub x: Tensor<2>,
    /// The current weight `[outputs, inputs]`, untracked, in f32 or packed.
    pub weight: &'a Matrix,
    /// Whether the weight is stored `[inputs, outputs]`.
    pub transposed: bool,
    /// `[1, outputs]`.
    pub bias: Option<Tensor<2>>,
    /// What the layer's output is added to `[T, outputs]`.
    pub residual: Option<Tensor<2>>,
}

impl LinearCall<'_> {
    /// `x W^T` `[T, outputs]`, without bias and residual, for any `x` `[T, inputs]`.
    pub fn product(&self, x: Tensor<2>) -> Tensor<2> {
        self.weight.product(x, !self.transposed)
    }

    /// The layer without any change.
    pub fn plain(self) -> Tensor<2> {
        let along = !self.transposed;
        self.with_added(|x, weight, added| weight.linear(x, added, along))
    }

    /// The layer by a product that adds one matrix while it writes, `[1, outputs]` or `[T, outputs]`: it is handed the bias or,
    /// without one, the residual. A residual beside a bias is added afterwards.
    pub fn with_added(self, product: impl FnOnce(Tensor<2>, &Matrix, Option<Tensor<2>>) -> Tensor<2>) -> Tensor<2> {
        let (added, residual) = match (self.bias, self.residual) {
            (None, residual) => (residual, None),
            both => both,
        };
        let y = product(self.x, self.weight, added);
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }
}

/// Where the tensors of a new model come from: a file, or a random generator.
pub trait ParameterSource {
    /// The parameter of this name, shape and role.
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter;
}

/// A part of a model, as the list of its parameters.
pub trait Parts {
    /// Appends every parameter.
    fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>);

    /// Appends every parameter, to be changed.
    fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>);
}

/// A struct's parameters are those of the fields that are listed, in that order.
macro_rules! parts {
    ($type:ty: $($field:ident),*) => {
        impl $crate::model::parameter::Parts for $type {
            fn gather<'a>(&'a self, all: &mut Vec<&'a $crate::model::Parameter>) {
                $($crate::model::parameter::Parts::gather(&self.$field, all);)*
            }

            fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut $crate::model::Parameter>) {
                $($crate::model::parameter::Parts::gather_mut(&mut self.$field, all);)*
            }
        }
    };
}
pub(super) use parts;

impl Parts for Parameter {
    fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>) {
        all.push(self);
    }

    fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>) {
        all.push(self);
    }
}

/// Parts that may be missing, or that there are several of.
macro_rules! parts_of_many {
    ($([$($generics:tt)*] $type:ty),*) => {
        $(impl<T: Parts, $($generics)*> Parts for $type {
            fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>) {
                self.iter().for_each(|part| part.gather(all));
            }

            fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>) {
                self.iter_mut().for_each(|part| part.gather_mut(all));
            }
        })*
    };
}
parts_of_many!([] Option<T>, [] Vec<T>, [const N: usize] [T; N]);

/// One named tensor. All are kept as matrices; vectors of length `n` are `[1, n]`.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the Hugging Face checkpoint.
    pub name: String,
    /// Shape in the checkpoint.
    pub dims: Vec<usize>,
    /// What it does.
    pub role: Role,
    /// At most one adaptation.
    pub adaptation: Option<Box<dyn Adaptation>>,
    /// `None` only while an in-place operation holds the value, and in an outline.
    value: Option<Matrix>,
}

impl Parameter {
    /// A parameter without adaptation; `value` is `[rows, cols]` with `rows = 1` for vectors.
    pub fn new(name: impl Into<String>, dims: Vec<usize>, role: Role, value: Matrix) -> Self {
        Self { name: name.into(), dims, role, adaptation: None, value: Some(value) }
    }

    /// A parameter of an outline: everything but its value.
    pub(super) fn outline(name: &str, dims: &[usize], role: Role) -> Self {
        Self { name: name.into(), dims: dims.to_vec(), role, adaptation: None, value: None }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is the weight of a linear layer inside the model (not of a head).
    pub fn is_linear(&self) -> bool {
        matches!(self.role, Role::Linear | Role::TransposedLinear)
    }

    /// Whether the weight is stored `[inputs, outputs]`.
    pub fn transposed(&self) -> bool {
        self.role == Role::TransposedLinear
    }

    /// Matrix shape `[rows, cols]` of the value.
    pub fn matrix_dims(&self) -> [usize; 2] {
        match self.dims[..] {
            [n] => [1, n],
            [rows, cols] => [rows, cols],
            _ => unreachable!("models have vectors and matrices"),
        }
    }

    /// The current value. Cheap; but in-place operations on the CPU copy a tensor that has a second handle.
    pub fn value(&self) -> &Matrix {
        self.value.as_ref().expect("the value is back after every update")
    }

    /// Keeps the value in f32 from now on, for methods that train all of it.
    pub fn make_dense(&mut self) {
        self.update(|value| Matrix::Dense(value.into_dense()));
    }

    /// Replaces the value by what `change` makes of it, without a second handle in between.
    pub fn update(&mut self, change: impl FnOnce(Matrix) -> Matrix) {
        let value = self.value.take().expect("the value is back after every update");
        self.value = Some(change(value));
    }

    /// `x W^T + bias + residual` `[T, outputs]` for `x` `[T, inputs]`, `bias` `[1, outputs]` and `residual` `[T, outputs]`.
    pub fn linear(&self, x: Tensor<2>, bias: Option<Tensor<2>>, residual: Option<Tensor<2>>) -> Tensor<2> {
        let layer = LinearCall { x, weight: self.value(), transposed: self.transposed(), bias, residual };
        match &self.adaptation {
            Some(adaptation) => adaptation.linear(layer),
            None => layer.plain(),
        }
    }

    /// Rows `ids` as `[T, width]`.
    pub fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match &self.adaptation {
            Some(adaptation) => adaptation.embed(ids, self.value()),
            None => self.value().rows(ids),
        }
    }

    /// The value of a small tensor `[1, width]`, to be broadcast over tokens.
    pub fn small(&self) -> Tensor<2> {
        match &self.adaptation {
            Some(adaptation) => adaptation.small(self.value()),
            None => self.value().dense(),
        }
    }
}
