//! A page asks nobody else for anything: a model is inside of it, or a person gives it.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use super::embedded;
use crate::{Error, Result, storage};

/// A model from elsewhere, of which a page has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What it is called.
    pub repository: String,
    none: Infallible,
}

/// What would be fetched of it.
pub struct Snapshot {
    /// Where the files are.
    pub folder: PathBuf,
    /// What they are called.
    pub commit: String,
}

impl Remote {
    /// Finds none, where the model is here.
    ///
    /// # Errors
    /// It is not.
    pub fn find(model: &Path, _revision: &str) -> Result<Option<Self>> {
        if storage::is_dir(model) {
            return Ok(None);
        }
        Err(Error::input(format!(
            "{}: this page has no such model; drop its folder here (config.json, tokenizer.json, *.safetensors)",
            model.display()
        )))
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn fetch(&self, _weights: bool, _report: &dyn Fn(&str)) -> Result<Snapshot> {
        match self.none {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn cached(&self, _weights: bool) -> Result<Option<Snapshot>> {
        match self.none {}
    }
}

/// The model that an adapter calls `name`: inside of the page, or among the models that a person gave it, wherever it was
/// when the adapter was trained.
///
/// # Errors
/// It is not here.
pub fn of_adapter(name: &str) -> Result<PathBuf> {
    let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    if embedded::is_embedded(last.as_ref()) {
        return Ok(last.into());
    }
    let folder = PathBuf::from("models").join(last);
    if last.is_empty() || !storage::is_dir(&folder) {
        return Err(Error::input(format!(
            "the adapter changes the model {name}, which this page does not have; drop the folder {last} with that model \
             here (config.json, tokenizer.json, *.safetensors)"
        )));
    }
    Ok(folder)
}
