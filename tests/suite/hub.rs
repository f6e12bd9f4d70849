//! Models by name: the real program against a server that plays the Hugging Face hub.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use agoge::{
    files,
    model::{save::cast, weights::Weights},
};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::{
    fake_hub::{FakeHub, Files, GOOD_TOKEN, Repository, broken_content_server, etag, files_of, hash},
    fixture::{TestFolder, program, read, read_text},
};

/// Everything in the environment that leads to a hub, a cache, a token or a proxy.
const VARIABLES: &[&str] = &[
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// A workplace whose model is on a hub as `org/tiny`, and an empty cache.
struct Place {
    work: TestFolder,
    hub: Option<FakeHub>,
    endpoint: String,
}

impl Place {
    fn new() -> Self {
        let (work, hub) = (TestFolder::new(), FakeHub::new());
        hub.put_files("org/tiny", 'a', files_of(&work.path("model")));
        let endpoint = hub.url.clone();
        Self { work, hub: Some(hub), endpoint }
    }

    fn hub(&self) -> &FakeHub {
        self.hub.as_ref().expect("the server runs")
    }

    fn files(&self) -> Files {
        files_of(&self.work.path("model"))
    }

    /// A path in the cache of a repository.
    fn cache(&self, repository: &str, path: &str) -> PathBuf {
        self.work.path("home/hub").join(format!("models--{}", repository.replace('/', "--"))).join(path)
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let mut program = program(&line.split_whitespace().collect::<Vec<_>>());
        for name in VARIABLES {
            program.env_remove(name);
        }
        let home = self.work.path("home");
        program.env("HF_HOME", home).env("HF_ENDPOINT", &self.endpoint).envs(variables.iter().copied());
        program.current_dir(self.work.path("")).output().expect("the program")
    }

    /// Runs what must succeed; standard output and standard error.
    fn say(&self, line: &str, variables: &[(&str, &str)]) -> (String, String) {
        let output = self.run(line, variables);
        let (said, told) =
            (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8(output.stderr).expect("UTF-8"));
        assert!(output.status.success(), "agoge {line}: {told}");
        (said, told)
    }

    /// Runs what must fail with one sentence that has all `words`.
    fn refuse(&self, line: &str, variables: &[(&str, &str)], words: &[&str]) {
        let output = self.run(line, variables);
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        println!("agoge {line}\n{told}");
        assert_eq!(output.status.code(), Some(1), "agoge {line}: {told}");
        assert_eq!(told.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{told}");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in: {told}");
        }
    }

    fn fingerprint(&self, model: &str, variables: &[(&str, &str)]) -> String {
        let (said, _) = self.say(&format!("inspect {model} --json"), variables);
        let facts: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(facts["chat_template"], json!(false), "the tokenizer is there");
        facts["fingerprint"].as_str().expect("a fingerprint").to_owned()
    }
}

const OFFLINE: (&str, &str) = ("HF_HUB_OFFLINE", "1");

/// The tiny model with one changed weight, as the bytes of its file.
fn other_weights(files: &Files) -> Vec<u8> {
    let mut bytes = files["model.safetensors"].clone();
    *bytes.last_mut().expect("weights") ^= 1;
    bytes
}

#[test]
fn a_model_by_name_is_fetched_once() {
    let mut place = Place::new();
    let own = place.fingerprint("model", &[]);
    assert!(place.hub().log().is_empty(), "a folder needs no hub");

    let (said, told) = place.say("inspect org/tiny", &[]);
    assert!(told.contains("download org/tiny from 127.0.0.1") && told.contains("commit aaaaaaa"), "{told}");
    assert!(said.contains(&own[..16]), "{said}");
    let log = place.hub().log();
    assert!(log.iter().any(|line| line.contains("/content/") && line.ends_with("bytes=0-")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("generation_config")), "only what the repository has: {log:?}");

    // The layout of Python's cache: a branch, links, contents by their tags.
    let commit = hash('a');
    assert_eq!(read_text(&place.cache("org/tiny", "refs/main")), commit);
    assert_eq!(std::fs::read_dir(place.cache("org/tiny", "refs")).expect("refs").count(), 1);
    for (name, bytes) in place.files() {
        let linked = place.cache("org/tiny", &format!("snapshots/{commit}/{name}"));
        assert_eq!(read(&linked), bytes, "{name}");
        let blob = place.cache("org/tiny", &format!("blobs/{}", etag(&name, &bytes)));
        assert_eq!(linked.canonicalize().expect("a file"), blob.canonicalize().expect("a file"));
    }

    // Again: one question, no download. Without questions, and without a server, the cache will do.
    let (_, told) = place.say("inspect org/tiny", &[]);
    assert_eq!(told, "");
    assert_eq!(place.hub().log(), ["GET /api/models/org/tiny/revision/main"]);
    assert_eq!(place.fingerprint("org/tiny", &[OFFLINE]), own);
    assert_eq!(place.fingerprint("org/tiny", &[("TRANSFORMERS_OFFLINE", "true")]), own);
    assert_eq!(place.fingerprint(&format!("org/tiny@{commit}"), &[]), own);
    assert_eq!(place.hub().log(), [""; 0], "a whole commit in the cache is never asked for");
    place.hub = None;
    let (said, told) = place.say("generate --device cpu --model org/tiny --prompt a --max-tokens 3 --quiet", &[]);
    assert!(
        said.starts_with('a') && told.contains("cannot reach 127.0.0.1") && told.contains("from the cache"),
        "{told}"
    );

    // What the cache does not have needs the hub.
    place.refuse("inspect org/other", &[], &["org/other", "cannot reach 127.0.0.1", "network"]);
    place.refuse("inspect org/other", &[OFFLINE], &["org/other", "HF_HUB_OFFLINE", "home/hub", "network"]);
    std::fs::remove_file(place.cache("org/tiny", &format!("snapshots/{commit}/model.safetensors"))).expect("a link");
    place.refuse("inspect org/tiny", &[OFFLINE], &["no model.safetensors of revision main"]);
    place.refuse(&format!("inspect org/tiny@{commit}"), &[OFFLINE], &["no model.safetensors of revision aaaa"]);
}

