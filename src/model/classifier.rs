//! A classification head for a pretrained body: stored with it, or started anew.

use burn::tensor::{Device, Tensor, TensorData};

use serde_json::Value;

use super::{
    architecture::Architecture,
    head::HeadKind,
    parameter::{Parameter, ParameterSource, Role},
    weights::Weights,
};
use crate::{Error, Result, kernel::Matrix, rng::Stream};

/// What a model is loaded for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Purpose {
    /// Predicting the next token.
    #[default]
    LanguageModel,
    /// Telling classes apart.
    Classify(Classify),
}

/// The classes of a classifier and how its head starts where the checkpoint has none of this size.
#[derive(Clone, Debug, PartialEq)]
pub struct Classify {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How the head starts.
    pub start: HeadStart,
    /// Text around the columns of a row, where there is one; it belongs to the classifier as much as its classes.
    pub template: Option<String>,
}

/// How a new classification head starts.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadStart {
    /// Normal with deviation `3 * initializer_range / sqrt(D)`: logits near zero, so that all classes are about equally
    /// likely at first (the SpaRTA authors' `load_classification_model`). Biases are zero.
    Random {
        /// Seed of the draw.
        seed: u64,
    },
    /// The rows of these tokens, one a class, in the head of the language model (ibidem).
    Vocabulary(Vec<u32>),
}

/// Factor on the deviation of a random head, from the SpaRTA authors' `load_classification_model`.
const RANDOM_SCALE: f64 = 3.0;

impl Purpose {
    /// What the checkpoint with this `config.json` was saved for: a classifier names its classes in `id2label`.
    pub fn of_checkpoint(config: &Value) -> Self {
        let classifier = config["architectures"].as_array().is_some_and(|all| {
            all.iter().any(|name| name.as_str().is_some_and(|n| n.ends_with("SequenceClassification")))
        });
        let labels = config["id2label"].as_object();
        match labels.filter(|_| classifier) {
            Some(labels) => {
                let name = |number: usize| labels.get(&number.to_string()).and_then(Value::as_str);
                let classes = (0..labels.len()).map(|at| name(at).map_or_else(|| format!("LABEL_{at}"), str::to_owned));
                Self::Classify(Classify {
                    classes: classes.collect(),
                    start: HeadStart::Random { seed: 0 },
                    template: config["agoge_template"].as_str().map(str::to_owned),
                })
            }
            None => Self::LanguageModel,
        }
    }

    /// The head that the model needs.
    pub fn head(&self) -> HeadKind {
        match self {
            Self::LanguageModel => HeadKind::LanguageModel,
            Self::Classify(classify) => HeadKind::Classifier(classify.classes.len()),
        }
    }

    /// Checks that a model of this architecture can serve the purpose.
    ///
    /// # Errors
    /// An encoder that is asked for text, or a head that cannot start as asked.
    pub(super) fn check(&self, architecture: &Architecture, weights: Option<&Weights>) -> Result<()> {
        let model_type = &architecture.model_type;
        match self {
            Self::LanguageModel if !architecture.causal => Err(Error::input(format!(
                "{model_type} is an encoder, which cannot write text; use it with --task classify"
            ))),
            Self::LanguageModel => match weights.and_then(|weights| weights.dims(&stored_head(architecture))) {
                Some(_) => Err(Error::input("this checkpoint is a classifier; use it with --task classify")),
                None => Ok(()),
            },
            Self::Classify(Classify { classes, .. }) if classes.len() < 2 => {
                Err(Error::input("a classifier needs at least two classes"))
            }
            Self::Classify(Classify { start: HeadStart::Vocabulary(_), .. }) if !architecture.causal => {
                Err(Error::input(format!(
                    "--head-start from-vocabulary: {model_type} has no language-model head to take rows from; use random"
                )))
            }
            Self::Classify(Classify { classes, start: HeadStart::Vocabulary(tokens), .. }) => {
                if weights.is_none() {
                    return Err(Error::input(
                        "--head-start from-vocabulary needs a pretrained model, not --init random",
                    ));
                }
                if let Some(token) = tokens.iter().find(|&&token| token as usize >= architecture.vocab_size) {
                    return Err(Error::input(format!("--head-start from-vocabulary: the model has no token {token}")));
                }
                if tokens.len() != classes.len() {
                    return Err(Error::input(format!(
                        "--head-start from-vocabulary: {} response tokens for {} classes",
                        tokens.len(),
                        classes.len()
                    )));
                }
                Ok(())
            }
            Self::Classify(_) => Ok(()),
        }
    }
}

fn stored_head(architecture: &Architecture) -> String {
    format!("{}.weight", architecture.names.classifier)
}

/// Gives the tensors of `body`, but starts a classification head that `weights` do not have.
pub(super) struct WithHead<'a> {
    pub body: &'a mut dyn ParameterSource,
    pub architecture: &'a Architecture,
    pub purpose: &'a Purpose,
    pub weights: Option<&'a Weights>,
    pub device: &'a Device,
}

impl WithHead<'_> {
    /// Values of a new head's tensor; `None` if the checkpoint cannot give them.
    fn start(&self, classify: &Classify, name: &str, dims: &[usize]) -> Option<Vec<f32>> {
        let a = self.architecture;
        let count = dims.iter().product();
        if dims.len() == 1 {
            return Some(vec![0.0; count]);
        }
        match &classify.start {
            HeadStart::Vocabulary(tokens) => {
                let own = format!("{}.weight", a.names.head);
                let table = format!("{}{}.weight", a.names.prefix, a.names.embedding);
                let weights = self.weights?;
                let values = weights.floats(weights.alias(if a.has_own_head() { &own } else { &table })?).ok()?;
                let row = |token: u32| values.get(token as usize * a.hidden_size..)?.get(..a.hidden_size);
                Some(tokens.iter().map(|&token| row(token)).collect::<Option<Vec<_>>>()?.concat())
            }
            &HeadStart::Random { seed } => {
                let deviation = RANDOM_SCALE * a.initializer_range / (a.hidden_size as f64).sqrt();
                let mut stream = Stream::new(seed, &format!("init/{name}"));
                Some((0..count).map(|_| (deviation * stream.normal()) as f32).collect())
            }
        }
    }
}

impl ParameterSource for WithHead<'_> {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        let Purpose::Classify(classify) = self.purpose else { return self.body.parameter(name, dims, role) };
        let own = self.architecture.names.classifier;
        let of_head = name.strip_prefix(own).is_some_and(|rest| rest.starts_with('.'));
        let stored = self.weights.is_some_and(|weights| weights.dims(name) == Some(dims));
        if !of_head || stored {
            return self.body.parameter(name, dims, role);
        }
        match self.start(classify, name, dims) {
            Some(values) => {
                let rows = if dims.len() == 1 { 1 } else { dims[0] };
                let value = TensorData::new(values, [rows, dims[dims.len() - 1]]);
                Parameter::new(name, dims.to_vec(), role, Matrix::Dense(Tensor::from_data(value, self.device)))
            }
            // The body's source reports what is missing.
            None => self.body.parameter(name, dims, role),
        }
    }
}
