//! A repository's files in the cache: those that are there, and the download of those that are not.
//!
//! The cache has Python's layout: `models--org--name/` with `blobs/` (contents), `snapshots/<commit>/` (links to them)
//! and `refs/<branch>` (the commit). `hf_hub` downloads, resumes and links. Its downloader takes what a connection
//! gives for the whole file and stumbles over a partial file that is complete already; both are looked after here.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::{
        Progress, RepoInfo,
        sync::{Api, ApiBuilder, ApiRepo, Metadata},
    },
};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    environment::HubEnvironment,
    failure::{Failure, about_file, about_repository, not_cached},
    name::is_commit,
    snapshot::Snapshot,
};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Small files that a model may have; they come before the weights, so that a folder with weights has them all.
const OPTIONAL: &[&str] =
    &[TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja"];

/// A download that breaks is continued this often, after so many seconds; again as often when it got on well.
const PAUSES_SECS: [u64; 2] = [1, 3];
const GOT_ON_WELL_BYTES: u64 = 1 << 20;

/// The files of a repository at a revision, downloaded where the cache lacks them.
pub(super) fn snapshot(repository: &str, revision: &str, weights: bool, report: &dyn Fn(&str)) -> Result<Snapshot> {
    let environment = &HubEnvironment::from_process()?;
    let cached = Cached::new(environment, repository, weights);
    if is_commit(revision) && cached.missing(revision).is_none() {
        return Ok(cached.snapshot(revision));
    }
    if environment.offline {
        return cached.last(revision, "the hub is not asked (HF_HUB_OFFLINE)");
    }
    let client = Client::new(environment, repository)?;
    let info = match client.info(revision) {
        Ok(info) => info,
        Err(failure) => {
            let Some(why) = failure.outage(environment) else {
                return Err(about_repository(failure, environment, repository, revision));
            };
            // What the hub answered last time is good enough.
            let last = cached.last(revision, &why)?;
            report(&format!("note     {why}; using {repository} from the cache, commit {}", short(&last.commit)));
            return Ok(last);
        }
    };
    let fetch = Fetch { environment, cached, client: &client, commit: &info.sha, repo: client.repo(&info.sha), report };
    fetch.all(&info)?;
    // Last, so that the branch in the cache never means a folder that is not whole.
    let named = fetch.cached.cache.repo(Repo::with_revision(repository.into(), RepoType::Model, revision.into()));
    named.create_ref(&info.sha).map_err(|e| about_file(Failure::disk(e), environment, repository, revision))?;
    if revision != info.sha {
        // The downloader was asked for the commit and took that for a branch too.
        let _ = std::fs::remove_file(fetch.cached.reference(&info.sha));
    }
    Ok(fetch.cached.snapshot(&info.sha))
}

/// The same, as far as the cache has it.
pub(super) fn cached(repository: &str, revision: &str, weights: bool) -> Result<Option<Snapshot>> {
    Ok(Cached::new(&HubEnvironment::from_process()?, repository, weights).last(revision, "").ok())
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// What the cache has of one repository.
struct Cached<'a> {
    environment: &'a HubEnvironment,
    repository: &'a str,
    weights: bool,
    cache: Cache,
}

impl<'a> Cached<'a> {
    fn new(environment: &'a HubEnvironment, repository: &'a str, weights: bool) -> Self {
        Self { environment, repository, weights, cache: Cache::new(environment.cache.clone()) }
    }

    fn folder(&self, commit: &str) -> PathBuf {
        self.cache.model(self.repository.into()).pointer_path(commit)
    }

    fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot { folder: self.folder(commit), commit: commit.to_owned() }
    }

    /// The file that says which commit a revision is.
    fn reference(&self, revision: &str) -> PathBuf {
        let repository = Repo::model(self.repository.into()).folder_name();
        self.environment.cache.join(repository).join("refs").join(revision)
    }

    fn blob(&self, etag: &str) -> PathBuf {
        self.cache.model(self.repository.into()).blob_path(etag)
    }

    /// The commit that the hub gave for `revision` last time, and its folder.
    fn last(&self, revision: &str, why: &str) -> Result<Snapshot> {
        let commit = match std::fs::read_to_string(self.reference(revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) if is_commit(revision) => revision.to_owned(),
            Err(_) => return Err(not_cached(self.environment, self.repository, revision, "files", why)),
        };
        match self.missing(&commit) {
            None => Ok(self.snapshot(&commit)),
            Some(file) => Err(not_cached(self.environment, self.repository, revision, &file, why)),
        }
    }

    /// The first necessary file that the snapshot lacks.
    fn missing(&self, commit: &str) -> Option<String> {
        let folder = self.folder(commit);
        let mut needed = vec![CONFIG.to_owned(), TOKENIZER.to_owned()];
        if self.weights && !folder.join(WEIGHTS).exists() {
            match shards(&folder.join(INDEX)) {
                Ok(shards) => needed.extend(shards),
                Err(_) => needed.push(WEIGHTS.into()),
            }
        }
        needed.into_iter().find(|file| !folder.join(file).exists())
    }
}

