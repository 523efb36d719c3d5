//! chan, send, recv: values through channels, between processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use super::support::{Server, eventually, program, run, wait};

/// Starts a command whose standard streams are pipes.
fn piped(server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("to start")
}

fn shown(server: &Server, path: &str) -> String {
    server.run(&["chan", "show", path]).ok().to_owned()
}

#[test]
fn a_value_that_one_process_sends_another_receives() {
    let server = Server::start();
    assert_eq!(server.run(&["chan", "make", "a/inbox", "--capacity", "16"]).ok(), "");
    server.run(&["send", "a/inbox", "grüße"]).ok();
    server.run_with(&["send", "a/inbox", "-"], b"one\ntwo\n").ok();
    server.run_with(&["send", "a/inbox", "--data", "-"], b"\xff\0").ok();
    server.run(&["send", "a/inbox", "-5"]).ok();
    assert_eq!(shown(&server, "a/inbox"), "4 of 16\n");
    assert_eq!(server.run(&["recv", "a/inbox"]).ok(), "grüße\n");
    assert_eq!(server.run(&["recv", "a/inbox"]).ok(), "one\ntwo\n");
    assert_eq!(server.run(&["recv", "a/inbox"]).stdout, b"\xff\0");
    assert_eq!(server.run(&["recv", "a/inbox"]).ok(), "-5\n");
}

#[test]
fn lines_are_sent_one_by_one_and_as_many_are_received_as_asked_for() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox", "--capacity", "9"]).ok();
    let sent = server.run_with(&["send", "--json", "--lines", "inbox", "-"], b"a\n\nb c\nd");
    assert_eq!(sent.ok(), "{\"path\":\"inbox\",\"sent\":4}\n");
    assert_eq!(server.run(&["recv", "inbox", "--count", "3"]).ok(), "a\n\nb c\n");
    let received = server.run(&["recv", "inbox", "--json"]);
    assert_eq!(
        received.ok(),
        "{\"path\":\"inbox\",\"value\":{\"kind\":\"text\",\"text\":\"d\"}}\n"
    );

    let bad = server.run_with(&["send", "--lines", "inbox", "-"], b"good\nb\xffd\n");
    assert!(bad.error(1).starts_with("killick: send inbox, line 2: "), "{bad:?}");
    assert_eq!(server.run(&["recv", "inbox"]).ok(), "good\n");
    let usage = server.run(&["send", "--lines", "inbox", "text"]);
    assert!(usage.error(2).contains("--lines reads standard input"), "{usage:?}");
}

#[test]
fn recv_follows_a_channel_to_its_end_and_shows_each_value_at_once() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox"]).ok();
    let mut following = piped(&server, &["recv", "inbox", "--follow"]);
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let mut sending = piped(&server, &["send", "--lines", "inbox", "-"]);
    let mut input = sending.stdin.take().expect("a pipe");
    for text in ["first", "second"] {
        writeln!(input, "{text}").expect("written");
        assert_eq!(lines.next().expect("a line").expect("text"), text);
    }
    drop(input);
    assert_eq!(wait(&mut sending).code(), Some(0));
    server.run(&["chan", "close", "inbox"]).ok();
    assert!(lines.next().is_none());
    assert_eq!(wait(&mut following).code(), Some(0));
}

#[test]
fn the_end_of_a_channel_is_told_to_who_sends_receives_and_closes() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox", "--capacity", "2"]).ok();
    server.run(&["send", "inbox", "last"]).ok();
    let closed = server.run(&["chan", "close", "inbox", "--json"]);
    assert_eq!(closed.ok(), "{\"closed\":true,\"path\":\"inbox\"}\n");
    let again = server.run(&["chan", "close", "inbox"]);
    assert_eq!(again.error(1), "killick: chan close inbox: the channel is closed already");
    let late = server.run(&["send", "inbox", "late"]);
    assert_eq!(late.error(1), "killick: send inbox: the channel is closed");
    let received = server.run(&["recv", "inbox", "--count", "2"]);
    assert_eq!(received.text(), "last\n");
    assert_eq!(received.error(3), "killick: recv inbox: the channel is closed and empty");
    assert_eq!(server.run(&["recv", "inbox", "--follow"]).ok(), "");
}

