//! demo --hosts: a cluster in one command.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use super::super::support::{eventually, program, run, signal, wait};
use super::{in_order, is_empty};

#[test]
fn demo_of_hosts_shows_one_fail_come_back_and_another_leave() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run(program().env("TMPDIR", folder.path()).args(["demo", "--hosts", "3"]), b"");
    let story = ran.ok();
    let steps = [
        "server  3 hosts share the secret in ",
        "host 1  is /",
        "heidi   connects to host 1 (process ",
        "frank   makes a channel there, and stores its send end at /",
        "grace   connects to host 2 (process ",
        "/mailbox, by way of her own host: a capability (",
        "frank   receives: \"hello from another host\"",
        "heidi   stores a note at /",
        "host 3  is killed (SIGKILL)",
        " go: it has failed",
        "heidi   loads the note: ",
        " again, by the same key (process ",
        " come: the same host, generation ",
        "heidi   looks up the note: nothing there",
        "host 2  is asked to stop",
        " go: it has left",
        "server  all have stopped",
        "What you saw",
        "Next",
    ];
    in_order(story, &steps);
    let id = |line: &str| {
        story
            .lines()
            .find_map(|found| found.split_once(line))
            .map(|(_, rest)| rest[..16].to_owned())
    };
    let (two, three) = (id("host 2  is /").expect("its id"), id("host 3  is /").expect("its id"));
    in_order(
        story,
        &[
            &format!("sees /{three} go: it has failed"),
            &format!("is /{three} again"),
            &format!("sees /{three} come"),
            &format!("sees /{two} go: it has left"),
        ],
    );
    assert!(is_empty(folder.path()), "something is left in the temporary folder");
}

#[test]
fn a_demo_that_is_interrupted_when_its_hosts_stop_ends_as_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = program();
    command.env("TMPDIR", folder.path()).args(["demo", "--hosts", "5"]);
    let mut demo = command.stdout(Stdio::piped()).spawn().expect("to start");
    let mut story = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let mut next = || story.next().expect("a line").expect("text");
    let first = next();
    let (_, place) = first.split_once("the secret in ").expect("its folder");
    while !next().contains(" go: it has left") {}
    // Three hosts are still there.
    signal(&demo, Signal::INT);
    assert_eq!(wait(&mut demo).code(), Some(130));
    assert!(is_empty(folder.path()), "something is left in the temporary folder");
    assert_eq!(running(place), 0, "hosts are left");
}

#[test]
fn a_demo_that_is_interrupted_ends_all_that_it_has_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = program();
    command.env("TMPDIR", folder.path()).args(["demo", "--hosts", "9"]);
    let mut demo = command.stdout(Stdio::piped()).spawn().expect("to start");
    let mut story = BufReader::new(demo.stdout.take().expect("a pipe"));
    let mut first = String::new();
    story.read_line(&mut first).expect("a line");
    let (_, place) = first.trim_end().split_once("the secret in ").expect("its folder");
    eventually("the second host listens", || Path::new(place).join("2.sock").exists());
    assert!(running(place) > 0);
    signal(&demo, Signal::INT);
    assert_eq!(wait(&mut demo).code(), Some(130));
    assert!(is_empty(folder.path()), "something is left in the temporary folder");
    assert_eq!(running(place), 0, "hosts are left");
}

/// How many processes were started with something of `place` among their arguments.
fn running(place: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("to list processes").flatten();
    let arguments =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|arguments| String::from_utf8_lossy(arguments).contains(place)).count()
}
