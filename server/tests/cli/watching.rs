//! watch, load --wait: what happens is told as it happens.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::support::{Server, eventually, program, run, signal, wait};

/// A `watch` that runs, and what it says.
struct Watching {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        Watching::begin(server.command(&[&["watch"], arguments].concat()))
    }

    fn begin(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("to start");
        let lines = BufReader::new(process.stdout.take().expect("a pipe"));
        Watching { process, lines }
    }

    /// The next line. It comes as soon as it happens, or the test waits in vain.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn json(&mut self) -> Json {
        serde_json::from_str(&self.line()).expect("a document")
    }

    /// How it has ended, and what it said of that.
    fn ended(mut self) -> (Option<i32>, String) {
        let code = wait(&mut self.process).code();
        assert_eq!(self.line(), "");
        let stderr = self.process.stderr.take().expect("a pipe");
        (code, std::io::read_to_string(stderr).expect("text"))
    }
}

#[test]
fn watch_tells_a_value_as_it_changes_until_a_signal_ends_it() {
    let server = Server::start();
    for end in [Signal::INT, Signal::TERM] {
        let mut watch = Watching::start(&server, &["a/b"]);
        assert_eq!(watch.line(), "empty 0");
        assert_eq!(server.nodes(), 3, "it holds what it watches");
        for (text, line) in [("hello", "value 1: hello"), ("two\nlines", "value 2: two\\nlines")] {
            server.run(&["store", "a/b", text]).ok();
            assert_eq!(watch.line(), line);
        }
        server.run(&["clear", "a/b"]).ok();
        assert_eq!(watch.line(), "empty 3");
        server.run_with(&["store", "--data", "a/b", "-"], b"\xff\0").ok();
        assert_eq!(watch.line(), "value 4: data: 2 bytes");
        server.run(&["clear", "a/b"]).ok();
        assert_eq!(watch.line(), "empty 5");
        signal(&watch.process, end);
        assert_eq!(watch.ended(), (Some(0), String::new()));
        eventually("the path goes with its watcher", || server.nodes() == 1);
    }
}

#[test]
fn watch_tells_of_children_and_of_both() {
    let server = Server::start();
    server.run(&["store", "a/full", "x"]).ok();
    let mut children = Watching::start(&server, &["--children", "a"]);
    let mut both = Watching::start(&server, &["--children", "--value", "/self/a"]);
    assert_eq!(children.line(), "added full, filled");
    assert_eq!([both.line(), both.line()], ["empty 0", "added full, filled"]);
    server.run(&["store", "a", "x"]).ok();
    assert_eq!(both.line(), "value 1: x");
    let mut held = server.begin(&["walk", "a/held"], "holding a/held");
    for watch in [&mut children, &mut both] {
        assert_eq!(watch.line(), "added held");
    }
    for (arguments, line) in
        [(&["store", "a/held", "x"][..], "filled held"), (&["clear", "a/held"], "emptied held")]
    {
        server.run(arguments).ok();
        for watch in [&mut children, &mut both] {
            assert_eq!(watch.line(), line);
        }
    }
    server.run(&["clear", "a/full"]).ok();
    for watch in [&mut children, &mut both] {
        // It goes a moment after it was emptied.
        let line = match watch.line() {
            line if line == "emptied full" => watch.line(),
            line => line,
        };
        assert_eq!(line, "removed full");
    }
    held.kill().expect("to kill");
    wait(&mut held);
    for watch in [&mut children, &mut both] {
        assert_eq!(watch.line(), "removed held");
    }
    for mut watch in [children, both] {
        watch.process.kill().expect("to kill");
        wait(&mut watch.process);
    }
}

#[test]
fn watch_ends_after_as_many_changes_as_it_was_told() {
    let server = Server::start();
    server.run(&["store", "a", "x"]).ok();
    assert_eq!(server.run(&["watch", "--count", "1", "a"]).ok(), "value 1: x\n");
    assert_eq!(server.run(&["watch", "--count", "0", "a"]).ok(), "");
    let watched = server.run(&["watch", "--json", "--count", "1", "a"]);
    let value = json!({"kind": "text", "text": "x"});
    let told = json!({"path": "a", "whole": true, "value": value, "revision": 1});
    assert_eq!(watched.json(), [told]);
    let mut two = Watching::start(&server, &["--json", "--children", "--count", "2", "a"]);
    let nothing = json!({"path": "a", "whole": true, "added": [], "removed": [], "filled": [], "emptied": []});
    assert_eq!(two.json(), nothing);
    server.run(&["store", "a/b", "x"]).ok();
    let told = two.json();
    assert_eq!(told["whole"], false);
    assert_eq!(told["added"][0]["name"], "b");
    assert_eq!(two.ended(), (Some(0), String::new()));
}

#[test]
fn watch_ends_with_whoever_reads_it() {
    let server = Server::start();
    let mut watch = Watching::start(&server, &["a"]);
    assert_eq!(watch.line(), "empty 0");
    let Watching { mut process, lines } = watch;
    drop(lines);
    assert_eq!(wait(&mut process).code(), Some(0));
    eventually("what it watched goes", || server.nodes() == 1);
}

