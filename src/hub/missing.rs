//! The hub in a program that was built without it (Cargo feature `hub`).

use super::snapshot::Snapshot;
use crate::{Error, Result};

/// Refuses what would have to be fetched.
pub(super) fn snapshot(repository: &str, _revision: &str, _weights: bool, _report: &dyn Fn(&str)) -> Result<Snapshot> {
    Err(refused(repository))
}

/// Refuses what only the hub's cache could have.
pub(super) fn cached(repository: &str, _revision: &str, _weights: bool) -> Result<Option<Snapshot>> {
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

    use crate::hub::HubModel;

    #[test]
    fn a_name_of_the_hub_is_refused_with_the_feature_that_is_missing() {
        let model = HubModel::find(Path::new("org/name"), "").expect("a name").expect("of the hub");
        for error in
            [model.fetch(true, &|_| {}).map(drop), model.cached(true).map(drop)].map(|it| it.expect_err("no hub"))
        {
            assert!(error.to_string().contains("org/name") && error.to_string().contains("`hub`"), "{error}");
        }
    }
}