#[test]
fn names_that_are_no_repository() {
    let place = Place::new();
    let train = "train --device cpu --data data --out run --model";
    for command in ["inspect", "generate --device cpu --prompt a --model", train] {
        place.refuse(
            &format!("{command} org/nothing"),
            &[],
            &["org/nothing", "no such folder here", "127.0.0.1", "spelling"],
        );
    }
    place.refuse("inspect org/nothing", &[("HF_TOKEN", "hf_mine")], &["no such folder here", "token of HF_TOKEN"]);
    place.refuse("inspect org/tiny@nothing", &[], &["org/tiny", "no revision \"nothing\"", "a tag or a commit"]);
    place.hub().log();
    // These are paths, and nobody is asked about them.
    for path in ["nothing", "./org/nothing", "a/b/c"] {
        place.refuse(&format!("inspect {path}"), &[], &[path, "there is no such folder"]);
    }
    // A folder of that name wins.
    std::fs::create_dir(place.work.path("org")).expect("a folder");
    std::fs::rename(place.work.path("model"), place.work.path("org/tiny")).expect("a folder");
    place.say("inspect org/tiny", &[]);
    place.refuse(
        "generate --device cpu --model org/tiny --revision main --prompt a",
        &[],
        &["--revision main", "path on this machine"],
    );
    assert_eq!(place.hub().log(), [""; 0]);
}

#[test]
fn gated_repositories_need_a_token_that_opens_them() {
    let place = Place::new();
    let commit = hash('c');
    let gated = Repository {
        gated: true,
        heads: [("main".into(), commit.clone())].into(),
        commits: [(commit, place.files())].into(),
        ..Repository::default()
    };
    place.hub().put("org/gated", gated);
    place.refuse("inspect org/gated", &[], &["gated", "licence", &format!("{}/org/gated", place.endpoint), "HF_TOKEN"]);
    place.refuse("inspect org/gated", &[("HF_TOKEN", "hf_bad")], &["token of HF_TOKEN does not open it", "licence"]);
    assert!(!place.cache("org/gated", "refs/main").exists());
    assert!(!place.run("inspect org/gated", &[("HF_TOKEN", "hf bad")]).status.success(), "not a token");
    let own = place.fingerprint("model", &[]);
    assert_eq!(place.fingerprint("org/gated", &[("HUGGING_FACE_HUB_TOKEN", GOOD_TOKEN)]), own);
    // The file that `hf auth login` writes.
    std::fs::remove_dir_all(place.work.path("home")).expect("the cache");
    place.work.write("home/token", &format!("{GOOD_TOKEN}\n"));
    assert_eq!(place.fingerprint("org/gated", &[]), own);
}

