//! import: thousands of lines, the refused ones among them.

use super::support::Server;

#[test]
fn import_stores_each_path_at_itself_and_tells_what_it_refused() {
    let server = Server::start();
    let mut lines: Vec<Vec<u8>> = (0..5000).map(|i| format!("d{}/f{i}", i % 50).into()).collect();
    lines[9] = b"with space".to_vec();
    lines[19] = b"caf\xc3\xa9".to_vec();
    lines[29] = b"latin\xe9".to_vec();
    lines[39] = b"".to_vec();
    lines[49] = b"up/../down".to_vec();
    // Quiet, for on a busy machine it takes long enough to show its progress on stderr.
    let imported = server.run_with(&["import", "-", "--quiet"], &lines.join(&b'\n'));
    let line = "killick: import under .: 4 lines are no paths by the grammar";
    assert_eq!(imported.error(1), line);
    let report = imported.text();
    assert!(report.starts_with("stored 4,995 paths in "), "{report}");
    for line in [
        "refused 4 lines: no path by the grammar",
        "  line 10: 'with space': byte 0x20 (space) at offset 4 is not allowed in a name",
        "  line 20: 'café': byte 0xc3 at offset 3 is not allowed in a name",
        "  line 30: 'latin\\xe9': byte 0xe9 at offset 5 is not allowed in a name",
        "  line 50: 'up/../down': component '..' at offset 3: there is no way up",
        "skipped 1 empty line",
    ] {
        assert!(report.lines().any(|shown| shown == line), "{line:?} is not in {report}");
    }
    assert!(report.contains("server: 5,046 nodes (+5,045), "), "{report}");
    assert_eq!(server.nodes(), 1 + 50 + 4995);
    assert_eq!(server.run(&["load", "d7/f57"]).ok(), "d7/f57\n");
}

#[test]
fn import_shows_the_first_refused_lines_and_counts_the_others() {
    let server = Server::start();
    let input = "ok\n".to_owned() + &"not ok\n".repeat(20);
    let report = server.run_with(&["import", "-", "--show", "2"], input.as_bytes());
    report.error(1);
    assert_eq!(report.text().matches("'not ok'").count(), 2);
    assert!(report.text().contains("\n  … and 18 more\n"), "{report:?}");
}

#[test]
fn import_walks_from_the_anchor_it_is_given_and_takes_absolute_lines() {
    let server = Server::start();
    let file = server.folder().join("paths");
    std::fs::write(&file, "/a/b\nc\n").expect("to write a file");
    let file = file.to_str().expect("a temporary folder with a name in UTF-8");
    server.run(&["import", file, "--under", "/self/top"]).ok();
    assert_eq!(server.run(&["load", "top/a/b"]).ok(), "/a/b\n");
    assert_eq!(server.run(&["ls"]).ok(), "top\n");
    assert_eq!(server.run(&["ls", "top"]).ok(), "a\nc\n");
}

#[test]
fn import_fails_when_the_server_refuses_and_stores_the_rest() {
    let server = Server::with(&["--max-children", "10"]);
    let lines: Vec<String> = (0..25).map(|i| format!("n{i}")).collect();
    let imported = server.run_with(&["import", "-", "--show", "1"], lines.join("\n").as_bytes());
    let report = imported.text();
    assert!(report.starts_with("stored 10 paths in "), "{report}");
    assert!(report.contains("refused 15 lines: not stored by the server\n"), "{report}");
    assert!(report.contains("limit of 10 children"), "{report}");
    let line = "killick: import under .: the server did not store 15 lines";
    assert_eq!(imported.error(1), line);
    assert_eq!(server.nodes(), 11);
    let imported = server.run_with(&["import", "-", "--quiet"], b"n1\nmore\na b\n");
    let line = "the server did not store 1 line, and 1 line is no path by the grammar";
    assert!(imported.error(1).ends_with(line), "{imported:?}");
}

#[test]
fn import_of_nothing_but_refused_lines_fails() {
    let server = Server::start();
    let imported = server.run_with(&["import", "-"], b"a b\nc d\n");
    assert!(imported.error(1).ends_with("no line is a path by the grammar"), "{imported:?}");
    assert!(server.run_with(&["import", "-"], b"").ok().starts_with("stored 0 paths"));
}

#[test]
fn import_answers_in_one_json_document() {
    let server = Server::start();
    let imported = server.run_with(&["import", "-", "--json"], b"a\nb c\n\n\xff\nd/e");
    let document = &imported.json()[0];
    assert_eq!(document["stored"], 2);
    assert_eq!(document["malformed"], 2);
    assert_eq!(document["rejected"], 0);
    assert_eq!(document["empty"], 1);
    assert_eq!(document["server"]["nodes"], 4);
    assert_eq!(document["nodesBefore"], 1);
    assert_eq!(document["refusals"][0]["line"], 2);
    assert_eq!(document["refusals"][1]["line"], 4);
}

#[test]
fn import_of_a_file_that_is_not_there_names_it() {
    let server = Server::start();
    let refused = server.run(&["import", "/nonexistent/paths"]);
    assert!(refused.error(1).starts_with("killick: open /nonexistent/paths: "), "{refused:?}");
    let refused = server.run(&["import", "/"]);
    assert!(refused.error(1).starts_with("killick: read /: "), "{refused:?}");
}

#[test]
fn import_ends_with_its_tally_when_the_connection_does() {
    // Its messages may take no more than what a value may, and some.
    let server = Server::with(&["--max-value-bytes", "1000", "--max-path-bytes", "1000"]);
    let long = format!("{}\n", "d/".repeat(32_000));
    let input = "a/b\n".to_owned() + &long.repeat(20) + "c\n";
    let imported = server.run_with(&["import", "-", "--quiet"], input.as_bytes());
    let line = imported.error(1);
    assert!(line.starts_with("killick: import, "), "{line}");
    assert!(line.contains("stored so far: "), "{line}");
    assert!(imported.text().starts_with("stored "), "{imported:?}");
    assert!(!imported.text().contains("not stored by the server"), "{imported:?}");
}

#[test]
fn import_refuses_a_line_that_is_longer_than_any_path() {
    let server = Server::start();
    let input = format!("a\n{}\nb\n", "x".repeat(3 << 20));
    let imported = server.run_with(&["import", "-"], input.as_bytes());
    imported.error(1);
    let report = imported.text();
    assert!(report.starts_with("stored 2 paths"), "{report}");
    assert!(report.contains("xxx…': longer than the 64.0 KiB that a line may have"), "{report}");
    assert!(report.len() < 1000, "{report}");
}

#[test]
fn import_shows_refused_lines_in_order_whoever_refused_them() {
    let server = Server::with(&["--max-depth", "2"]);
    let imported = server.run_with(&["import", "-", "--show", "3"], b"a/b/c\nb d\na/b/d\nc d\n");
    let shown = imported.text().lines().filter_map(|line| line.strip_prefix("  line "));
    let numbers: Vec<&str> = shown.filter_map(|line| line.split(':').next()).collect();
    assert_eq!(numbers, ["1", "2", "3"], "{imported:?}");
}

#[test]
fn import_tells_the_bytes_of_a_node_only_of_many() {
    let server = Server::start();
    let imported = server.run_with(&["import", "-"], b"a\nb\n");
    assert!(!imported.ok().contains("a node"), "{imported:?}");
    let lines: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
    let imported = server.run_with(&["import", "-", "--quiet"], lines.join("\n").as_bytes());
    assert!(imported.ok().contains("a node"), "{imported:?}");
}
