//! The forward pass: embeddings, blocks, final norm, head.
//!
//! Activations are matrices `[B * T, D]`: rows of the batch one below the other.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{
    architecture::{Architecture, Positions},
    attention::{KeyValues, Layout, softcap},
    block::Block,
    embeddings::Embeddings,
    head::{Head, HeadKind},
    linear::Norm,
    parameter::{Parameter, ParameterSource, Parts, Role, parts},
    rope::{RopeTables, inverse_frequencies},
    weights::Keeping,
};
use crate::{
    device::ComputeDevice,
    kernel::{self, Packing, matrix},
};

/// Keys and values of all blocks.
#[derive(Debug, Default)]
pub struct Cache {
    blocks: Vec<Option<KeyValues>>,
    /// Positions so far.
    positions: usize,
}

/// A transformer: a decoder, or an encoder with a classification head.
#[derive(Debug)]
pub struct Transformer {
    /// Its description.
    pub architecture: Architecture,
    /// Tables of tokens, positions and types.
    pub embeddings: Embeddings,
    /// Blocks in order.
    pub blocks: Vec<Block>,
    /// Before the head, `[D]`.
    pub(crate) norm: Option<Norm>,
    /// What stands on top.
    pub head: Head,
    /// Inverse frequencies of each rotary embedding.
    frequencies: Vec<Vec<f64>>,
    device: Device,
}

parts!(Transformer: embeddings, blocks, norm, head);

/// Gives parameters without values.
struct Outline;

impl ParameterSource for Outline {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        Parameter::outline(name, dims, role)
    }
}

impl Transformer {
    /// A model without values: the names, shapes and roles of its parameters, for plans that need no more. Nothing is
    /// allocated, and it cannot compute.
    pub fn outline(architecture: Architecture, head: HeadKind) -> Self {
        Self::new(architecture, head, &Device::flex(), &mut Outline)
    }

    /// Builds a model from the tensors of `source`, asking for them by their Hugging Face names.
    pub fn new(architecture: Architecture, head: HeadKind, device: &Device, source: &mut dyn ParameterSource) -> Self {
        let a = &architecture;
        let embeddings = Embeddings::new(source, a);
        let blocks = (0..a.layers()).map(|layer| Block::new(source, a, layer)).collect();
        // An encoder's final norm ends its last block.
        let norm = (a.final_norm && a.causal)
            .then(|| Norm::new(source, &format!("{}{}", a.names.prefix, a.names.norm), a, a.hidden_size));
        let head = Head::new(source, a, head);
        let frequencies = match &a.positions {
            Positions::Rotary(ropes) => ropes.iter().map(|rope| inverse_frequencies(rope, a.head_dim)).collect(),
            Positions::Learned => Vec::new(),
        };
        Self { embeddings, blocks, norm, head, frequencies, device: device.clone(), architecture }
    }

    /// What the model needs to know of a batch of `rows` padded rows of `width` tokens. Right padding needs no mask for
    /// the loss of a decoder, because later positions are hidden from earlier ones anyway; `mask` `[B * T]` (0 =
    /// padding) makes the outputs at padded positions those of Hugging Face too. `token_types` is `[B * T]` or empty.
    pub fn layout(&self, rows: usize, width: usize, mask: Option<&[u8]>, token_types: &[i32]) -> Layout {
        let padding = mask.map_or_else(|| vec![1], |mask| mask.iter().map(|&kept| i32::from(kept)).collect());
        let types = if token_types.is_empty() { vec![0] } else { token_types.to_vec() };
        self.layout_from(rows, 0, width, padding, types)
    }

