//! Where the hub and its cache are, from the same environment variables that Python's `huggingface_hub` reads.

use std::path::PathBuf;

use crate::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";

/// A token and where it was found, for messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub secret: String,
    pub source: String,
}

/// What the environment says.
#[derive(Debug)]
pub(super) struct HubEnvironment {
    /// Folder with one folder a repository.
    pub cache: PathBuf,
    /// Without a slash at its end.
    pub endpoint: String,
    pub token: Option<Token>,
    /// Only the cache may be asked.
    pub offline: bool,
}

impl HubEnvironment {
    pub(super) fn from_process() -> Result<Self> {
        Self::read(&|name| std::env::var(name).ok(), std::env::home_dir())
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>, user: Option<PathBuf>) -> Result<Self> {
        let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let any = |names: &[&str]| names.iter().find_map(|&name| Some((given(name)?, name.to_owned())));
        let home = match (given("HF_HOME"), given("XDG_CACHE_HOME"), user) {
            (Some(home), ..) => PathBuf::from(home),
            (None, Some(cache), _) => PathBuf::from(cache).join("huggingface"),
            (None, None, Some(user)) => user.join(".cache/huggingface"),
            (None, None, None) => {
                return Err(Error::input(
                    "there is no home folder to keep downloaded models in; set HF_HOME to a folder",
                ));
            }
        };
        let cache = any(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        let cache = cache.map_or_else(|| home.join("hub"), |(folder, _)| PathBuf::from(folder));
        let token = match any(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
            Some((secret, source)) => Some(Token { secret, source }),
            None => {
                let file = given("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
                let secret = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
                (!secret.is_empty()).then(|| Token { secret, source: file.display().to_string() })
            }
        };
        if let Some(token) = token.as_ref().filter(|token| !token.secret.chars().all(|c| c.is_ascii_graphic())) {
            return Err(Error::input(format!(
                "{}: this is not a token of the hub (it has spaces or other signs that no token has); copy it again",
                token.source
            )));
        }
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::input(format!("HF_ENDPOINT {endpoint}: it must be an address such as {ENDPOINT}")));
        }
        let switched_on = |name: &str| {
            given(name).is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str()))
        };
        let offline = switched_on("HF_HUB_OFFLINE") || switched_on("TRANSFORMERS_OFFLINE");
        Ok(Self { cache, endpoint, token, offline })
    }

    /// The hub's name, for people.
    pub(super) fn host(&self) -> &str {
        self.endpoint.split_once("://").map_or(&self.endpoint, |(_, host)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HubEnvironment> {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        HubEnvironment::read(&variable, Some("/home/me".into()))
    }

    #[test]
    fn the_usual_places() {
        let environment = read(&[]).expect("an environment");
        assert_eq!(environment.cache, PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert_eq!((environment.endpoint.as_str(), environment.host()), ("https://huggingface.co", "huggingface.co"));
        assert!(environment.token.is_none() && !environment.offline);
        assert_eq!(
            read(&[("XDG_CACHE_HOME", "/c")]).expect("an environment").cache,
            PathBuf::from("/c/huggingface/hub")
        );
        assert_eq!(read(&[("HF_HOME", "/h")]).expect("an environment").cache, PathBuf::from("/h/hub"));
        let both = read(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/x")]).expect("an environment");
        assert_eq!(both.cache, PathBuf::from("/x"));
        assert!(HubEnvironment::read(&|_| None, None).expect_err("no home").to_string().contains("HF_HOME"));
    }

    #[test]
    fn tokens_in_their_order() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("token"), " hf_file\n").expect("a token");
        let home = home.path().to_str().expect("UTF-8");
        let token =
            |variables: &[(&str, &str)]| read(variables).expect("an environment").token.map(|t| (t.secret, t.source));
        assert_eq!(token(&[("HF_HOME", home)]).expect("a token").0, "hf_file");
        let old = ("HUGGING_FACE_HUB_TOKEN", "hf_old");
        assert_eq!(token(&[("HF_HOME", home), old]), Some(("hf_old".into(), "HUGGING_FACE_HUB_TOKEN".into())));
        assert_eq!(token(&[old, ("HF_TOKEN", "hf_new")]).expect("a token").0, "hf_new");
        let error = read(&[("HF_TOKEN", "hf_two words")]).expect_err("spaces").to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("words"), "the secret is not told: {error}");
    }

    #[test]
    fn endpoints_and_offline() {
        let environment =
            read(&[("HF_ENDPOINT", "http://127.0.0.1:8080/"), ("HF_HUB_OFFLINE", "1")]).expect("an environment");
        assert_eq!(
            (environment.endpoint.as_str(), environment.host(), environment.offline),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true)
        );
        assert!(read(&[("TRANSFORMERS_OFFLINE", "True")]).expect("an environment").offline);
        assert!(!read(&[("HF_HUB_OFFLINE", "0")]).expect("an environment").offline);
        assert!(read(&[("HF_ENDPOINT", "mirror")]).expect_err("no address").to_string().contains("HF_ENDPOINT mirror"));
    }
}
