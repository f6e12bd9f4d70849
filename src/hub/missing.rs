//! The hub in a program that was built without it (Cargo feature `hub`).

use std::path::PathBuf;

use crate::{Error, Result};

/// Refuses what would have to be fetched.
pub(super) fn snapshot(
    repository: &str,
    _revision: &str,
    _weights: bool,
    _tell: &dyn Fn(&str),
) -> Result<(PathBuf, String)> {
    Err(refused(repository))
}

/// Refuses what only the hub's cache could have.
pub(super) fn cached(repository: &str, _revision: &str, _weights: bool) -> Result<Option<(PathBuf, String)>> {
    Err(refused(repository))
}

fn refused(repository: &str) -> Error {
    Error::input(format!(
        "{repository}: there is no such folder, and this build fetches nothing from the Hugging Face hub (Cargo feature \
         `hub`); download the model and give its folder"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::hub::Wanted;

    #[test]
    fn a_name_of_the_hub_is_refused_with_the_feature_that_is_missing() {
        let wanted = Wanted::whole(Path::new("org/name"));
        for error in [wanted.locate().map(drop), wanted.nearby().map(drop)].map(|found| found.expect_err("no hub")) {
            assert!(error.to_string().contains("org/name") && error.to_string().contains("`hub`"), "{error}");
        }
    }
}
