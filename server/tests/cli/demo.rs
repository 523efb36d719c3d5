//! demo: what the README tells people to run first.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[cfg(feature = "cluster")]
use rustix::process::Signal;

#[cfg(feature = "cluster")]
use super::support::{eventually, signal, wait};
use super::support::{program, run};

/// Checks that the steps come in this order.
fn in_order(story: &str, steps: &[&str]) {
    let mut rest = story;
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("'{step}' is not next in {story}"));
        rest = &rest[at + step.len()..];
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("to list the folder").count() == 0
}

#[test]
fn demo_shows_a_path_going_with_its_holder_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let started = Instant::now();
    let ran = run(program().env("TMPDIR", folder.path()).arg("demo"), b"");
    // It takes milliseconds; the limit is for a machine busy with other tests.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let story = ran.ok();
    let steps = [
        "server  listens on unix:",
        "alice   connects (process ",
        "alice   walks to demo/greeter: nobody had been there",
        "alice   stores a capability",
        "bob     connects (process ",
        "bob     walks to demo/greeter",
        "bob     loads its value: a capability",
        "bob     calls it: \"hello from process ",
        "alice   is killed",
        "bob     looks up demo/greeter: nothing there",
        "bob     lists the tree: empty",
        "bob     calls it again: ",
        "carol   narrows demo/board to walk,lookup,load,store, 2 nodes",
        "carol   makes a channel",
        "dave    loads it, and lists its children: the right 'ls' is not granted",
        "dave    walks to a, b and c in it: the grant's limit of 2 nodes would be exceeded",
        "carol   takes back what she gave to dave",
        "dave    looks up letters: revoked",
        "erin    has the server start process ",
        "erin    sees it come",
        "erin    reads what it writes: \"all that I see of the tree is: inbox\"",
        "erin    sends a job to its inbox, and reads: \"done: a job\"",
        "erin    kills it, and sees its place go",
        "server  stopped",
        "What you saw",
        "Next",
    ];
    in_order(story, &steps);
    assert!(!story.contains('\u{1b}'), "colour in a pipe: {story}");
    assert!(is_empty(folder.path()), "something is left in the temporary folder");
}

#[test]
fn demo_answers_in_json_lines() {
    let ran = run(program().args(["demo", "--json"]), b"");
    ran.ok();
    let steps = ran.json();
    let (end, steps) = steps.split_last().expect("some lines");
    assert_eq!(end["done"], true);
    assert!(end["goneAfterMillis"].as_f64().expect("a number") > 0.0);
    for step in steps {
        assert!(
            ["server", "alice", "bob", "carol", "dave", "erin"]
                .contains(&step["who"].as_str().expect("text"))
        );
        assert!(step["atMillis"].is_number() && step["step"].is_string(), "{step}");
    }
}

#[cfg(feature = "cluster")]
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

#[cfg(feature = "cluster")]
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
#[cfg(feature = "cluster")]
fn running(place: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("to list processes").flatten();
    let arguments =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|arguments| String::from_utf8_lossy(arguments).contains(place)).count()
}
