//! store, load, swap, clear, lookup: what goes in, what comes out, and the exit codes.

use super::support::Server;

#[test]
fn stored_text_is_loaded_with_a_line_end() {
    let server = Server::start();
    assert_eq!(server.run(&["store", "a/b", "grüße"]).ok(), "");
    assert_eq!(server.run(&["load", "a/b"]).ok(), "grüße\n");
    assert_eq!(server.run(&["store", "a/b", ""]).ok(), "");
    assert_eq!(server.run(&["load", "a/b"]).ok(), "\n");
}

#[test]
fn a_dash_reads_the_value_from_stdin_to_its_end() {
    let server = Server::start();
    server.run_with(&["store", "a", "-"], b"one\ntwo\n").ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "one\ntwo\n");
    server.run_with(&["swap", "a", "-"], b"three").ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "three\n");
}

#[test]
fn a_value_that_begins_with_a_dash_is_a_number_or_stands_after_two() {
    let server = Server::start();
    server.run(&["store", "a", "-5"]).ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "-5\n");
    server.run(&["store", "--", "a", "-x"]).ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "-x\n");
}

#[test]
fn data_is_loaded_byte_by_byte() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..=255).rev().cycle().take(100_000).collect();
    server.run_with(&["store", "--data", "a", "-"], &bytes).ok();
    let loaded = server.run(&["load", "a"]);
    assert_eq!((loaded.code, loaded.stdout), (Some(0), bytes));
}

#[test]
fn data_that_looks_like_text_comes_back_whole_when_asked_for_as_data() {
    let server = Server::start();
    server.run_with(&["store", "--data", "a", "-"], b"ab\0").ok();
    assert_eq!(server.run(&["load", "a"]).stdout, b"ab\n");
    assert_eq!(server.run(&["load", "--data", "a"]).stdout, b"ab\0");
    server.run_with(&["store", "--data", "a", "-"], b"").ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "");
}

#[test]
fn what_is_no_text_is_refused_with_its_place_and_the_way_to_store_it() {
    let server = Server::start();
    let refused = server.run_with(&["store", "a", "-"], b"ab\xff");
    assert!(refused.error(2).ends_with("not UTF-8 at byte 2; store it with --data"));
    let refused = server.run_with(&["store", "a", "-"], b"a\0b");
    assert!(refused.error(2).contains("zero byte at byte 1"), "{refused:?}");
    assert_eq!(server.nodes(), 1, "nothing was created on the way");
}

#[test]
fn a_value_over_the_servers_limit_is_an_error_that_names_it() {
    let server = Server::with(&["--max-value-bytes", "4096"]);
    let refused = server.run_with(&["store", "--data", "a", "-"], &[b'x'; 5000]);
    assert!(refused.error(1).starts_with("killick: store a: value of "), "{refused:?}");
    assert!(refused.error(1).contains("limit of 4096"), "{refused:?}");
}

#[test]
fn store_without_overwrite_fails_when_occupied() {
    let server = Server::start();
    server.run(&["store", "--no-overwrite", "a", "1"]).ok();
    let refused = server.run(&["store", "--no-overwrite", "a", "2"]);
    let line = "killick: store a: not stored: the cell holds a value (revision 1)";
    assert_eq!(refused.error(3), line);
    assert_eq!(server.run(&["load", "a"]).ok(), "1\n");
    server.run(&["store", "a", "2"]).ok();
    assert_eq!(server.run(&["load", "a"]).ok(), "2\n");
}

#[test]
fn store_at_a_revision_fails_when_another_store_came_first() {
    let server = Server::start();
    server.run(&["store", "a", "1"]).ok();
    server.run(&["store", "--if-revision", "1", "a", "2"]).ok();
    let refused = server.run(&["store", "--if-revision", "1", "a", "3"]);
    let line = "killick: store a: not stored: the cell is at revision 2, not 1";
    assert_eq!(refused.error(3), line);
    assert_eq!(server.run(&["load", "a"]).ok(), "2\n");
    server.run(&["store", "--if-revision", "0", "fresh", "1"]).ok();
}

