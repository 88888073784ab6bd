//! A small HTTP client that sends exactly the headers it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The values of all headers of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter();
        let found = headers.filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of an answer with this status.
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The kind of a problem, which must have a hint.
    pub(crate) fn problem(&self, status: u16) -> String {
        let body = self.json(status);
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{body}");
        assert_eq!(body["status"], status, "{body}");
        let hints = body["hints"].as_array().unwrap();
        assert!(!hints.is_empty(), "no hint: {body}");
        let name = body["type"].as_str().unwrap();
        name.strip_prefix("urn:ingest:").unwrap().to_owned()
    }
}

/// A connection whose request has been sent.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Sends the head of a request and what there is of its body.
    pub(crate) fn open(
        address: &str,
        (method, target): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let has = |name: &str| headers.iter().any(|(h, _)| h.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !has("host") {
            head += &format!("Host: {address}\r\n");
        }
        if !has("connection") {
            head += "Connection: close\r\n";
        }
        if method != "GET" && !has("content-length") && !has("transfer-encoding") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        // A server that refuses a body may close the connection before it has all of it.
        let _ = stream.write_all(body);
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// One line of the answer, without its end; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// Reads the answer.
    pub(crate) fn answer(mut self) -> Answer {
        let first = self.line().expect("the server closed the connection");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let is_chunked = headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked"
        });
        let mut body = Vec::new();
        match is_chunked {
            true => self.chunks(&mut body),
            false => drop(self.stream.read_to_end(&mut body)),
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) {
        while let Some(line) = self.line() {
            let length = usize::from_str_radix(&line, 16).unwrap();
            let start = body.len();
            body.resize(start + length, 0);
            self.stream.read_exact(&mut body[start..]).unwrap();
            self.line();
            if length == 0 {
                return;
            }
        }
    }
}

/// Sends a request and reads its answer.
pub(crate) fn send(
    address: &str,
    route: (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Connection::open(address, route, headers, body).answer()
}
