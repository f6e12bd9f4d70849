//! What stands on the last hidden states: the head of a language model, or that of a classifier.

use burn::tensor::Tensor;

use super::{
    architecture::{Architecture, Pooling},
    linear::Linear,
    parameter::{Parameter, ParameterSource, Parts, Role, parts},
};

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
    /// `[D, D]`, before the classifier (BERT).
    pub(crate) pooler: Option<Linear>,
    /// `[classes, D]`.
    pub(crate) output: Linear,
}

parts!(Classifier: pooler, output);

impl Classifier {
    /// Logits `[B, classes]` from one hidden state a row, `[B, D]`.
    pub(super) fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        self.output.forward(match &self.pooler {
            Some(pooler) => pooler.forward(pooled).tanh(),
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
            HeadKind::Classifier(classes) => {
                let pooled = a.pooling == Pooling::FirstToken;
                let pooler = format!("{}{}", names.prefix, names.pooler);
                Self::Classifier(Box::new(Classifier {
                    pooler: pooled.then(|| Linear::new(source, &pooler, [d, d], true, Role::Linear)),
                    // Decoders' classifiers have no bias in transformers, BERT's have one.
                    output: Linear::new(source, names.classifier, [classes, d], pooled, Role::Head),
                }))
            }
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
