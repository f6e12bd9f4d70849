//! As much of HTTP/1.1 as it takes to serve files: GET and HEAD over connections that stay open, each on a thread of its own,
//! so that none waits for another.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use httparse::{EMPTY_HEADER, Status};

/// Most bytes of what a browser says before it is answered.
const MOST_BYTES: usize = 32 << 10;
/// Most lines of it.
const MOST_LINES: usize = 100;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// What a browser asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The path, with what stands behind a question mark; `None` where it does not ask for a file.
    pub(super) path: Option<String>,
    /// Whether it understands brotli.
    pub(super) brotli: bool,
    /// Whether it wants the headers alone.
    head_alone: bool,
    /// Whether the connection ends with the answer.
    last: bool,
}

/// What it is told.
pub(super) struct Answer {
    /// Number and words.
    pub(super) status: &'static str,
    /// Names and values; the length is added.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// What follows; `None` is nothing.
    pub(super) file: Option<File>,
}

/// Answers everything that comes over a connection, until the other side has enough.
///
/// # Errors
/// The other side is gone.
pub(super) fn serve(mut stream: TcpStream, answer: impl Fn(&Asked) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut heard = Vec::new();
    while let Some(asked) = next(&mut stream, &mut heard)? {
        tell(&mut stream, answer(&asked), asked.head_alone, asked.last)?;
        if asked.last {
            break;
        }
    }
    Ok(())
}

/// The next request; `None` at the end. `heard` keeps what has come of those behind it.
fn next(stream: &mut impl Read, heard: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        if let Some((asked, used)) = parse(heard) {
            heard.drain(..used);
            return Ok(Some(asked));
        }
        let mut some = [0; 4096];
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Ok(None);
        }
        heard.extend_from_slice(&some[..count]);
    }
}

/// The request at the beginning of `heard` and its length; `None` if there is more of it to come.
fn parse(heard: &[u8]) -> Option<(Asked, usize)> {
    let mut lines = [EMPTY_HEADER; MOST_LINES];
    let mut request = httparse::Request::new(&mut lines);
    let used = match request.parse(heard) {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) if heard.len() <= MOST_BYTES => return None,
        // No request at all: what follows has no meaning either.
        _ => return Some((Asked { last: true, ..Asked::default() }, heard.len())),
    };
    let words = |name: &'static str| {
        let lines = request.headers.iter().filter(move |line| line.name.eq_ignore_ascii_case(name));
        let texts = lines.filter_map(|line| std::str::from_utf8(line.value).ok());
        texts.flat_map(|text| text.split([',', ';', ' '])).map(str::to_ascii_lowercase)
    };
    let method = request.method.unwrap_or_default();
    let path = request.path.filter(|_| ["GET", "HEAD"].contains(&method)).map(str::to_owned);
    let brings_more =
        words("content-length").any(|length| length != "0") || words("transfer-encoding").next().is_some();
    let asked = Asked {
        path,
        brotli: words("accept-encoding").any(|coding| coding == "br"),
        head_alone: method == "HEAD",
        last: request.version != Some(1) || brings_more || words("connection").any(|word| word == "close"),
    };
    Some((asked, used))
}

fn tell(stream: &mut impl Write, answer: Answer, head_alone: bool, last: bool) -> io::Result<()> {
    let length = answer.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|about| about.len()))?;
    let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += if last { "Connection: close\r\n\r\n" } else { "\r\n" };
    stream.write_all(head.as_bytes())?;
    if let Some(file) = answer.file.filter(|_| !head_alone) {
        // No more than was promised, should it grow meanwhile.
        io::copy(&mut file.take(length), stream)?;
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_in_pieces_and_one_behind_the_other() {
        let two = b"GET /a?b HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br;q=1\r\n\r\nHEAD /c HTTP/1.1\r\nConnection: Close\r\n\r\n";
        let mut pieces = &two[..];
        let mut heard = Vec::new();
        let mut read = || next(&mut pieces, &mut heard).expect("bytes");
        let first = read().expect("a request");
        assert_eq!(first, Asked { path: Some("/a?b".into()), brotli: true, head_alone: false, last: false });
        let second = read().expect("a request");
        assert_eq!(second, Asked { path: Some("/c".into()), brotli: false, head_alone: true, last: true });
        assert_eq!(read(), None);
        for cut in 1..two.len() / 2 {
            assert!(parse(&two[..cut]).is_none(), "{cut} bytes are no request yet");
        }
    }

    #[test]
    fn what_is_no_request_for_a_file_is_told_so_and_ends_the_connection() {
        let nonsense = [&b"\0\x01\x02\r\n\r\n"[..], &[b'a'; MOST_BYTES + 1], b"GET / HTTP/1.0\r\n\r\n"];
        assert!(nonsense.iter().all(|bytes| parse(bytes).is_some_and(|(asked, _)| asked.last)));
        let post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(parse(post).map(|(asked, _)| asked), Some(Asked { last: true, ..Asked::default() }));
    }

    #[test]
    fn headers_come_before_what_they_promise() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a"), "text").expect("a file");
        let told = |head_alone, last| {
            let file = File::open(folder.path().join("a")).ok();
            let mut text = Vec::new();
            let answer = Answer { status: "200 OK", headers: vec![("A", "b")], file };
            tell(&mut text, answer, head_alone, last).expect("room");
            String::from_utf8(text).expect("UTF-8")
        };
        assert_eq!(told(false, false), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nA: b\r\n\r\ntext");
        assert_eq!(told(true, true), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nA: b\r\nConnection: close\r\n\r\n");
    }
}