#[test]
fn swap_tells_that_it_was_done_if_the_previous_value_cannot_be_written() {
    let server = Server::start();
    server.run(&["store", "a", "1"]).ok();
    for (arguments, value) in
        [(&["swap", "a", "2"][..], "2\n"), (&["--json", "swap", "a", "3"], "3\n")]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = server.command(arguments).stdout(full).output().expect("to run");
        assert_eq!(output.status.code(), Some(1));
        let why = String::from_utf8(output.stderr).expect("text");
        assert!(why.starts_with("killick: swap a: write to stdout: "), "{why}");
        let told = "; the new value was stored, and the previous one is lost\n";
        assert!(why.ends_with(told), "{why}");
        assert_eq!(server.run(&["load", "a"]).ok(), value);
    }
}

#[test]
fn swap_shows_the_previous_value_and_nothing_for_an_empty_cell() {
    let server = Server::start();
    assert_eq!(server.run(&["swap", "a", "1"]).ok(), "");
    assert_eq!(server.run(&["swap", "a", "2"]).ok(), "1\n");
    assert_eq!(server.run(&["load", "a"]).ok(), "2\n");
}

#[test]
fn clear_lets_the_path_go_and_tells_when_there_was_nothing() {
    let server = Server::start();
    server.run(&["store", "a/b/c", "1"]).ok();
    assert_eq!(server.nodes(), 4);
    server.run(&["clear", "a/b/c"]).ok();
    assert_eq!(server.nodes(), 1);
    assert_eq!(server.run(&["clear", "a/b/c"]).error(3), "killick: clear a/b/c: nothing there");
    server.run(&["store", "a/b", "1"]).ok();
    assert_eq!(server.run(&["clear", "a"]).error(3), "killick: clear a: the cell is empty");
}

#[test]
fn load_and_lookup_of_nothing_exit_with_three_and_create_nothing() {
    let server = Server::start();
    assert_eq!(server.run(&["load", "a"]).error(3), "killick: load a: nothing there");
    assert_eq!(server.run(&["lookup", "a"]).error(3), "killick: lookup a: nothing there");
    assert_eq!(server.nodes(), 1);
    server.run(&["store", "a/b", "1"]).ok();
    assert_eq!(server.run(&["load", "a"]).error(3), "killick: load a: the cell is empty");
    assert_eq!(server.run(&["lookup", "a"]).ok(), "a\n");
    assert_eq!(server.run(&["load", "."]).error(3), "killick: load .: the cell is empty");
}

#[test]
fn json_tells_values_and_revisions_and_what_is_not_there() {
    let server = Server::start();
    let one = |arguments: &[&str]| {
        let mut documents = server.run(arguments).json();
        assert_eq!(documents.len(), 1, "{arguments:?}");
        documents.remove(0).to_string()
    };
    let cases: [(&[&str], &str); 12] = [
        (&["store", "a", "x"], r#"{"path":"a","revision":1,"stored":true}"#),
        (&["store", "--no-overwrite", "a", "y"], r#"{"path":"a","revision":1,"stored":false}"#),
        (&["load", "./a"], r#"{"path":"a","revision":1,"value":{"kind":"text","text":"x"}}"#),
        (
            &["load", "--data", "a"],
            r#"{"path":"a","revision":1,"value":{"bytes":2,"hex":"7800","kind":"data"}}"#,
        ),
        (&["swap", "a", "y"], r#"{"path":"a","previous":{"kind":"text","text":"x"},"revision":2}"#),
        (&["lookup", "a"], r#"{"exists":true,"path":"a"}"#),
        (&["clear", "a"], r#"{"cleared":true,"path":"a","revision":3}"#),
        (&["clear", "a"], r#"{"cleared":false,"path":"a","revision":0}"#),
        (&["load", "a"], r#"{"path":"a","revision":0,"value":null}"#),
        (&["lookup", "a"], r#"{"exists":false,"path":"a"}"#),
        (&["swap", "a", "z"], r#"{"path":"a","previous":null,"revision":1}"#),
        (&["load", "."], r#"{"path":"","revision":0,"value":null}"#),
    ];
    for (arguments, document) in cases {
        assert_eq!(one(&[&["--json"], arguments].concat()), document, "{arguments:?}");
    }
}