#[test]
fn a_channel_that_is_cleared_ends_for_those_who_wait() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox"]).ok();
    let mut sending = piped(&server, &["send", "inbox", "to nobody"]);
    eventually("the sender", || {
        server.run(&["info", "--json"]).json()[0]["storedBytes"].as_u64() > Some(100)
    });
    server.run(&["chan", "make", "other"]).ok();
    let mut receiving = piped(&server, &["recv", "--follow", "other"]);
    eventually("the receiver", || {
        server.run(&["clients", "--json"]).json().iter().filter(|one| one["running"] == 1).count()
            == 3
    });
    server.run(&["clear", "inbox"]).ok();
    server.run(&["clear", "other"]).ok();
    assert_eq!(wait(&mut receiving).code(), Some(0));
    assert_eq!(wait(&mut sending).code(), Some(1));
    let why = std::io::read_to_string(sending.stderr.take().expect("a pipe")).expect("text");
    assert_eq!(why, "killick: send inbox: nobody receives from this channel any more\n");
    eventually("nothing is left", || {
        let info = server.run(&["info", "--json"]).json();
        info[0]["storedBytes"] == 0 && info[0]["nodes"] == 1
    });
}

#[test]
fn a_channel_is_made_in_an_empty_cell_and_what_is_no_channel_is_told() {
    let server = Server::start();
    server.run(&["store", "text", "a text"]).ok();
    let made = server.run(&["chan", "make", "text"]);
    assert!(made.error(3).contains("not stored: the cell holds a value (revision 1)"), "{made:?}");
    assert_eq!(server.run(&["load", "text"]).ok(), "a text\n");
    for (arguments, wanted) in USES {
        let ran = server
            .run(&[arguments, &["text"], &["x"][..usize::from(arguments == ["send"])]].concat());
        let line =
            format!("killick: {} text: the cell holds text, and no {wanted}", arguments.join(" "));
        assert_eq!(ran.error(1), line);
    }
    assert!(server.run(&["recv", "nowhere"]).error(3).ends_with("nothing there"));
    assert_eq!(server.nodes(), 2, "nothing was created on the way");
    let made = server.run(&["chan", "make", "/self/deep/er", "--capacity", "3", "--json"]);
    assert_eq!(made.json()[0]["stored"], true);
    assert_eq!(server.run(&["load", "deep/er"]).ok(), "capability: channel\n");
    let shown = server.run(&["chan", "show", "deep/er", "--json"]);
    assert_eq!(shown.ok(), "{\"capacity\":3,\"len\":0,\"path\":\"deep/er\"}\n");
    let large = server.run(&["chan", "make", "large", "--capacity", "70000"]);
    assert!(large.error(1).ends_with("exceeds the limit of 65536 (max-channel-capacity)"));
    assert!(server.run(&["chan", "make", "/"]).error(1).contains("the cluster's anchor"));
    assert_eq!(server.nodes(), 4);
}

#[test]
fn who_waits_in_vain_is_told_after_its_time_and_has_sent_and_taken_nothing() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox"]).ok();
    for arguments in [&["send", "inbox", "x"][..], &["recv", "inbox"]] {
        let mut command = program();
        command.env("KILLICK_ADDR", server.address()).args(["--timeout", "100ms"]).args(arguments);
        let ran = run(&mut command, b"");
        assert!(ran.error(1).contains("no answer within 100.0 ms"), "{ran:?}");
    }
    let mut sending = piped(&server, &["send", "inbox", "kept"]);
    assert_eq!(server.run(&["recv", "inbox"]).ok(), "kept\n");
    assert_eq!(wait(&mut sending).code(), Some(0));
}

/// How many are connected besides the command that asks.
fn others(server: &Server) -> usize {
    server.run(&["clients", "--json"]).json().len() - 1
}

#[test]
fn recv_takes_nothing_for_a_reader_that_has_gone() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox", "--capacity", "2"]).ok();
    server.run(&["send", "inbox", "first"]).ok();
    let mut following = piped(&server, &["recv", "inbox", "--follow"]);
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "first");
    // It waits for the second.
    drop(lines);
    assert_eq!(wait(&mut following).code(), Some(0));
    let why = std::io::read_to_string(following.stderr.take().expect("a pipe")).expect("text");
    assert_eq!(why, "");
    eventually("it has gone", || others(&server) == 0);
    server.run(&["send", "inbox", "second"]).ok();

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let late = server.command(&["recv", "inbox"]).stdout(writer).output().expect("to run");
    assert_eq!((late.status.code(), late.stderr), (Some(0), Vec::new()));
    assert_eq!(shown(&server, "inbox"), "1 of 2\n");
    assert_eq!(server.run(&["recv", "inbox"]).ok(), "second\n");
}

