//! What can go wrong with the hub, told apart by what a person can do about it.

use std::{io::ErrorKind, path::Path};

use hf_hub::api::sync::ApiError;

use super::environment::HubEnvironment;
use crate::Error;

/// A request or a download that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub was not reached or the connection broke.
    Network(String),
    /// The hub answered with an error: HTTP status and the hub's own word for it (`X-Error-Code`), if any.
    Refused(u16, String),
    /// Another program downloads the same file.
    Busy,
    /// No more space.
    DiskFull,
    /// The cache cannot be read or written.
    Disk(std::io::Error),
    /// An answer that is not one of a hub.
    Odd(String),
}

impl Failure {
    /// From a file operation of our own.
    pub(super) fn disk(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Disk(error),
        }
    }

    /// Why the hub cannot be asked, where that is all that failed.
    pub(super) fn outage(&self, environment: &HubEnvironment) -> Option<String> {
        match self {
            Self::Network(cause) => Some(format!("cannot reach {} ({cause})", environment.host())),
            Self::Refused(status @ 500.., _) => Some(format!("{} has trouble (HTTP {status})", environment.host())),
            _ => None,
        }
    }

    /// From one request.
    pub(super) fn request(error: ureq::Error) -> Self {
        match error {
            ureq::Error::StatusCode(status) => Self::Refused(status, String::new()),
            ureq::Error::HostNotFound => Self::Network("the name of the host is not known".into()),
            ureq::Error::Timeout(_) => Self::Network("no answer in time".into()),
            ureq::Error::BadUri(address) => Self::Odd(format!("{address} is not an address")),
            other => Self::Network(other.to_string().trim_start_matches("io: ").to_owned()),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::RequestError(error) => Self::request(*error),
            ApiError::TooManyRetries(error) => Self::from(*error),
            ApiError::LockAcquisition(_) => Self::Busy,
            ApiError::IoError(error) => match error.kind() {
                // One error type for both ends of the copy: these can only be the file's.
                ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::AlreadyExists => Self::disk(error),
                _ => Self::Network(error.to_string()),
            },
            other => Self::Odd(other.to_string()),
        }
    }
}

/// The sentence about a repository about which the hub says nothing.
pub(super) fn about_repository(
    failure: Failure,
    environment: &HubEnvironment,
    repository: &str,
    revision: &str,
) -> Error {
    let host = environment.host();
    let sentence = match failure {
        Failure::Refused(404, code) if code == "RevisionNotFound" => format!(
            "{repository}: {host} has no revision \"{revision}\" of it; give a branch, a tag or a commit that is there"
        ),
        Failure::Refused(401 | 404, _) => match &environment.token {
            None => format!(
                "{repository}: there is no such folder here, and {host} has no public repository of this name; check \
                 the spelling, or set HF_TOKEN if it is a private one"
            ),
            Some(token) => format!(
                "{repository}: there is no such folder here, and {host} shows no repository of this name to the token \
                 of {}; check the spelling and the token",
                token.source
            ),
        },
        other => return about_file(other, environment, repository, "its list of files"),
    };
    Error::input(sentence)
}

/// The sentence about one file of a repository that is there.
pub(super) fn about_file(failure: Failure, environment: &HubEnvironment, repository: &str, file: &str) -> Error {
    let (host, endpoint, cache) = (environment.host(), &environment.endpoint, environment.cache.display());
    Error::input(match failure {
        Failure::Refused(401 | 403, _) => match &environment.token {
            None => format!(
                "{repository} is gated or private: accept its licence at {endpoint}/{repository}, make a token at \
                 {endpoint}/settings/tokens, and set HF_TOKEN to it (or log in with `hf auth login`)"
            ),
            Some(token) => format!(
                "{repository} is gated or private and the token of {} does not open it: accept its licence at \
                 {endpoint}/{repository} with the account of the token, and let the token read gated repositories",
                token.source
            ),
        },
        Failure::Refused(404, _) => format!("{repository}: {host} does not have {file}"),
        Failure::Refused(429, _) => format!("{repository}: {host} gets too many requests from here; try again later"),
        Failure::Refused(status @ 500.., _) => {
            format!("{repository}: {host} has trouble of its own (HTTP {status}, {file}); try again later")
        }
        Failure::Refused(status, _) => format!("{repository}: {host} refused {file} (HTTP {status})"),
        Failure::Network(cause) => format!(
            "{repository}: the download of {file} broke off ({cause}); the same command continues where it stopped"
        ),
        Failure::Busy => format!("{repository}: another program is downloading {file}; wait until it is done"),
        Failure::DiskFull => format!(
            "{repository}: the disk is full, {file} does not fit into {cache}; make room, or set HF_HOME to a folder on \
             another disk (what is there already is kept)"
        ),
        Failure::Disk(error) => return Error::file("write the cache", &environment.cache, error),
        Failure::Odd(cause) => {
            format!(
                "{repository}: {endpoint} does not answer like a Hugging Face hub ({file}: {cause}); check HF_ENDPOINT"
            )
        }
    })
}

/// The sentence about a model that is only partly in the cache, where the hub cannot or must not be asked.
pub(super) fn not_cached(
    environment: &HubEnvironment,
    repository: &str,
    revision: &str,
    missing: &str,
    why: &str,
) -> Error {
    let cache: &Path = &environment.cache;
    Error::input(format!(
        "{repository}: {why}, and the cache in {} has no {missing} of revision {revision}; run once with a network, or \
         give the path of a model folder",
        cache.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_copy_are_told_apart() {
        let from = |kind: ErrorKind| Failure::from(ApiError::IoError(kind.into()));
        assert!(matches!(from(ErrorKind::StorageFull), Failure::DiskFull));
        assert!(matches!(from(ErrorKind::PermissionDenied), Failure::Disk(_)));
        assert!(matches!(from(ErrorKind::UnexpectedEof), Failure::Network(_)));
        assert!(matches!(from(ErrorKind::ConnectionReset), Failure::Network(_)));
        let status = ApiError::RequestError(Box::new(ureq::Error::StatusCode(403)));
        assert!(matches!(Failure::from(status), Failure::Refused(403, _)));
    }
}
