//! walk, store --bound: an anchor, or a value, lives as long as the process that holds it.

use std::process::Child;

use rustix::process::Signal;

use super::support::{Server, eventually, signal, wait};

/// Starts `walk path` and waits until it says that it holds.
fn hold(server: &Server, path: &str, line: &str) -> Child {
    server.begin(&["walk", path], line)
}

fn stderr(process: &mut Child) -> String {
    std::io::read_to_string(process.stderr.take().expect("a pipe")).expect("text")
}

#[test]
fn walk_holds_the_path_until_a_signal_ends_it_cleanly() {
    let server = Server::start();
    for end in [Signal::INT, Signal::TERM] {
        let mut holder = hold(&server, "jobs/7", "holding jobs/7");
        assert_eq!(server.run(&["lookup", "jobs/7"]).ok(), "jobs/7\n");
        assert_eq!(server.nodes(), 3);
        signal(&holder, end);
        assert_eq!(wait(&mut holder).code(), Some(0));
        assert_eq!(stderr(&mut holder), "");
        eventually("the path goes with its holder", || server.nodes() == 1);
    }
}

#[test]
fn a_path_goes_with_the_last_of_its_holders() {
    let server = Server::start();
    let mut first = hold(&server, "a", "holding a");
    let mut second = hold(&server, "/self/a", "holding /self/a");
    assert_eq!(server.nodes(), 2);
    first.kill().expect("to kill");
    wait(&mut first);
    eventually("the server sees that one is gone", || {
        server.run(&["info", "--json"]).json()[0]["connections"] == 2
    });
    assert_eq!(server.run(&["lookup", "a"]).ok(), "a\n");
    second.kill().expect("to kill");
    wait(&mut second);
    eventually("the path goes with the last holder", || server.nodes() == 1);
}

#[test]
fn a_bound_value_goes_with_its_process_unless_it_was_replaced() {
    let server = Server::start();
    let mut mine = server.begin(&["store", "--bound", "a/mine", "1"], "holding a/mine");
    let mut theirs = server.begin(&["store", "--bound", "theirs", "1"], "holding theirs");
    let json = r#"{"path":"json","revision":1,"stored":true}"#;
    let mut other = server.begin(&["store", "--bound", "--json", "json", "1"], json);
    assert_eq!(server.run(&["load", "a/mine"]).ok(), "1\n");
    server.run(&["store", "theirs", "2"]).ok();
    server.run(&["store", "--bound", "--no-overwrite", "theirs", "3"]).error(3);
    for process in [&mut mine, &mut theirs] {
        signal(process, Signal::TERM);
        assert_eq!(wait(process).code(), Some(0));
    }
    other.kill().expect("to kill");
    wait(&mut other);
    eventually("the values go with their processes", || server.nodes() == 2);
    assert_eq!(server.run(&["load", "theirs"]).ok(), "2\n");
}

#[test]
fn walk_ends_with_an_error_when_the_server_goes() {
    let mut server = Server::start();
    let mut holder = hold(&server, "a", "holding a");
    assert_eq!(server.interrupt().code(), Some(0), "the server ends cleanly");
    assert_eq!(wait(&mut holder).code(), Some(1));
    assert_eq!(stderr(&mut holder), "killick: walk a: the server is stopping\n");
    assert!(!server.socket().exists(), "the socket file goes with the server");
}
