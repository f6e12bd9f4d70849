//! Models by name: `org/name` is fetched from the Hugging Face hub into the cache that Python's tools use as well.
//!
//! A path that exists always wins, so a model folder is only handed through. `place` reads the environment (cache,
//! token, endpoint), `fetch` downloads, `failure` says in a sentence what went wrong. Nothing here knows what a model
//! is beyond the names of its files.

#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(not(feature = "hub"))]
#[path = "missing.rs"]
mod fetch;
#[cfg(feature = "hub")]
mod place;

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What is wanted: a model folder, or a model of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// A path, `org/name`, or `org/name@revision`.
    pub model: &'a Path,
    /// Branch, tag or commit; empty for the one behind `@`, else for `main`.
    pub revision: &'a str,
    /// Whether the weights are needed, or only configuration and tokenizer.
    pub weights: bool,
    /// Whether to keep silent on standard error (errors are returned in any case).
    pub quiet: bool,
}

/// A model folder that exists, or a path that is for its reader to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where the files are.
    pub folder: PathBuf,
    /// Where they came from, if from the hub.
    pub origin: Option<Origin>,
}

/// Where on the hub a model came from: enough to get exactly the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `org/name`.
    pub repository: String,
    /// The commit.
    pub commit: String,
}

impl<'a> Wanted<'a> {
    /// Everything of `model`, told on standard error.
    pub fn whole(model: &'a Path) -> Self {
        Self { model, revision: "", weights: true, quiet: false }
    }

    /// Finds the folder; downloads what the cache does not have.
    ///
    /// # Errors
    /// A revision for a local folder or one that is not a name, no network, no such repository or revision, no
    /// access, a repository without safetensors, a full disk.
    pub fn locate(&self) -> Result<Located> {
        let Some(reference) = self.reference()? else { return Ok(self.as_it_is()) };
        let quiet = self.quiet;
        let tell = |text: &str| {
            if !quiet {
                eprintln!("{text}");
            }
        };
        let revision = reference.revision();
        let (folder, commit) = fetch::snapshot(&reference.repository, revision, self.weights, &tell)?;
        Ok(Located { folder, origin: Some(Origin { repository: reference.repository, commit }) })
    }

    /// The folder, as far as it is on this machine; `None` for a model that would have to be fetched from the hub. The
    /// hub is not asked.
    ///
    /// # Errors
    /// A revision for a local folder or one that is not a name.
    pub fn nearby(&self) -> Result<Option<Located>> {
        let Some(reference) = self.reference()? else { return Ok(Some(self.as_it_is())) };
        let found = fetch::cached(&reference.repository, reference.revision(), self.weights)?;
        Ok(found.map(|(folder, commit)| Located {
            folder,
            origin: Some(Origin { repository: reference.repository, commit }),
        }))
    }

    fn as_it_is(&self) -> Located {
        Located { folder: self.model.to_path_buf(), origin: None }
    }

    /// What is meant on the hub; `None` for a path.
    fn reference(&self) -> Result<Option<Reference>> {
        let name = self.model.to_str().unwrap_or_default();
        let exists = self.model.exists();
        let reference = if exists { None } else { Reference::parse(name) };
        let Some(mut reference) = reference else {
            // What does not exist is refused by the one who reads it; a revision of it would only distract.
            if exists && !self.revision.is_empty() {
                return Err(Error::input(format!(
                    "--revision {}: {name} is a path on this machine, which has no revisions; leave it out",
                    self.revision
                )));
            }
            return Ok(None);
        };
        if !self.revision.is_empty() {
            if reference.revision.as_deref().is_some_and(|other| other != self.revision) {
                return Err(Error::input(format!(
                    "--revision {}: {name} names another revision already; give it once",
                    self.revision
                )));
            }
            reference.revision = Some(self.revision.to_owned());
        }
        if !is_revision(reference.revision()) {
            return Err(Error::input(format!(
                "--revision {:?}: give a branch, a tag or a commit",
                reference.revision()
            )));
        }
        Ok(Some(reference))
    }
}

/// `org/name` or `org/name@revision`.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    repository: String,
    revision: Option<String>,
}

impl Reference {
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

/// The hub's rule for the names of owners and of repositories.
fn is_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.len() <= 96
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && !text.contains("--")
        && !text.contains("..")
}

/// A revision becomes part of addresses and of file names in the cache.
fn is_revision(text: &str) -> bool {
    let parts_are_plain = text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    parts_are_plain && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+/".contains(c)) && !text.contains("..")
}

/// A whole commit hash, which never means anything else later.
#[cfg(feature = "hub")]
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_and_paths_are_told_apart() {
        let parse = |text: &str| Reference::parse(text).map(|r| (r.repository, r.revision));
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
    fn revisions_cannot_leave_their_folder() {
        for good in ["main", "v1.0", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567", "feature/x-1"] {
            assert!(is_revision(good), "{good}");
        }
        for bad in ["", "/", "../main", "a/../b", "a//b", "a b", "a?b", "a#b", "a%2Fb", "a\\b", ".hidden", "a/"] {
            assert!(!is_revision(bad), "{bad}");
        }
        #[cfg(feature = "hub")]
        assert!(is_commit("0123456789abcdef0123456789abcdef01234567") && !is_commit("0123456") && !is_commit("main"));
    }

    #[test]
    fn what_exists_is_a_path_and_has_no_revisions() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = Wanted::whole(folder.path());
        assert_eq!(wanted.locate().expect("a path"), Located { folder: folder.path().into(), origin: None });
        let error = Wanted { revision: "main", ..wanted }.locate().expect_err("no revisions").to_string();
        assert!(error.contains("--revision main") && error.contains("leave it out"), "{error}");
        let twice = Wanted { revision: "v1", ..Wanted::whole(Path::new("org/name@v2")) };
        assert!(twice.locate().expect_err("two revisions").to_string().contains("once"));
        assert_eq!(wanted.nearby().expect("a path").map(|located| located.folder), Some(folder.path().into()));
        let outside = Wanted { revision: "../v1", ..Wanted::whole(Path::new("org/name")) };
        assert!(outside.locate().expect_err("not a revision").to_string().contains("a tag or a commit"));
    }
}