#[test]
fn a_value_that_was_received_and_cannot_be_written_is_told_as_lost() {
    let server = Server::start();
    server.run(&["chan", "make", "inbox", "--capacity", "2"]).ok();
    server.run(&["send", "inbox", "x"]).ok();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = server.command(&["recv", "inbox"]);
    let output = command.stdout(full).output().expect("to run");
    assert_eq!(output.status.code(), Some(1));
    let why = String::from_utf8(output.stderr).expect("text");
    assert!(why.starts_with("killick: recv inbox: write to stdout: "), "{why}");
    assert!(why.ends_with("; the value that was received is lost\n"), "{why}");
}

/// The commands that need an end of a channel, and which.
const USES: [(&[&str], &str); 4] = [
    (&["send"], "end of a channel that sends"),
    (&["recv"], "end of a channel that receives"),
    (&["chan", "show"], "channel"),
    (&["chan", "close"], "end of a channel that closes"),
];

#[test]
fn a_capability_of_another_kind_is_told_by_what_it_is() {
    let server = Server::start();
    let grant = ["grant", "make", "docs", "--at", "for/bob", "--revoker", "admin/bob"];
    server.run(&grant).ok();
    let ends = ["chan", "make", "--send-end", "in", "--recv-end", "out", "--capacity", "1"];
    server.run(&ends).ok();
    let use_of = |arguments: &[&str], path: &str| {
        let value = &["x"][..usize::from(arguments == ["send"])];
        let ran = server.run(&[arguments, &[path], value].concat());
        let (what, why) = ran.error(1).split_once(": the cell holds ").expect("what it holds");
        assert_eq!(what, format!("killick: {} {path}", arguments.join(" ")));
        why.to_owned()
    };
    for (arguments, wanted) in USES {
        assert_eq!(use_of(arguments, "for/bob"), format!("an anchor, and no {wanted}"));
        assert_eq!(use_of(arguments, "admin/bob"), format!("a grant, and no {wanted}"));
        if arguments != ["recv"] {
            let found = format!("an end of a channel that receives, and no {wanted}");
            assert_eq!(use_of(arguments, "out"), found);
        }
        if arguments != ["send"] {
            let found = format!("an end of a channel that sends, and no {wanted}");
            assert_eq!(use_of(arguments, "in"), found);
        }
    }
    assert_eq!(use_of(&["grant", "show"], "for/bob"), "an anchor, and no grant");
    let through = server.run(&["--through", "admin/bob", "ls"]);
    let line = "killick: --through admin/bob: the cell holds a grant, and no anchor";
    assert_eq!(through.error(1), line);
}

#[test]
fn each_end_of_a_channel_is_stored_where_only_that_is_to_be_found() {
    let server = Server::start();
    let make = ["chan", "make", "--send-end", "inbox", "--recv-end", "mine/inbox", "--json"];
    let made = server.run(&[&make[..], &["--capacity", "4"]].concat()).json().remove(0);
    assert_eq!((&made["stored"], &made["path"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!((&made["sendEnd"], &made["recvEnd"]), (&"inbox".into(), &"mine/inbox".into()));
    server.run(&["send", "inbox", "hello"]).ok();
    assert_eq!(server.run(&["recv", "mine/inbox"]).ok(), "hello\n");
    server.run(&["recv", "inbox"]).error(1);
    server.run(&["chan", "close", "inbox"]).error(1);
    server.run(&["send", "mine/inbox", "x"]).error(1);
    // With the end that receives goes the channel.
    server.run(&["clear", "mine/inbox"]).ok();
    eventually("its end", || server.run(&["send", "inbox", "late"]).code == Some(1));
    server.run(&["clear", "inbox"]).ok();

    server.run(&["chan", "make", "whole", "--send-end", "in", "--capacity", "1"]).ok();
    server.run(&["send", "in", "by the end"]).ok();
    assert_eq!(server.run(&["recv", "whole"]).ok(), "by the end\n");
}

#[test]
fn a_channel_of_which_one_end_cannot_be_stored_is_stored_nowhere() {
    let server = Server::start();
    server.run(&["store", "taken", "x"]).ok();
    let made = server.run(&["chan", "make", "--send-end", "taken", "--recv-end", "a/b", "--json"]);
    let line = "killick: chan make taken: not stored: the cell holds a value (revision 1)";
    assert_eq!(made.error(3), line);
    assert_eq!(made.json()[0]["stored"], false);
    eventually("nothing is left", || server.nodes() == 2);
    assert_eq!(server.run(&["load", "taken"]).ok(), "x\n");
    let lone = server.run(&["chan", "make", "--send-end", "inbox"]);
    assert_eq!(lone.code, Some(2), "{lone:?}");
}
