//! `agoge serve-web`: the page on this machine, for a browser on this machine.

mod connection;

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::{Component, Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    thread::Builder,
    time::Duration,
};

use clap::Args;
use connection::{Answer, Asked};

use super::signals;
use crate::{Error, Result};

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `agoge serve-web`.
#[derive(Debug, Args)]
pub(super) struct ServeWeb {
    /// Folder with the page that web/build.sh has made
    #[arg(long, value_name = "FOLDER", default_value = "web/dist")]
    dir: PathBuf,
    /// Port; 0 takes any that is free
    #[arg(long, default_value_t = 8017)]
    port: u16,
}

impl ServeWeb {
    pub(super) fn run(self) -> Result<ExitCode> {
        if !self.dir.join("index.html").is_file() {
            return Err(Error::input(format!(
                "--dir {}: there is no page in this folder (no index.html); build it with web/build.sh first",
                self.dir.display()
            )));
        }
        let refusal =
            |e| Error::input(format!("--port {}: the page cannot be served there ({e}); give another port", self.port));
        // Only this machine: a page of this kind has no business with others.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).map_err(refusal)?;
        let address = listener.local_addr().map_err(refusal)?;
        println!("http://{address}/  (Ctrl-C ends)");
        let stop = signals::stop_flag();
        let listening = spawn(move || accept(&listener, &self.dir))?;
        while !stop.load(Ordering::Relaxed) && !listening.is_finished() {
            std::thread::sleep(LOOK);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Gives every connection a thread. Browsers keep connections open: threads that serve several would let others wait.
fn accept(listener: &TcpListener, dir: &Path) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Too many open files, as a rule: some will be closed.
            std::thread::sleep(LOOK);
            continue;
        };
        let dir = dir.to_path_buf();
        // Neither a browser that has gone away nor one that finds no room gets an answer.
        let _ = spawn(move || {
            let _ = connection::serve(stream, |asked| answer(asked, &dir));
        });
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let thread = Builder::new().name("agoge serve-web".into());
    thread.spawn(work).map_err(|e| Error::Run(format!("the system has no room for a thread: {e}")))
}

fn answer(asked: &Asked, dir: &Path) -> Answer {
    let path = asked.path.as_deref().and_then(|path| place(dir, path));
    let found = path.and_then(|path| Some((open(&path, asked.brotli)?, path)));
    let Some(((file, coding), path)) = found else {
        return Answer { status: "404 Not Found", headers: headers("text/plain", None), file: None };
    };
    Answer { status: "200 OK", headers: headers(kind(&path), coding), file: Some(file) }
}

/// The file that a URL means; nothing outside of the folder.
fn place(dir: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| dir.join(path))
}

/// The file, or its compressed twin where that is there and understood.
fn open(path: &Path, brotli: bool) -> Option<(File, Option<&'static str>)> {
    let twin = PathBuf::from(format!("{}.br", path.display()));
    if brotli && let Ok(file) = File::open(twin) {
        return Some((file, Some("br")));
    }
    path.is_file().then(|| File::open(path).ok()).flatten().map(|file| (file, None))
}

/// What browsers call this kind of file.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("json" | "jsonl") => "application/json",
        _ => "application/octet-stream",
    }
}

fn headers(kind: &'static str, coding: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![
        ("Content-Type", kind),
        ("Vary", "Accept-Encoding"),
        // A page that was built anew is seen at once.
        ("Cache-Control", "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
        ("Referrer-Policy", "no-referrer"),
    ];
    headers.extend(coding.map(|coding| ("Content-Encoding", coding)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_stay_in_the_folder() {
        let dir = Path::new("dist");
        assert_eq!(place(dir, "/"), Some("dist/index.html".into()));
        assert_eq!(place(dir, "/recorded/config.json?x=1"), Some("dist/recorded/config.json".into()));
        for outside in ["/../secret", "//etc/passwd/../../x", "/a/../../b", "/./.."] {
            assert!(
                place(dir, outside)
                    .is_none_or(|path| path.starts_with("dist") && !path.display().to_string().contains("..")),
                "{outside}"
            );
        }
    }

    #[test]
    fn connections_that_stay_open_let_no_other_wait() {
        use std::{
            io::{Read, Write},
            net::TcpStream,
        };
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("index.html"), "the page").expect("a file");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let dir = folder.path().to_path_buf();
        spawn(move || accept(&listener, &dir)).expect("a thread");
        let mut open: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).expect("a connection")).collect();
        for _ in 0..2 {
            for stream in &mut open {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
            }
            for stream in &mut open {
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
                let mut answer = Vec::new();
                while !answer.ends_with(b"the page") {
                    let mut some = [0; 1024];
                    let count = stream.read(&mut some).expect("an answer");
                    assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
                    answer.extend_from_slice(&some[..count]);
                }
            }
        }
    }
}
