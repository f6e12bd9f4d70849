//! What is asked of a data set: its files, the task its rows are read for, and the limits of a row.

use std::path::PathBuf;

use super::classify::ClassifySettings;

/// What rows are read for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DataTask {
    /// Each token is predicted from those before it.
    #[default]
    LanguageModel,
    /// Each row has one class.
    Classify(ClassifySettings),
}

/// What to read and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSettings {
    /// The training file, or a folder with `train.*` and perhaps `valid.*`.
    pub data: PathBuf,
    /// The validation file, if it is not found beside the training file.
    pub valid: Option<PathBuf>,
    /// Most tokens in a row, at least 2: longer rows are cut at the end (before the closing tokens of a classified row);
    /// plain text is cut into blocks of this length.
    pub max_seq_length: usize,
    /// Whether prompt tokens are masked, so that only answers are trained on. `None`: yes, where rows have a prompt.
    pub mask_prompt: Option<bool>,
    /// Whether rows that cannot be used are counted and left out instead of stopping.
    pub skip_bad_rows: bool,
    /// Whether the end token follows every document of plain text.
    pub append_eos: bool,
    /// What the rows are read for.
    pub task: DataTask,
    /// Whether the test file is read too, where [`Dataset::load`] finds one.
    pub with_test: bool,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            valid: None,
            max_seq_length: 512,
            mask_prompt: None,
            skip_bad_rows: false,
            append_eos: true,
            task: DataTask::default(),
            with_test: false,
        }
    }
}
