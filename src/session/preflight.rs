//! What is known of a run without the weights of its model.

use crate::{
    Result,
    config::RunConfig,
    data::{Dataset, Tokenizer},
    model::Architecture,
    source::{Report, describe},
    train::{estimate::Rows, inputs::data_settings},
};

/// A run without weights.
pub struct Preflight {
    /// What the model looks like.
    pub architecture: Architecture,
    /// Number of classes; 0 in language modelling, and where neither settings nor data name them.
    pub classes: usize,
    /// The rows, as far as memory is concerned; the most that the settings allow where there are no data.
    pub rows: Rows,
}

impl Preflight {
    /// Reads description and tokenizer of the model and the data, if `config` names any. Of a model on the hub nothing
    /// else is fetched.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub fn load(config: &RunConfig, report: Report<'_>) -> Result<Self> {
        let (folder, architecture) = describe(config, report)?;
        if config.data.as_os_str().is_empty() {
            let rows = Rows::unknown(config, &architecture)?;
            return Ok(Self { architecture, classes: config.classes.0.len(), rows });
        }
        let tokenizer = Tokenizer::from_folder(&folder)?.with_chat_date(&config.chat_date)?;
        let dataset = Dataset::load(&data_settings(config, architecture.max_positions)?, &tokenizer)?;
        dataset.check_vocabulary(architecture.vocab_size)?;
        Ok(Self { architecture, classes: dataset.classes.len(), rows: Rows::of(&dataset) })
    }
}