#[test]
fn revisions_are_pinned_and_recorded() {
    let mut place = Place::new();
    let (first, second) = (hash('a'), hash('b'));
    let mut changed = place.files();
    changed.insert("model.safetensors".into(), other_weights(&changed));
    let heads = [("main", &first), ("v2", &second), ("refs/pr/1", &second)];
    let repository = Repository {
        heads: heads.map(|(name, commit)| (name.to_owned(), commit.clone())).into(),
        commits: [(first.clone(), place.files()), (second.clone(), changed.clone())].into(),
        ..Repository::default()
    };
    place.hub().put("org/tiny", repository.clone());
    let (old, new) = (place.fingerprint("org/tiny", &[]), place.fingerprint("org/tiny@v2", &[]));
    assert_ne!(old, new);
    assert_eq!(place.fingerprint(&format!("org/tiny@{second}"), &[]), new);
    assert_eq!(place.fingerprint("org/tiny@refs/pr/1", &[]), new);
    assert_eq!(place.fingerprint("org/tiny@v2", &[OFFLINE]), new);
    assert_eq!(place.fingerprint("org/tiny", &[OFFLINE]), old);
    place.refuse(
        "generate --device cpu --model org/tiny@v2 --revision main --prompt a",
        &[],
        &["--revision main", "names another revision", "once"],
    );

    // A run records the commit, whatever the branch means later, and needs no hub to go on.
    let train =
        "train --quiet --device cpu --model org/tiny --revision v2 --data data --out run --steps 2 --density 0.1";
    let (_, told) = place.say(train, &[]);
    assert_eq!(told, "");
    let settings: Value = serde_json::from_str(&read_text(&place.work.path("run/config.json"))).expect("JSON");
    assert_eq!((&settings["model"], &settings["revision"]), (&json!("org/tiny"), &json!(second)));
    let adapter: Value = serde_json::from_str(&read_text(&place.work.path("run/adapter.json"))).expect("JSON");
    assert_eq!(adapter["base_model"]["name"], json!("org/tiny"));
    assert_eq!(adapter["base_model"]["fingerprint"], json!(new));
    place.say("merge --device cpu --model org/tiny@v2 --adapter run --out merged", &[]);
    assert!(place.work.path("merged/tokenizer.json").exists());
    place.refuse("merge --device cpu --model org/tiny --adapter run --out other", &[], &["another model"]);
    place.hub = None;
    place.say("train --quiet --resume run --steps 4", &[]);

    // A branch that moves is followed, and weights that stay the same are not downloaded again.
    let hub = FakeHub::new();
    let mut moved = repository;
    let third = hash('d');
    let mut files = place.files();
    files.insert("generation_config.json".into(), b"{\"eos_token_id\": 2}".to_vec());
    moved.commits.insert(third.clone(), files);
    moved.heads.insert("main".into(), third.clone());
    hub.put("org/tiny", moved);
    place.endpoint.clone_from(&hub.url);
    assert_eq!(place.fingerprint("org/tiny", &[]), old);
    assert_eq!(read_text(&place.cache("org/tiny", "refs/main")), third);
    assert!(place.cache("org/tiny", &format!("snapshots/{third}/generation_config.json")).exists());
    if cfg!(unix) {
        let log = hub.log();
        let large = log.iter().filter(|line| line.contains("/content/") && !line.ends_with("bytes=0-0"));
        assert_eq!(large.count(), 0, "{log:?}");
    }
}

#[test]
fn a_renamed_repository_is_followed() {
    let place = Place::new();
    place.hub().put("old/tiny", Repository { renamed: Some("org/tiny".into()), ..Repository::default() });
    assert_eq!(place.fingerprint("old/tiny", &[]), place.fingerprint("model", &[]));
}

#[test]
fn broken_downloads_are_never_taken_for_whole() {
    for announced in [true, false] {
        let place = Place::new();
        let weights = place.files()["model.safetensors"].clone();
        place.hub().content_from(Some(broken_content_server(weights.clone(), announced)));
        place.refuse("inspect org/tiny", &[], &["org/tiny", "model.safetensors", "broke off", "continues"]);
        let linked = place.cache("org/tiny", &format!("snapshots/{}/model.safetensors", hash('a')));
        let blob = place.cache("org/tiny", &format!("blobs/{}", etag("model.safetensors", &weights)));
        assert!(std::fs::symlink_metadata(&linked).is_err() && !blob.exists(), "announced: {announced}");
        assert!(!place.cache("org/tiny", "refs/main").exists(), "the branch is not there yet");
        place.refuse("inspect org/tiny", &[OFFLINE], &["org/tiny", "HF_HUB_OFFLINE", "no files of revision main"]);
        let part = std::fs::metadata(blob.with_extension("part")).map_or(0, |meta| meta.len());

        // With a better connection the rest is fetched, and only the rest.
        place.hub().content_from(None);
        place.hub().log();
        assert_eq!(place.fingerprint("org/tiny", &[]), place.fingerprint("model", &[]));
        assert_eq!(read(&linked), weights);
        let log = place.hub().log();
        assert!(log.iter().any(|line| line.ends_with(&format!("bytes={part}-"))), "{part} {log:?}");
        assert_eq!(announced, part > weights.len() as u64 / 2, "what was announced is resumed");
    }
}

