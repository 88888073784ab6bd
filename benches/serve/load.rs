//! Load of `ingest serve`: 50 clients ask for some time, each its next question as soon as it has an answer.
//!
//! `cargo run --release --example serve-load -- ADDRESS PID [SECONDS]`, on Linux, with a server that is running. Prints the
//! times of answers and the memory of the server; fails at any answer but 200 and 503.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on should panic, and prints its result"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Clients that ask at the same time.
const CLIENTS: usize = 50;
/// Their questions, in the query string of an address.
const QUESTIONS: [&str; 8] = [
    "q=How+do+I+charge+the+refrigerant",
    "q=pressure+test+with+nitrogen",
    "q=E-108&mode=text",
    "q=what+does+the+alarm+panel+log",
    "q=wiring+diagram&mode=visual",
    "q=firmware+update",
    "q=torque+of+the+service+valves",
    "q=defrost",
];

/// What a client saw.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    busy: usize,
}

/// Asks until the time is over.
fn client(address: &str, number: usize, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
    for turn in number.. {
        if Instant::now() >= end {
            break;
        }
        let query = QUESTIONS[turn % QUESTIONS.len()];
        let start = Instant::now();
        let head = format!("GET /api/v1/search?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.get_mut().write_all(head.as_bytes()).unwrap();
        match answer(&mut connection) {
            200 => seen.times.push(start.elapsed()),
            503 => {
                seen.busy += 1;
                thread::sleep(Duration::from_millis(50));
            }
            other => panic!("{query}: {other}"),
        }
    }
    seen
}

/// Reads an answer; returns its status.
fn answer(connection: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        }
        if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    assert!(status > 0, "the server closed the connection");
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    status
}

/// Memory of a process, in MB.
fn memory(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<f64>().unwrap() / 1e3
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, process, rest @ ..] = arguments.as_slice() else {
        panic!("usage: serve-load ADDRESS PID [SECONDS]");
    };
    let seconds = rest.first().map_or(60, |seconds| seconds.parse().unwrap());
    // Warm: every question once.
    client(address, 0, Instant::now() + Duration::from_secs(2));
    let before = memory(process);
    let end = Instant::now() + Duration::from_secs(seconds);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|number| scope.spawn(move || client(address, number, end)));
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let after = memory(process);
    let busy: usize = seen.iter().map(|one| one.busy).sum();
    let mut times: Vec<Duration> = seen.into_iter().flat_map(|one| one.times).collect();
    times.sort();
    let share = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let (count, rate) = (times.len(), times.len() as f64 / seconds as f64);
    println!("{CLIENTS} clients, {seconds} s: {count} answers ({rate:.0}/s), {busy} times busy");
    println!(
        "ms: p50 {:.1}, p95 {:.1}, p99 {:.1}, most {:.1}",
        share(50),
        share(95),
        share(99),
        share(100)
    );
    println!("MB: {before:.1} before, {after:.1} after");
}