#[test]
fn watch_goes_on_with_a_server_that_comes_back_and_ends_without_one() {
    let mut server = Server::start();
    server.run(&["store", "a", "before"]).ok();
    let mut watch = Watching::start(&server, &["a"]);
    let mut impatient = Watching::begin({
        let mut command = program();
        command.args(["--connect", &server.address(), "--timeout", "200ms", "watch", "a"]);
        command
    });
    for watch in [&mut watch, &mut impatient] {
        assert_eq!(watch.line(), "value 1: before");
    }
    assert_eq!(server.interrupt().code(), Some(0));
    let (code, stderr) = impatient.ended();
    assert_eq!(code, Some(1));
    let line = format!(
        "killick: watch a: {} closed the connection, and is not there any more: no such file or \
         directory (is a server running there? 'killick serve' starts one)\n",
        server.address()
    );
    assert_eq!(stderr, line);
    server.start_again();
    // Another server, and an empty one.
    assert_eq!(watch.line(), "empty 0");
    server.run(&["store", "a", "after"]).ok();
    assert_eq!(watch.line(), "value 1: after");
    signal(&watch.process, Signal::INT);
    assert_eq!(watch.ended(), (Some(0), String::new()));
}

#[test]
fn watch_tells_what_has_not_changed_once_however_often_it_connects() {
    // A watch sends nothing.
    let mut server = Server::with(&["--idle-timeout", "1s"]);
    let mut watch = Watching::start(&server, &["a"]);
    let watcher = |server: &Server| {
        let clients = server.run(&["clients", "--json"]).json();
        let of_watch = clients.iter().filter(|client| client["watches"] == 1);
        of_watch.filter_map(|client| client["id"].as_u64()).max()
    };
    let connects_again = |server: &Server| {
        let mut last = None;
        eventually("a connection", || {
            last = watcher(server);
            last.is_some()
        });
        eventually("another connection", || watcher(server) > last);
    };
    assert_eq!(watch.line(), "empty 0");
    connects_again(&server);
    for (text, line) in [("x", "value 1: x"), ("y", "value 2: y")] {
        server.run(&["store", "a", text]).ok();
        assert_eq!(watch.line(), line);
        connects_again(&server);
    }
    assert_eq!(server.interrupt().code(), Some(0));
    server.start_again();
    assert_eq!(watch.line(), "empty 0");
    signal(&watch.process, Signal::INT);
    assert_eq!(watch.ended(), (Some(0), String::new()));
}

#[test]
fn what_cannot_be_watched_is_said_at_once() {
    let server = Server::start();
    let error = server.run(&["watch", "/nowhere"]);
    assert!(error.error(1).contains("no host 'nowhere'"), "{error:?}");
    let error = server.run(&["watch", "--value", "/"]);
    assert!(error.error(1).contains("watch /: the cluster's anchor has no cell"), "{error:?}");
    assert!(server.run(&["watch", "--count", "1", "--children", "/"]).ok().starts_with("added "));
    assert!(server.run(&["watch", "a/.."]).error(2).contains("no way up"));
    let nobody = run(program().args(["--connect", "unix:/nobody/here", "watch", "a"]), b"");
    let line = nobody.error(1);
    assert!(line.starts_with("killick: watch a: no such file or directory"), "{line}");
    let few = Server::with(&["--max-watches", "0"]);
    let line = few.run(&["watch", "a"]);
    assert!(line.error(1).ends_with("its limit of 0 watches (max-watches)"), "{line:?}");
}

#[test]
fn load_waits_for_a_value_as_long_as_it_is_told() {
    let server = Server::start();
    let waiting = |arguments: &[&str]| {
        let mut command = program();
        command.args(["--connect", &server.address(), "load", "--wait"]).args(arguments);
        Watching::begin(command)
    };
    let (mut text, mut other) = (waiting(&["a/b"]), waiting(&["--json", "/self/a/b"]));
    eventually("both wait", || {
        let clients = server.run(&["clients", "--json"]).json();
        // The call that asks runs as well.
        clients.iter().filter(|client| client["running"] == 1).count() == 3
    });
    assert_eq!(server.nodes(), 3);
    server.run(&["store", "a/b", "here"]).ok();
    assert_eq!(text.line(), "here");
    let value = json!({"kind": "text", "text": "here"});
    assert_eq!(other.json(), json!({"path": "/self/a/b", "value": value, "revision": 1}));
    for waiting in [text, other] {
        assert_eq!(waiting.ended(), (Some(0), String::new()));
    }
    // At once.
    assert_eq!(server.run(&["load", "--wait", "a/b"]).ok(), "here\n");

    let in_vain = waiting(&["--timeout", "100ms", "c"]).ended();
    assert_eq!(in_vain, (Some(3), "killick: load c: the cell was empty for 100.0 ms\n".to_owned()));
    let mut in_vain = waiting(&["--timeout", "100ms", "--json", "c"]);
    assert_eq!(in_vain.json(), json!({"path": "c", "value": null, "revision": 0}));
    assert_eq!(in_vain.ended().0, Some(3));
    eventually("the path goes", || server.nodes() == 3);
}

#[test]
fn load_that_waits_ends_with_the_server() {
    let mut server = Server::start();
    let mut command = program();
    command.args(["--connect", &server.address(), "load", "--wait", "a"]);
    let waiting = Watching::begin(command);
    eventually("it waits", || server.nodes() == 2);
    assert_eq!(server.interrupt().code(), Some(0));
    let line = "killick: load a: the server is stopping\n".to_owned();
    assert_eq!(waiting.ended(), (Some(1), line));
}
