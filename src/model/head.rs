//! What stands on the last hidden states: the head of a language model, or that of a classifier.

use burn::tensor::Tensor;

use super::{
    architecture::{Activation, Architecture},
    linear::{Linear, Norm},
    parameter::{Parameter, ParameterSource, Parts, Role, parts},
};
use crate::kernel;

/// What a model is for, as far as its tensors show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// Predicting the next token.
    LanguageModel,
    /// Telling this many classes apart.
    Classifier(usize),
}

/// The head of a model.
#[derive(Debug)]
pub enum Head {
    /// Logits over the vocabulary from the embedding table.
    Tied,
    /// Logits over the vocabulary from a matrix `[V, D]` of its own.
    Vocabulary(Box<Parameter>),
    /// Logits over classes.
    Classifier(Box<Classifier>),
}

/// The head of a classifier.
#[derive(Debug)]
pub struct Classifier {
    /// `[D, D]`, between the pooled hidden state and the classes.
    pub(crate) pooler: Option<Linear>,
    pub(crate) norm: Option<Norm>,
    /// `[classes, D]`.
    pub(crate) output: Linear,
    /// That of the pooler; `None` is tanh.
    activation: Option<Activation>,
}

parts!(Classifier: pooler, norm, output);

impl Classifier {
    /// Logits `[B, classes]` from one hidden state a row, `[B, D]`.
    pub(super) fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        let pooled = match (&self.pooler, self.activation) {
            (Some(pooler), Some(activation)) => kernel::activate(pooler.forward(pooled), activation),
            (Some(pooler), None) => pooler.forward(pooled).tanh(),
            (None, _) => pooled,
        };
        self.output.forward(match &self.norm {
            Some(norm) => norm.forward(pooled),
            None => pooled,
        })
    }
}

impl Head {
    pub(super) fn new(source: &mut dyn ParameterSource, a: &Architecture, kind: HeadKind) -> Self {
        let (names, d) = (a.names, a.hidden_size);
        match kind {
            HeadKind::LanguageModel if a.tied_head => Self::Tied,
            HeadKind::LanguageModel => Self::Vocabulary(Box::new(source.parameter(
                &format!("{}.weight", names.head),
                &[a.vocab_size, d],
                Role::Head,
            ))),
            HeadKind::Classifier(classes) => Self::Classifier(Box::new(Classifier {
                pooler: a.pooler.map(|p| Linear::new(source, names.pooler, [d, d], p.bias, Role::Linear)),
                norm: a.pooler.filter(|p| p.norm).map(|_| Norm::new(source, names.pooler_norm, a, d)),
                output: Linear::new(source, names.classifier, [classes, d], a.classifier_bias, Role::Head),
                activation: a.pooler.and_then(|p| p.activation),
            })),
        }
    }

    /// Names of the tensors of a classifier, which no checkpoint of a pretrained body has.
    pub fn classifier_names(&self) -> Vec<String> {
        match self {
            Self::Classifier(classifier) => {
                let mut all = Vec::new();
                classifier.output.gather(&mut all);
                all.into_iter().map(|parameter| parameter.name.clone()).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Parts for Head {
    fn gather<'a>(&'a self, all: &mut Vec<&'a Parameter>) {
        match self {
            Self::Tied => {}
            Self::Vocabulary(weight) => weight.gather(all),
            Self::Classifier(classifier) => classifier.gather(all),
        }
    }

    fn gather_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Parameter>) {
        match self {
            Self::Tied => {}
            Self::Vocabulary(weight) => weight.gather_mut(all),
            Self::Classifier(classifier) => classifier.gather_mut(all),
        }
    }
}
