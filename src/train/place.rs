//! Where the model of a run is: a folder, inside this program, or on the Hugging Face hub.

use std::path::PathBuf;

use crate::{
    Result,
    config::RunConfig,
    demo,
    model::{Architecture, pretrained::read_architecture},
};

/// Folder and description of the model that `config` names, fetched from the hub without its weights if it has to be.
///
/// # Errors
/// No such model, or one that is not supported.
pub fn described(config: &RunConfig, quiet: bool) -> Result<(PathBuf, Architecture)> {
    let folder = of_description(config, quiet)?;
    let (_, architecture) = read_architecture(&folder)?;
    Ok((folder, architecture))
}

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    use super::*;
    use crate::{config::Init, hub::Wanted};

    /// The model that an adapter calls `name`: a folder, or a model of the hub.
    ///
    /// # Errors
    /// None; whether it is there is seen when it is loaded.
    pub(crate) fn called(name: &str) -> Result<PathBuf> {
        Ok(name.into())
    }

    fn wanted(config: &RunConfig, quiet: bool) -> Wanted<'_> {
        let weights = config.init == Init::Pretrained;
        Wanted { model: &config.model, revision: &config.revision, weights, quiet }
    }

    pub(super) fn of_description(config: &RunConfig, quiet: bool) -> Result<PathBuf> {
        demo::locate(&Wanted { weights: false, ..wanted(config, quiet) }).map(|located| located.folder)
    }

    /// Where the model is; one of the hub is in its cache already if [`pin`] was called.
    ///
    /// # Errors
    /// As [`demo::locate`].
    pub fn model_folder(config: &RunConfig) -> Result<PathBuf> {
        demo::locate(&wanted(config, true)).map(|located| located.folder)
    }

    /// Where the model is, if nothing has to be fetched for that.
    ///
    /// # Errors
    /// As [`demo::locate`].
    pub fn nearby(config: &RunConfig) -> Result<Option<PathBuf>> {
        let wanted = wanted(config, true);
        let near = if demo::is_embedded(wanted.model) { Some(demo::locate(&wanted)?) } else { wanted.nearby()? };
        Ok(near.map(|located| located.folder))
    }

    /// Fetches a model of the hub and writes its commit into the settings, so that the run can be repeated exactly.
    /// A model folder stays as it is.
    ///
    /// # Errors
    /// As [`demo::locate`].
    pub fn pin(config: &mut RunConfig, quiet: bool) -> Result<()> {
        if let Some(origin) = demo::locate(&wanted(config, quiet))?.origin {
            config.model = origin.repository.into();
            config.revision = origin.commit;
        }
        Ok(())
    }
}

/// A page asks nobody else for anything: a model is inside of it, or a person gives it.
#[cfg(target_arch = "wasm32")]
mod platform {
    use super::*;
    use crate::{Error, storage};

    /// The model that an adapter calls `name`: inside of the page, or among the models that a person gave it, wherever it
    /// was when the adapter was trained.
    ///
    /// # Errors
    /// It is not here.
    pub(crate) fn called(name: &str) -> Result<PathBuf> {
        let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
        if demo::is_embedded(last.as_ref()) {
            return Ok(last.into());
        }
        let folder = PathBuf::from("models").join(last);
        if last.is_empty() || !storage::is_dir(&folder) {
            return Err(Error::input(format!(
                "the adapter changes the model {name}, which this page does not have; drop the folder {last} with that \
                 model here (config.json, tokenizer.json, *.safetensors)"
            )));
        }
        Ok(folder)
    }

    pub(super) fn of_description(config: &RunConfig, _quiet: bool) -> Result<PathBuf> {
        model_folder(config)
    }

    /// Where the model is.
    ///
    /// # Errors
    /// It is not here.
    pub fn model_folder(config: &RunConfig) -> Result<PathBuf> {
        if demo::is_embedded(&config.model) {
            return demo::model();
        }
        if !storage::is_dir(&config.model) {
            return Err(Error::input(format!(
                "{}: this page has no such model; drop its folder here (config.json, tokenizer.json, *.safetensors)",
                config.model.display()
            )));
        }
        Ok(config.model.clone())
    }

    /// Where the model is.
    ///
    /// # Errors
    /// It is not here.
    pub fn nearby(config: &RunConfig) -> Result<Option<PathBuf>> {
        model_folder(config).map(Some)
    }

    /// Proves that the model is here.
    ///
    /// # Errors
    /// It is not.
    pub fn pin(config: &mut RunConfig, _quiet: bool) -> Result<()> {
        model_folder(config).map(drop)
    }
}

pub use platform::*;
