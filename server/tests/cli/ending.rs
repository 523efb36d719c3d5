//! What a client is told when the server ends its connection.

use std::io::Read;
use std::process::{Child, Stdio};

use super::support::{Server, eventually, program, wait};

/// Starts a command that the end of its connection ends.
fn begin(server: &Server, arguments: &[&str]) -> Child {
    let mut command = program();
    command.args(["--connect", &server.address()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("to start")
}

/// The line on stderr of a command that fails.
fn failed(mut process: Child) -> String {
    assert_eq!(wait(&mut process).code(), Some(1));
    let mut line = String::new();
    process.stderr.take().expect("a pipe").read_to_string(&mut line).expect("text");
    line
}

#[test]
fn a_server_that_stops_says_so_to_whoever_is_connected() {
    let mut server = Server::start();
    server.run(&["chan", "make", "box"]).ok();
    let commands = [
        &["top", "--interval", "10ms"][..],
        &["bench", "walk", "--in-flight", "1", "--duration", "60s"],
        &["recv", "box", "--follow"],
        &["store", "--bound", "held", "1"],
    ];
    let clients = commands.map(|arguments| begin(&server, arguments));
    eventually("they are connected", || {
        let clients = server.run(&["clients", "--json"]).json();
        clients.iter().filter(|client| client["calls"].as_u64() > Some(1)).count() > 3
    });
    assert_eq!(server.interrupt().code(), Some(0));
    for client in clients {
        let line = failed(client);
        assert!(line.ends_with(": the server is stopping\n"), "{line}");
    }
}

#[test]
fn a_client_that_is_one_too_many_is_told_the_limit() {
    let server = Server::with(&["--max-connections", "3"]);
    let bench = server.run(&["bench", "walk", "--connections", "8", "--duration", "10ms"]);
    let expected = "the server already has its limit of 3 connections (max-connections)";
    assert!(bench.error(1).ends_with(expected), "{bench:?}");
}

#[test]
fn a_client_that_is_closed_for_a_limit_of_time_is_told_which() {
    let server = Server::with(&["--idle-timeout", "100ms"]);
    let line = failed(begin(&server, &["walk", "held"]));
    assert_eq!(line, "killick: walk held: sent nothing for 100ms (idle-timeout)\n");
}
