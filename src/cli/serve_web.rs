//! `agoge serve-web`: the page on this machine, for a browser on this machine.

use std::{
    fs::File,
    path::{Component, Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    time::Duration,
};

use clap::Args;
use tiny_http::{Header, Method, Request, Response, Server};

use super::signals;
use crate::{Error, Result};

/// How often it looks whether it was told to end.
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
        // Only this machine: a page of this kind has no business with others.
        let server = Server::http(("127.0.0.1", self.port)).map_err(|e| {
            Error::input(format!("--port {}: the page cannot be served there ({e}); give another port", self.port))
        })?;
        let address = server.server_addr().to_ip().map_or_else(String::new, |address| address.to_string());
        println!("http://{address}/  (Ctrl-C ends)");
        let stop = signals::stop_flag();
        while !stop.load(Ordering::Relaxed) {
            let request = server.recv_timeout(LOOK).map_err(|e| Error::Run(format!("the server failed: {e}")))?;
            if let Some(request) = request {
                // A browser that takes its time over a large file keeps no other request waiting.
                let dir = self.dir.clone();
                std::thread::spawn(move || answer(request, &dir));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Answers one request. A browser that has gone away hears nothing.
fn answer(request: Request, dir: &Path) {
    let accepts = |word: &str| {
        let mut headers = request.headers().iter().filter(|header| header.field.equiv("Accept-Encoding"));
        headers.any(|header| header.value.as_str().split([',', ';', ' ']).any(|coding| coding == word))
    };
    let found = matches!(request.method(), Method::Get | Method::Head)
        .then(|| place(dir, request.url()))
        .flatten()
        .and_then(|path| Some((open(&path, accepts("br"))?, path)));
    let _ = match found {
        None => {
            request.respond(with_headers(Response::from_string("not found").with_status_code(404), "text/plain", None))
        }
        Some(((file, coding), path)) => {
            let kind = kind(&path);
            request.respond(with_headers(Response::from_file(file), kind, coding))
        }
    };
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

fn with_headers<R: std::io::Read>(response: Response<R>, kind: &str, coding: Option<&str>) -> Response<R> {
    let headers = [
        ("Content-Type", Some(kind)),
        ("Content-Encoding", coding),
        ("Vary", Some("Accept-Encoding")),
        // A page that was built anew is seen at once.
        ("Cache-Control", Some("no-cache")),
        ("X-Content-Type-Options", Some("nosniff")),
        ("Cross-Origin-Opener-Policy", Some("same-origin")),
        ("Cross-Origin-Embedder-Policy", Some("require-corp")),
        ("Referrer-Policy", Some("no-referrer")),
    ];
    headers.into_iter().fold(response, |response, (name, value)| {
        let header = value.and_then(|value| Header::from_bytes(name, value).ok());
        match header {
            Some(header) => response.with_header(header),
            None => response,
        }
    })
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
}
