//! One tensor of a method: where it lives and what it starts as.

use burn::tensor::Tensor;

use super::mask::drawn::MaskSettings;
use crate::{device::ComputeDevice, model::Parameter};

/// One tensor of a method.
#[derive(Debug)]
pub struct MethodTensor {
    /// Its name in adapters and checkpoints; that of the parameter where it is one of the model's.
    pub name: String,
    /// Where it lives.
    pub place: Place,
    /// What it starts as.
    pub start: Start,
}

/// Where a tensor of a method lives.
#[derive(Debug)]
pub enum Place {
    /// Beside the model, as a matrix of these dimensions, for hooks to read. A frozen one has no gradient and is not stored.
    Own {
        /// `[rows, columns]`.
        dims: [usize; 2],
        /// Whether it is trained, or a constant.
        trained: bool,
    },
    /// A parameter of the model as a whole.
    Whole,
    /// Chosen entries of a parameter of the model.
    Entries(Mask),
}

/// The chosen entries of a parameter.
#[derive(Debug)]
pub enum Mask {
    /// Drawn from a seed, by which they are also stored.
    Drawn(MaskSettings, u64),
    /// Sorted, distinct flat indices.
    Given(Vec<u32>),
    /// As many, chosen by [`Method::prepare`](super::Method::prepare), or those of a checkpoint.
    Later(usize),
}

impl Mask {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Drawn(settings, _) => settings.trained(),
            Self::Given(indices) => indices.len(),
            Self::Later(count) => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a tensor starts as.
#[derive(Debug)]
pub enum Start {
    /// A parameter as it is, or entries without any change.
    Unchanged,
    /// All zero.
    Zeros,
    /// Uniform between `-bound` and `bound`, from a [stream](crate::rng::Stream) of the run's seed.
    Uniform {
        /// Purpose of the stream.
        stream: String,
        /// Largest absolute value.
        bound: f64,
    },
    /// These values in row-major order; changes of chosen entries, in the order of their indices.
    Values(Vec<f32>),
    /// Computed on the device from a weight of the pretrained model.
    OfWeight {
        /// Name of the parameter.
        parameter: String,
        /// Gives a matrix of the tensor's dimensions.
        compute: fn(&Parameter, &ComputeDevice) -> Tensor<2>,
    },
}

impl MethodTensor {
    /// A matrix beside the model that is trained.
    pub fn own(name: String, dims: [usize; 2], start: Start) -> Self {
        Self { name, place: Place::Own { dims, trained: true }, start }
    }

    /// A matrix beside the model that hooks read and nothing changes.
    pub fn frozen(name: String, dims: [usize; 2], start: Start) -> Self {
        Self { name, place: Place::Own { dims, trained: false }, start }
    }

    /// A parameter that is trained as a whole, as it is.
    pub fn whole(name: &str) -> Self {
        Self { name: name.into(), place: Place::Whole, start: Start::Unchanged }
    }

    /// Entries of a parameter, without any change yet.
    pub fn entries(name: &str, mask: Mask) -> Self {
        Self { name: name.into(), place: Place::Entries(mask), start: Start::Unchanged }
    }

    /// How many trainable parameters it has.
    pub(super) fn trained(&self, parameter: Option<&&Parameter>) -> usize {
        match &self.place {
            Place::Own { trained: false, .. } => 0,
            Place::Own { dims, .. } => dims.iter().product(),
            Place::Whole => parameter.map_or(0, |parameter| parameter.len()),
            Place::Entries(mask) => mask.len(),
        }
    }
}