/// The files that an index names.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).map_err(|e| Error::file("read", index, e))?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let names = value["weight_map"].as_object().into_iter().flatten().filter_map(|(_, name)| name.as_str());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    // They become paths below the folder.
    let plain = |name: &String| name.ends_with(".safetensors") && !name.contains(['/', '\\']);
    if names.is_empty() || !names.iter().all(plain) {
        return Err(Error::input(format!("{}: not a safetensors index; download it again", index.display())));
    }
    Ok(names)
}

/// The hub, asked about one repository.
struct Client<'a> {
    api: Api,
    repository: &'a str,
}

impl<'a> Client<'a> {
    fn new(environment: &HubEnvironment, repository: &'a str) -> Result<Self> {
        let api = ApiBuilder::from_cache(Cache::new(environment.cache.clone()))
            .with_endpoint(environment.endpoint.clone())
            .with_token(environment.token.as_ref().map(|token| token.secret.clone()))
            .with_progress(false)
            .with_user_agent("agoge", env!("CARGO_PKG_VERSION"))
            .build();
        let api = api.map_err(|e| about_file(e.into(), environment, repository, "its list of files"))?;
        Ok(Self { api, repository })
    }

    fn repo(&self, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(self.repository.into(), RepoType::Model, revision.into()))
    }

    /// The commit behind a revision and the names of its files.
    fn info(&self, revision: &str) -> Result<RepoInfo, Failure> {
        let request = self.repo(revision).info_request();
        let seconds = |count| Some(Duration::from_secs(count));
        let configured = request.config().http_status_as_error(false).timeout_connect(seconds(20));
        let mut response = configured.timeout_global(seconds(60)).build().call().map_err(Failure::request)?;
        let status = response.status();
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        let mut code = code.unwrap_or_default().to_owned();
        let text = response.body_mut().read_to_string().map_err(Failure::request)?;
        if !status.is_success() {
            if code.is_empty() && text.contains("Invalid rev") {
                code = "RevisionNotFound".into();
            }
            return Err(Failure::Refused(status.as_u16(), code));
        }
        let info: RepoInfo = serde_json::from_str(&text).map_err(|e| Failure::Odd(e.to_string()))?;
        // It becomes the name of a folder.
        if !is_commit(&info.sha) {
            return Err(Failure::Odd(format!("{:?} is not a commit", info.sha)));
        }
        Ok(info)
    }
}

/// The download of one commit.
struct Fetch<'a> {
    environment: &'a HubEnvironment,
    cached: Cached<'a>,
    client: &'a Client<'a>,
    commit: &'a str,
    repo: ApiRepo,
    report: &'a dyn Fn(&str),
}