#[test]
fn a_part_that_nobody_vouches_for_is_fetched_again() {
    let place = Place::new();
    let weights = place.files()["model.safetensors"].clone();
    let blob = place.cache("org/tiny", &format!("blobs/{}", etag("model.safetensors", &weights)));
    std::fs::create_dir_all(blob.parent().expect("blobs")).expect("a folder");
    std::fs::write(blob.with_extension("part"), vec![0; weights.len()]).expect("a part");
    assert_eq!(place.fingerprint("org/tiny", &[]), place.fingerprint("model", &[]));
    assert_eq!(read(&blob), weights);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let place = Place::new();
    let blob =
        place.cache("org/tiny", &format!("blobs/{}", etag("model.safetensors", &place.files()["model.safetensors"])));
    std::fs::create_dir_all(blob.parent().expect("blobs")).expect("a folder");
    std::os::unix::fs::symlink("/dev/full", blob.with_extension("part")).expect("a link");
    place.refuse("inspect org/tiny", &[], &["disk is full", "model.safetensors", "home/hub", "HF_HOME"]);
}

#[test]
fn repositories_without_safetensors_are_refused_before_any_download() {
    let place = Place::new();
    let mut files = place.files();
    let weights = files.remove("model.safetensors").expect("weights");
    files.insert("pytorch_model.bin".into(), weights);
    place.hub().put_files("org/pickled", 'e', files.clone());
    place.refuse("inspect org/pickled", &[], &["org/pickled", "no safetensors weights", "(.bin)", "save_pretrained"]);
    files.remove("config.json");
    place.hub().put_files("org/pickled", 'e', files.clone());
    place.refuse("inspect org/pickled", &[], &["org/pickled", "no config.json"]);
    assert!(!place.cache("org/pickled", "blobs").exists());
    // Without need of weights there is nothing to refuse.
    files.insert("config.json".into(), place.files()["config.json"].clone());
    place.hub().put_files("org/pickled", 'f', files);
    place.say(
        "train --quiet --device cpu --init random --model org/pickled --data data --out run --steps 2 --density 0.1",
        &[],
    );
}

/// The tensors of the tiny model in two files with an index.
fn sharded(folder: &Path) -> Files {
    let weights = Weights::open(folder).expect("weights");
    let names: Vec<&str> = weights.names().collect();
    let mut files = files_of(folder);
    files.remove("model.safetensors");
    let mut map = serde_json::Map::new();
    for (at, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", at + 1);
        let tensors: Vec<_> = names
            .iter()
            .map(|name| (*name, cast(&weights.floats(name).expect("values"), Dtype::F32).expect("bytes")))
            .collect();
        let tensors = tensors.iter().map(|(name, bytes)| {
            map.insert((*name).to_owned(), file.clone().into());
            ((*name).to_owned(), Dtype::F32, weights.dims(name).expect("a shape").to_vec(), &bytes[..])
        });
        let bytes = files::safetensors(tensors, &[]).expect("bytes");
        files.insert(file, bytes);
    }
    files.insert("model.safetensors.index.json".into(), json!({ "weight_map": map }).to_string().into_bytes());
    files
}

#[test]
fn weights_in_several_files() {
    let place = Place::new();
    let mut files = sharded(&place.work.path("model"));
    place.hub().put_files("org/sharded", '1', files.clone());
    let generate = "generate --device cpu --prompt ab --max-tokens 8 --quiet --model";
    let (said, told) = place.say(&format!("{generate} org/sharded"), &[]);
    assert!(told.contains("download org/sharded"), "{told}");
    assert_eq!(said, place.say(&format!("{generate} model"), &[]).0);
    assert_eq!(said, place.say(&format!("{generate} org/sharded"), &[OFFLINE]).0);
    let last = "model-00002-of-00002.safetensors";
    std::fs::remove_file(place.cache("org/sharded", &format!("snapshots/{}/{last}", hash('1')))).expect("a shard");
    place.refuse(&format!("{generate} org/sharded"), &[OFFLINE], &[last]);

    files.remove(last);
    place.hub().put_files("org/sharded", '2', files.clone());
    place.refuse("inspect org/sharded", &[], &[last, "lacks"]);
    let index = json!({"weight_map": {"a": "../../../escape.safetensors"}}).to_string().into_bytes();
    files.insert("model.safetensors.index.json".into(), index);
    place.hub().put_files("org/sharded", '3', files);
    place.refuse("inspect org/sharded", &[], &["not a safetensors index"]);
}

#[test]
fn an_estimate_fetches_no_weights() {
    let place = Place::new();
    let line = "estimate --model org/tiny --data data --device cpu --json";
    let (said, _) = place.say(line, &[]);
    let told: Value = serde_json::from_str(&said).expect("JSON");
    assert!(told["estimate"]["total_bytes"].as_u64() > Some(4 * 17_664), "{told}");
    let log = place.hub().log();
    assert!(!log.is_empty() && log.iter().all(|request| !request.contains("safetensors")), "{log:?}");
    assert_eq!(place.say(line, &[OFFLINE]).0, said);
}
