//! demo: what the README tells people to run first.

use std::path::Path;
use std::time::{Duration, Instant};

use super::support::{program, run};

#[cfg(feature = "cluster")]
mod hosts;

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
        let micros = step["atMillis"].as_f64().expect("a number") * 1e3;
        assert!((micros - micros.round()).abs() < 1e-6, "{step}");
        assert!(step["step"].is_string(), "{step}");
    }
}
