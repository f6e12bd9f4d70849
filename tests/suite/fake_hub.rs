//! A small server that plays the Hugging Face hub: repositories with revisions, gates, redirects to a content server,
//! ranges; and a content server that hangs up in the middle.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use serde_json::json;
use tiny_http::{Header, Request, Response, Server};

/// The one token that opens gated repositories.
pub const GOOD_TOKEN: &str = "hf_good";

/// Contents by file name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// One repository: what its revisions mean, and the files of its commits.
#[derive(Clone, Default)]
pub struct Repository {
    pub gated: bool,
    /// Commits by branch or tag.
    pub heads: BTreeMap<String, String>,
    pub commits: BTreeMap<String, Files>,
    /// The name it has now, where it was renamed.
    pub renamed: Option<String>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    log: Vec<String>,
    /// Where large files are, if not on this server.
    content: Option<String>,
}

/// The server. It stops when it is dropped.
pub struct FakeHub {
    pub url: String,
    server: Arc<Server>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeHub {
    pub fn new() -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a server"));
        let url = format!("http://{}", server.server_addr().to_ip().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let thread = {
            let (server, state, url) = (server.clone(), state.clone(), url.clone());
            std::thread::spawn(move || {
                for request in server.incoming_requests() {
                    answer(request, &mut state.lock().expect("the state"), &url);
                }
            })
        };
        Self { url, server, state, thread: Some(thread) }
    }

    /// Adds or replaces a repository.
    pub fn put(&self, name: &str, repository: Repository) {
        self.state.lock().expect("the state").repositories.insert(name.into(), repository);
    }

    /// A repository with one commit on `main`, whose hash is the digit `commit` forty times.
    pub fn put_files(&self, name: &str, commit: char, files: Files) {
        let hash = hash(commit);
        self.put(
            name,
            Repository {
                heads: [("main".into(), hash.clone())].into(),
                commits: [(hash, files)].into(),
                ..Repository::default()
            },
        );
    }

    /// Large files come from this address from now on.
    pub fn content_from(&self, url: Option<String>) {
        self.state.lock().expect("the state").content = url;
    }

    /// The requests since the last call, as "METHOD path range".
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("the state").log)
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.server.unblock();
        self.thread.take().map(JoinHandle::join);
    }
}

/// A commit hash.
pub fn hash(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// The files of a folder.
pub fn files_of(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into(), std::fs::read(&path).expect("a file")))
        .collect()
}

/// The entity tag of a content, as the hub gives it: by content, longer for large files.
pub fn etag(name: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex().to_string();
    if is_large(name) { hash } else { hash[..40].to_owned() }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("a header")
}

fn value(request: &Request, name: &'static str) -> Option<String> {
    let found = request.headers().iter().find(|header| header.field.equiv(name))?;
    Some(found.value.to_string())
}

fn refuse(request: Request, status: u16, code: &str) {
    let body = json!({"error": code}).to_string();
    let response = Response::from_string(body).with_status_code(status).with_header(header("X-Error-Code", code));
    request.respond(response).expect("an answer");
}

fn redirect(request: Request, location: &str, headers: Vec<Header>) {
    let mut response = Response::empty(302).with_header(header("Location", location));
    headers.into_iter().for_each(|header| response.add_header(header));
    request.respond(response).expect("an answer");
}

/// The bytes from the one that the request asks for to the last that it asks for.
fn range(asked: Option<&str>, size: usize) -> (usize, usize) {
    let asked = asked.and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let (from, to) = asked.unwrap_or(("0", ""));
    (from.parse().expect("a number"), to.parse::<usize>().map_or(size, |to| to + 1))
}

fn send(request: Request, bytes: &[u8], headers: Vec<Header>) {
    let asked = value(&request, "Range");
    let (from, to) = range(asked.as_deref(), bytes.len());
    if from >= bytes.len() {
        return refuse(request, 416, "RangeNotSatisfiable");
    }
    let mut response = Response::from_data(&bytes[from..to]).with_chunked_threshold(usize::MAX);
    if asked.is_some() {
        let content = format!("bytes {from}-{}/{}", to - 1, bytes.len());
        response = response.with_status_code(206).with_header(header("Content-Range", &content));
    }
    headers.into_iter().for_each(|header| response.add_header(header));
    // A client that goes away in the middle is a case, not a fault.
    let _ = request.respond(response);
}

