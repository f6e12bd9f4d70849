//! Where a model comes from: a folder, the Hugging Face hub, or inside this program. Whoever needs a model names it by its
//! settings and asks here, for its folder, or for what it looks like.
//!
//! Wherever a model folder or data are named, the word `agoge-demo` means those inside this program ([`embedded`]), so that
//! a run's `config.json` says what it worked on and every later command finds it again. A folder of that name is written
//! `./agoge-demo`.

pub mod embedded;
#[cfg(not(target_arch = "wasm32"))]
#[path = "hub.rs"]
mod remote;
#[cfg(target_arch = "wasm32")]
#[path = "page.rs"]
mod remote;

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    config::{Init, RunConfig},
    model::{Architecture, pretrained::read_architecture},
};

use remote::Snapshot;

pub use remote::{Remote, of_adapter};

/// What is being done on the way to a run, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The next stage, as half a sentence: "loading the model".
    Stage(&'a str),
    /// Something about a download, as a line of its own.
    Download(&'a str),
}

/// Takes in what is being done.
pub type Report<'a> = &'a dyn Fn(Progress<'_>);

/// Reports nothing.
pub fn silent(_: Progress<'_>) {}

/// Writes what concerns downloads to standard error.
pub fn to_stderr(progress: Progress<'_>) {
    if let Progress::Download(line) = progress {
        eprintln!("{line}");
    }
}

/// The files of a model that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Configuration and tokenizer.
    Description,
    /// These and the weights.
    All,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// Inside this program.
    Embedded,
    /// A folder; whether it holds a model is for its reader to say.
    Folder(PathBuf),
    /// Elsewhere, from where it is fetched.
    Remote(Remote),
}

impl ModelSource {
    /// What `model` (a path, `org/name`, `org/name@revision` or `agoge-demo`) and `revision` (may be empty) mean.
    ///
    /// # Errors
    /// A revision of what has none, or one that is not a name; in a browser, a model that the page does not have.
    pub fn named(model: &Path, revision: &str) -> Result<Self> {
        if embedded::is_embedded(model) {
            if !revision.is_empty() {
                return Err(Error::input(format!(
                    "--revision {revision}: the model inside this program has no revisions; leave it out"
                )));
            }
            return Ok(Self::Embedded);
        }
        Ok(Remote::find(model, revision)?.map_or_else(|| Self::Folder(model.to_path_buf()), Self::Remote))
    }

    /// The model of a run.
    ///
    /// # Errors
    /// As [`Self::named`].
    pub fn of(config: &RunConfig) -> Result<Self> {
        Self::named(&config.model, &config.revision)
    }

    /// The folder with the files, fetched or unpacked first where they have to be.
    ///
    /// # Errors
    /// A download that fails, or no place to unpack.
    pub fn folder(&self, files: Files, report: Report<'_>) -> Result<PathBuf> {
        match self {
            Self::Embedded => embedded::model(),
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Remote(remote) => Ok(fetch(remote, files, report)?.folder),
        }
    }

    /// The same where nothing has to be fetched for it, else `None`. Nobody is asked.
    ///
    /// # Errors
    /// No place to unpack, or to keep what is fetched.
    pub fn folder_here(&self, files: Files) -> Result<Option<PathBuf>> {
        match self {
            Self::Remote(remote) => Ok(remote.cached(files == Files::All)?.map(|snapshot| snapshot.folder)),
            here => here.folder(files, &silent).map(Some),
        }
    }
}

fn fetch(remote: &Remote, files: Files, report: Report<'_>) -> Result<Snapshot> {
    remote.fetch(files == Files::All, &|line| report(Progress::Download(line)))
}

/// The files that a run needs of its model.
pub fn needed(config: &RunConfig) -> Files {
    if config.init == Init::Pretrained { Files::All } else { Files::Description }
}

/// The folder of a run's model with all that the run needs; one of the hub is in the cache already if [`pin`] was called.
///
/// # Errors
/// As [`ModelSource::of`] and [`ModelSource::folder`].
pub fn model_folder(config: &RunConfig) -> Result<PathBuf> {
    ModelSource::of(config)?.folder(needed(config), &silent)
}

/// What a run's model looks like, and the folder with its description and tokenizer. No weights are fetched for it.
///
/// # Errors
/// No such model, or one that is not supported.
pub fn describe(config: &RunConfig, report: Report<'_>) -> Result<(PathBuf, Architecture)> {
    let folder = ModelSource::of(config)?.folder(Files::Description, report)?;
    let (_, architecture) = read_architecture(&folder)?;
    Ok((folder, architecture))
}

/// Fetches a model that is elsewhere and writes its commit into the settings, so that the run can be repeated exactly. A
/// model folder stays as it is.
///
/// # Errors
/// As [`ModelSource::of`], and a download that fails.
pub fn pin(config: &mut RunConfig, report: Report<'_>) -> Result<()> {
    if let ModelSource::Remote(remote) = ModelSource::of(config)? {
        report(Progress::Stage(&format!("fetching {} from the Hugging Face hub", config.model.display())));
        let snapshot = fetch(&remote, needed(config), report)?;
        config.model = remote.repository.into();
        config.revision = snapshot.commit;
    }
    Ok(())
}

/// Where data are; those inside this program are unpacked first.
///
/// # Errors
/// There is no place to unpack them.
pub fn data(path: &Path) -> Result<PathBuf> {
    if embedded::is_embedded(path) { embedded::data() } else { Ok(path.to_path_buf()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_model_comes_from() {
        let named = |model: &str, revision: &str| ModelSource::named(Path::new(model), revision);
        assert_eq!(named("agoge-demo", "").expect("a source"), ModelSource::Embedded);
        assert_eq!(named("./agoge-demo", "").expect("a source"), ModelSource::Folder("./agoge-demo".into()));
        let remote = named("org/name@v1", "").expect("a source");
        assert!(matches!(&remote, ModelSource::Remote(remote) if remote.repository == "org/name"), "{remote:?}");
        assert!(named("agoge-demo", "main").expect_err("no revisions").to_string().contains("leave it out"));
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = RunConfig { model: folder.path().into(), ..RunConfig::default() };
        pin(&mut config, &silent).expect("nothing to fetch");
        assert_eq!((config.model.as_path(), config.revision.as_str()), (folder.path(), ""));
        assert_eq!(model_folder(&config).expect("a folder"), folder.path());
    }

    #[test]
    fn data_inside_the_program_have_a_folder() {
        let rows = data(Path::new(embedded::NAME)).expect("unpacked").join("valid.jsonl");
        assert_eq!(std::fs::read_to_string(rows).expect("rows"), embedded::VALID);
        assert_eq!(data(Path::new("other")).expect("a path"), Path::new("other"));
    }
}
