//! A server's metrics, read as Prometheus does.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Harness, PATIENCE};

pub fn address(harness: &Harness) -> SocketAddr {
    harness.server.metrics().expect("asked for")
}

/// What is answered to a request: the first line, and the text after the head.
pub fn http(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.lines().next().unwrap_or_default().to_owned(), text.to_owned())
}

pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n"))
}

/// Every sample, by its name with labels.
pub fn samples(harness: &Harness) -> HashMap<String, f64> {
    let (status, text) = get(address(harness), "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?}")))
    });
    samples.collect()
}

/// How often clients have met the limit with this name.
pub fn limit_hits(harness: &Harness, name: &str) -> f64 {
    samples(harness)[&format!("killick_limits_hit_total{{limit=\"{name}\"}}")]
}