fn answer(request: Request, state: &mut State, own_url: &str) {
    let url = request.url().to_owned();
    let asked = value(&request, "Range").unwrap_or_default();
    state.log.push(format!("{} {url} {asked}", request.method()).trim_end().to_owned());
    let token = value(&request, "Authorization");
    let parts: Vec<&str> = url.trim_start_matches('/').split('/').collect();
    let no_repository = if token.is_some() { 404 } else { 401 };
    let (name, rest) = match parts[..] {
        ["api", "models", owner, name, "revision", ..] => (format!("{owner}/{name}"), &parts[5..]),
        [owner, name, "resolve", ..] => (format!("{owner}/{name}"), &parts[3..]),
        ["content", ref tag @ ..] => {
            let files = state.repositories.values().flat_map(|repository| repository.commits.values()).flatten();
            let found = files.into_iter().find(|(name, bytes)| tag == [etag(name, bytes)]);
            let bytes = found.map(|(_, bytes)| bytes.clone()).expect("an address that was given out");
            return send(request, &bytes, Vec::new());
        }
        _ => return refuse(request, 404, "NotFound"),
    };
    let Some(repository) = state.repositories.get(&name) else {
        return refuse(request, no_repository, "RepoNotFound");
    };
    if let Some(now) = &repository.renamed {
        return redirect(request, &url.replacen(&name, now, 1), Vec::new());
    }
    let revision = rest[0].replace("%2F", "/");
    let commit = repository.heads.get(&revision).unwrap_or(&revision);
    let Some(files) = repository.commits.get(commit) else {
        return refuse(request, 404, "RevisionNotFound");
    };
    if parts[0] == "api" {
        let siblings: Vec<_> = files.keys().map(|name| json!({"rfilename": name})).collect();
        let body = json!({"id": name, "sha": commit, "siblings": siblings, "gated": repository.gated}).to_string();
        return request.respond(Response::from_string(body)).expect("an answer");
    }
    match token.as_deref().and_then(|token| token.strip_prefix("Bearer ")) {
        Some(GOOD_TOKEN) => {}
        Some(_) if repository.gated => return refuse(request, 403, "GatedRepo"),
        None if repository.gated => return refuse(request, 401, "GatedRepo"),
        _ => {}
    }
    let file = rest[1];
    let Some(bytes) = files.get(file) else { return refuse(request, 404, "EntryNotFound") };
    let tag = etag(file, bytes);
    let mut headers = vec![header("X-Repo-Commit", commit)];
    if is_large(file) {
        headers.push(header("X-Linked-Etag", &format!("\"{tag}\"")));
        let host = state.content.as_deref().unwrap_or(own_url);
        return redirect(request, &format!("{host}/content/{tag}"), headers);
    }
    headers.push(header("ETag", &format!("\"{tag}\"")));
    let bytes = bytes.clone();
    send(request, &bytes, headers);
}

/// Starts a content server for one file that sends half of what is asked for and hangs up; where `announced`, it has
/// told the whole length before. It runs until the tests end.
pub fn broken_content_server(bytes: Vec<u8>, announced: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The client may hang up first.
            let _ = stream.and_then(|stream| send_half(stream, &bytes, announced));
        }
    });
    url
}

fn send_half(mut stream: TcpStream, bytes: &[u8], announced: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let asked = head.lines().find_map(|line| line.strip_prefix("range: "));
    let (from, to) = range(asked, bytes.len());
    let whole = to - from;
    let sent = if whole == 1 { 1 } else { whole / 2 };
    let length = if announced { format!("Content-Length: {whole}\r\n") } else { String::new() };
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\n{length}Content-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
        to - 1,
        bytes.len()
    )?;
    stream.write_all(&bytes[from..from + sent])?;
    stream.flush()
}