impl Fetch<'_> {
    /// Everything that is wanted and missing: the small files first, then the weights.
    fn all(&self, info: &RepoInfo) -> Result<()> {
        let there: BTreeSet<&str> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
        let repository = self.cached.repository;
        if !there.contains(CONFIG) {
            return Err(Error::input(format!(
                "{repository}: this repository has no {CONFIG}; give one with a model in the Hugging Face layout"
            )));
        }
        let single = there.contains(WEIGHTS);
        if self.cached.weights && !single && !there.contains(INDEX) {
            let other = ["bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf", "onnx", "npz"];
            let has = |end: &&str| there.iter().any(|file| file.rsplit('.').next() == Some(end));
            let has: Vec<String> = other.iter().filter(|end| has(end)).map(|end| format!(".{end}")).collect();
            let only = if has.is_empty() { "none" } else { "only ones in other formats" };
            let found = if has.is_empty() { String::new() } else { format!(" ({})", has.join(", ")) };
            return Err(Error::input(format!(
                "{repository}: it has no safetensors weights, {only}{found}; look for a repository that has them, or save \
                 it with `transformers` (save_pretrained) and give the folder"
            )));
        }
        let mut small: Vec<&str> = OPTIONAL.iter().copied().filter(|file| there.contains(file)).collect();
        small.push(CONFIG);
        if self.cached.weights && !single {
            small.push(INDEX);
        }
        self.files(&small, "configuration and tokenizer")?;
        if !self.cached.weights {
            return Ok(());
        }
        if single {
            return self.files(&[WEIGHTS], "weights");
        }
        let shards = shards(&self.cached.folder(self.commit).join(INDEX))?;
        if let Some(shard) = shards.iter().find(|shard| !there.contains(shard.as_str())) {
            return Err(Error::input(format!("{repository}: {INDEX} names {shard}, which the repository lacks")));
        }
        self.files(&shards.iter().map(String::as_str).collect::<Vec<_>>(), "weights")
    }

    /// Those of `files` that the cache lacks.
    fn files(&self, files: &[&str], what: &str) -> Result<()> {
        let fail = |file: &str, failure| about_file(failure, self.environment, self.cached.repository, file);
        let folder = self.cached.folder(self.commit);
        let mut missing = Vec::new();
        for &file in files.iter().filter(|file| !folder.join(file).exists()) {
            // A link whose content is gone would be in the way.
            remove(&folder.join(file)).map_err(|e| fail(file, e))?;
            let metadata = self.client.api.metadata(&self.repo.url(file)).map_err(|e| fail(file, Failure::from(e)))?;
            if !self.link(file, &metadata).map_err(|e| fail(file, Failure::disk(e)))? {
                missing.push((file, metadata));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let size = DecimalBytes(missing.iter().map(|(_, metadata)| metadata.size() as u64).sum());
        let (host, repository, commit) = (self.environment.host(), self.cached.repository, short(self.commit));
        (self.report)(&format!("download {repository} from {host}, commit {commit}: {what}, {size}"));
        missing.iter().try_for_each(|(file, metadata)| self.file(file, metadata).map_err(|e| fail(file, e)))
    }

    /// Another commit's file with the same content is linked instead of downloaded.
    fn link(&self, file: &str, metadata: &Metadata) -> std::io::Result<bool> {
        let blob = self.cached.blob(metadata.etag());
        if !std::fs::metadata(&blob).is_ok_and(|found| found.len() == metadata.size() as u64) {
            return Ok(false);
        }
        let folder = self.cached.folder(self.commit);
        std::fs::create_dir_all(&folder)?;
        #[cfg(unix)]
        std::os::unix::fs::symlink(Path::new("../../blobs").join(metadata.etag()), folder.join(file))?;
        Ok(cfg!(unix))
    }

    /// One file, whole or not at all.
    fn file(&self, file: &str, metadata: &Metadata) -> Result<(), Failure> {
        let part = self.cached.blob(metadata.etag()).with_extension("part");
        let part_bytes = || std::fs::metadata(&part).map_or(0, |found| found.len());
        let mut pauses = PAUSES_SECS.iter();
        loop {
            // Another program may have finished it meanwhile.
            if self.cached.folder(self.commit).join(file).exists() {
                return Ok(());
            }
            let before = part_bytes();
            if before >= metadata.size() as u64 && before > 0 {
                // Nothing would be left to ask for. It was not renamed, so nobody vouches for it.
                remove(&part)?;
            }
            let failure = match self.attempt(file, metadata) {
                Ok(()) => return Ok(()),
                Err(failure @ Failure::Network(_)) => failure,
                Err(Failure::Busy) => {
                    (self.report)(&format!("note     another program is downloading {file}; waiting for it"));
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if part_bytes() > before + GOT_ON_WELL_BYTES {
                pauses = PAUSES_SECS.iter();
            }
            match pauses.next() {
                Some(&pause) => std::thread::sleep(Duration::from_secs(pause)),
                None => return Err(failure),
            }
        }
    }

    fn attempt(&self, file: &str, metadata: &Metadata) -> Result<(), Failure> {
        let bar = Bar::new();
        let result = self.repo.download_with_progress(file, bar.clone());
        bar.0.finish_and_clear();
        let path = result?;
        let found = std::fs::metadata(&path).map_err(Failure::disk)?.len();
        if found == metadata.size() as u64 {
            return Ok(());
        }
        // A connection that ended early and quietly.
        [&path, &self.cached.blob(metadata.etag())].into_iter().try_for_each(|path| remove(path))?;
        Err(Failure::Network(format!("{found} of {} bytes came", metadata.size())))
    }
}

/// Removes a file or a link, if it is there.
fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::disk(error)),
        _ => Ok(()),
    }
}

/// Name, bytes and speed of a download; nothing where standard error is not a terminal.
#[derive(Clone)]
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:28} {bytes}/{total_bytes}  {bytes_per_sec}  {msg}, {eta} left");
        Self(ProgressBar::new(0).with_style(style.expect("a valid template").progress_chars("━╸ ")))
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.0.set_length(size as u64);
        self.0.set_position(0);
        self.0.set_message(filename.to_owned());
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}
