//! Models by name: `org/name` is fetched from the Hugging Face hub into the cache that Python's tools use as well.
//!
//! A path that exists always wins, so a model folder is only handed through. `environment` reads where things are (cache,
//! token, endpoint), `fetch` downloads, `failure` says in a sentence what went wrong. Nothing here knows what a model
//! is beyond the names of its files.

mod environment;
mod failure;
mod fetch;
mod name;
mod snapshot;

use std::path::Path;

use crate::{Error, Result};
use name::{is_name, is_revision};

pub use snapshot::Snapshot;

/// A model of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// `org/name`.
    pub repository: String,
    /// Branch, tag or commit; `None` for `main`.
    pub revision: Option<String>,
}

impl HubModel {
    /// The model that `model` (a path, `org/name` or `org/name@revision`) and `revision` (may be empty) mean; `None` for a
    /// path. What does not exist and cannot be a name of the hub is a path too, for its reader to refuse.
    ///
    /// # Errors
    /// A revision for a path that exists, two revisions, or one that is not a name.
    pub fn find(model: &Path, revision: &str) -> Result<Option<Self>> {
        let name = model.to_str().unwrap_or_default();
        if model.exists() {
            if revision.is_empty() {
                return Ok(None);
            }
            return Err(Error::input(format!(
                "--revision {revision}: {name} is a path on this machine, which has no revisions; leave it out"
            )));
        }
        let Some(mut found) = Self::parse(name) else { return Ok(None) };
        if !revision.is_empty() {
            if found.revision.as_deref().is_some_and(|other| other != revision) {
                return Err(Error::input(format!(
                    "--revision {revision}: {name} names another revision already; give it once"
                )));
            }
            found.revision = Some(revision.to_owned());
        }
        if !is_revision(found.revision()) {
            return Err(Error::input(format!("--revision {:?}: give a branch, a tag or a commit", found.revision())));
        }
        Ok(Some(found))
    }

    /// Downloads what the cache does not have: everything, or without `weights` only configuration and tokenizer. Downloads
    /// are reported, a line each.
    ///
    /// # Errors
    /// No network, no such repository or revision, no access, a repository without safetensors, a full disk.
    pub fn fetch(&self, weights: bool, report: &dyn Fn(&str)) -> Result<Snapshot> {
        fetch::snapshot(&self.repository, self.revision(), weights, report)
    }

    /// The files, if the cache has them all. The hub is not asked.
    ///
    /// # Errors
    /// There is no cache.
    pub fn cached(&self, weights: bool) -> Result<Option<Snapshot>> {
        fetch::cached(&self.repository, self.revision(), weights)
    }

    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// `None` for what cannot be a repository of the hub.
    fn parse(text: &str) -> Option<Self> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision.to_owned())),
            None => (text, None),
        };
        let (owner, name) = repository.split_once('/')?;
        (is_name(owner) && is_name(name)).then(|| Self { repository: repository.to_owned(), revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_and_paths_are_told_apart() {
        let parse = |text: &str| HubModel::parse(text).map(|model| (model.repository, model.revision));
        let plain = |text: &str| Some((text.to_owned(), None));
        assert_eq!(parse("org/name"), plain("org/name"));
        assert_eq!(parse("HuggingFaceTB/SmolLM2-135M"), plain("HuggingFaceTB/SmolLM2-135M"));
        assert_eq!(parse("a_b/c.d-e_1"), plain("a_b/c.d-e_1"));
        assert_eq!(parse("org/name@v1.0"), Some(("org/name".into(), Some("v1.0".into()))));
        assert_eq!(parse("org/name@refs/pr/1"), Some(("org/name".into(), Some("refs/pr/1".into()))));
        for path in [
            "name", "./name", "../name", "/a/b", "a/b/c", "a/", "/a", "~/a", "a b/c", "a/b?", "a--b/c", "a/b..c",
            "-a/b", "a/b.", "C:\\a", "",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn what_exists_is_a_path_and_has_no_revisions() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(HubModel::find(folder.path(), "").expect("a path"), None);
        let refused = |model: &Path, revision: &str| HubModel::find(model, revision).expect_err("refused").to_string();
        let error = refused(folder.path(), "main");
        assert!(error.contains("--revision main") && error.contains("leave it out"), "{error}");
        assert!(refused(Path::new("org/name@v2"), "v1").contains("once"));
        assert!(refused(Path::new("org/name"), "../v1").contains("a tag or a commit"));
        assert!(refused(Path::new("org/name@"), "").contains("a tag or a commit"));
    }
}