    fn layout_from(&self, rows: usize, start: usize, width: usize, padding: Vec<i32>, types: Vec<i32>) -> Layout {
        let integers = |values: Vec<i32>| {
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), (&self.device, DType::I32))
        };
        let learned = self.architecture.positions == Positions::Learned;
        Layout {
            rows,
            width,
            ropes: self.frequencies.iter().map(|f| RopeTables::new(f, start, width, &self.device)).collect(),
            padding: integers(padding),
            positions: learned.then(|| integers((start..start + width).map(|at| at as i32).collect())),
            token_types: (self.architecture.token_types > 0).then(|| integers(types)),
        }
    }

    /// Embeddings `[B * T, D]` of `ids` `[B * T]`.
    pub fn embed(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        self.embeddings.forward(ids, layout)
    }

    /// One block.
    pub fn block(&self, index: usize, x: Tensor<2>, layout: &Layout) -> Tensor<2> {
        self.blocks[index].forward(&self.architecture, x, layout, None)
    }

    /// Logits of hidden states `[N, D]` after the last block: `[N, V]` of a language model, `[N, classes]` of a
    /// classifier, which reads one hidden state a row.
    pub fn head(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let logits = match &self.head {
            Head::Tied => self.embeddings.tokens.linear(x, None, None),
            Head::Vocabulary(weight) => weight.linear(x, None, None),
            Head::Classifier(classifier) => return classifier.forward(x),
        };
        match self.architecture.logit_softcap {
            Some(cap) => softcap(logits, cap),
            None => logits,
        }
    }

    /// Hidden states `[B * T, D]` of `ids` `[B * T]` after the last block, before the head.
    pub fn hidden(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        let mut x = self.embed(ids, layout);
        for index in 0..self.blocks.len() {
            x = self.block(index, x, layout);
        }
        x
    }

    /// Logits `[B * T, V]` of `ids` `[B * T]`.
    pub fn forward(&self, ids: Tensor<1, Int>, layout: &Layout) -> Tensor<2> {
        self.head(self.hidden(ids, layout))
    }

    /// Logits `[1, V]` after the last of the next `ids` `[T]` of one sequence, continuing from `cache`.
    pub fn forward_cached(&self, ids: Tensor<1, Int>, cache: &mut Cache) -> Tensor<2> {
        let [width] = ids.dims();
        let layout = self.layout_from(1, cache.positions, width, vec![1], vec![0]);
        cache.blocks.resize(self.blocks.len(), None);
        let mut x = self.embed(ids, &layout);
        for (block, past) in self.blocks.iter().zip(&mut cache.blocks) {
            x = block.forward(&self.architecture, x, &layout, Some(past));
        }
        cache.positions += width;
        self.head(x.slice_dim(0, width - 1..width))
    }

    /// Every parameter, from the embeddings to the head.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all = Vec::new();
        self.gather(&mut all);
        all
    }

    /// Every parameter, to be changed.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = Vec::new();
        self.gather_mut(&mut all);
        all
    }

    /// Where the parameter of this name stands in [`Self::parameters`], which never changes.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.parameters().iter().position(|parameter| parameter.name == name)
    }

    /// The parameter of this name.
    pub fn parameter_mut(&mut self, name: &str) -> Option<&mut Parameter> {
        self.parameters_mut().into_iter().find(|parameter| parameter.name == name)
    }

    /// Number of values in all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|parameter| parameter.len()).sum()
    }

    /// Chooses how to multiply by its matrices on a device, by measuring where that was not done before.
    pub(super) fn prepare_products(&self, device: &ComputeDevice) {
        kernel::check_launches();
        let parameters = self.parameters();
        let tied = matches!(self.head, Head::Tied);
        let multiplied = |p: &&&Parameter| p.is_linear() || p.role == Role::Head || (tied && p.role == Role::Embedding);
        let matrices = parameters.iter().filter(multiplied);
        let blocks = matrices.flat_map(|p| p.value().blocks().iter().map(|block| (block, p.transposed())));
        matrix::prepare(device, &blocks.collect::<Vec<_>>());
    }

    /// How a tensor of it is kept on a GPU; `None` is f32.
    pub(crate) fn packing(&self, parameter: &Parameter, keeping: Keeping) -> Option<Packing> {
        let classifier = self.head.classifier_names().contains(&parameter.name);
        keeping.packing(self.architecture.stored, &parameter.dims, parameter.role, classifier)
    }

    /// The device that holds the model.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Architecture {
    /// Number of parameters of a language model, or of an encoder without the layer that tells its classes.
    pub fn parameters(&self) -> usize {
        let head = if self.causal { HeadKind::LanguageModel } else { HeadKind::Classifier(0) };
        Transformer::outline(self.clone(), head).parameter_count()
    }
}
