//! ls, tree and info.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::support::{Server, wait};

fn stored(paths: &[&str]) -> Server {
    let server = Server::start();
    for path in paths {
        server.run(&["store", path, "1"]).ok();
    }
    server
}

#[test]
fn ls_lists_the_children_sorted() {
    let server = stored(&["b", "a/x", "a/y", "c/d/e", "B"]);
    assert_eq!(server.run(&["ls"]).ok(), "B\na\nb\nc\n");
    assert_eq!(server.run(&["ls", "a"]).ok(), "x\ny\n");
    assert_eq!(server.run(&["ls", "a/x"]).ok(), "");
    assert_eq!(server.run(&["ls", "nope"]).error(3), "killick: ls nope: nothing there");
}

#[test]
fn ls_long_tells_children_and_values() {
    let server = stored(&["a", "b/0", "b/1", "b/2", "b/3", "b/4", "b/5", "b/6", "b/7", "b/8"]);
    server.run(&["store", "b/9", "1"]).ok();
    assert_eq!(server.run(&["ls", "-l"]).ok(), " 0 * a\n10 - b\n");
    let children = server.run(&["ls", "--json"]).json();
    assert_eq!(children[1].to_string(), r#"{"children":10,"filled":false,"name":"b","path":"b"}"#);
    let children = server.run(&["ls", "--json", "/self/b"]).json();
    assert_eq!(children[9]["path"], "/self/b/9");
}

#[test]
fn tree_draws_what_is_below_and_marks_values() {
    let server = stored(&["a/x", "a/y/z", "b"]);
    let drawn = "\
.
├── a
│   ├── x *
│   └── y
│       └── z *
└── b *

6 nodes, 3 with a value
";
    assert_eq!(server.run(&["tree"]).ok(), drawn);
    let drawn = "a/y\n└── z *\n\n2 nodes, 1 with a value\n";
    assert_eq!(server.run(&["tree", "a/y"]).ok(), drawn);
    assert_eq!(server.run(&["tree", "nope"]).error(3), "killick: tree nope: nothing there");
}

#[test]
fn tree_counts_the_start_and_marks_its_value_as_that_of_every_other_node() {
    let server = Server::start();
    assert_eq!(server.run(&["tree"]).ok(), ".\n\n1 node, 0 with a value\n");
    server.run(&["store", ".", "1"]).ok();
    server.run(&["store", "a/b", "1"]).ok();
    let drawn = ". *\n└── a\n    └── b *\n\n3 nodes, 2 with a value\n";
    assert_eq!(server.run(&["tree"]).ok(), drawn);
    let drawn = "/\n└── HOST *\n    └── a\n        └── b *\n\n3 nodes, 2 with a value\n";
    assert_eq!(server.run(&["tree", "/"]).ok(), drawn.replace("HOST", &server.host()));
    let start = &server.run(&["tree", "--json"]).json()[0];
    let line = r#"{"children":1,"depth":0,"filled":true,"name":"","path":""}"#;
    assert_eq!(start.to_string(), line);
    let start = &server.run(&["tree", "--json", "/self/a"]).json()[0];
    assert_eq!((&start["path"], &start["name"]), (&"/self/a".into(), &"a".into()));
    assert_eq!(start["filled"], false);
    // Who may not read it is not told, and is shown the rest.
    let make = ["grant", "make", ".", "--rights", "lookup,ls", "--at", "g", "--revoker", "r"];
    server.run(&make).ok();
    let shown = server.run(&["--through", "g", "tree"]);
    assert!(shown.ok().starts_with(".\n├── a\n"), "{shown:?}");
    assert!(server.run(&["--through", "g", "tree", "--json"]).json()[0]["filled"].is_null());
}

#[test]
fn tree_stops_at_the_depth_it_is_given() {
    let server = stored(&["a/b/c/d"]);
    let drawn = ".\n└── a\n    └── b\n\n3 nodes, 0 with a value\n";
    assert_eq!(server.run(&["tree", "--depth", "2"]).ok(), drawn);
    assert_eq!(server.run(&["tree", "--depth", "1", "--json"]).json().len(), 2);
    assert_eq!(server.run(&["tree", "--depth", "9", "--json"]).json().len(), 5);
    assert_eq!(server.run(&["tree", "--depth", "0"]).code, Some(2));
}

#[test]
fn tree_shows_each_of_many_nodes_once_and_in_order() {
    let server = Server::start();
    let mut paths: Vec<String> = (0..3000)
        .map(|i| format!("t/{:02}/{:03}/{i}", i % 17, i % 171))
        .chain((1..100).map(|depth| format!("t/deep{}", "/d".repeat(depth))))
        .collect();
    server.run_with(&["import", "-", "--quiet"], paths.join("\n").as_bytes()).ok();
    let shown = server.run(&["tree", "--json", "t"]).json();
    let filled = shown.iter().filter(|node| node["filled"] == true);
    let shown_filled: Vec<&str> = filled.map(|node| node["path"].as_str().expect("text")).collect();
    paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    assert_eq!(shown_filled, paths);
    let drawn = server.run(&["tree", "t"]);
    assert_eq!(drawn.ok().lines().count(), shown.len() + 2);
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let server = Server::start();
    // More than what fits the pipe and the buffers on the way.
    let paths: Vec<String> = (0..9000).map(|i| format!("t/{i}/{}", "x".repeat(60))).collect();
    server.run_with(&["import", "-", "--quiet"], paths.join("\n").as_bytes()).ok();
    let mut command = server.command(&["tree", "--json"]);
    let mut process =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("to start");
    let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
    stdout.read_line(&mut String::new()).expect("a line");
    drop(stdout);
    let status = wait(&mut process);
    let stderr = std::io::read_to_string(process.stderr.take().expect("a pipe")).expect("text");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn info_tells_who_the_server_is_and_how_large_its_tree() {
    let server = stored(&["a/b"]);
    let host = server.host();
    let shown = server.run(&["info"]);
    for line in [format!("host         {host}"), "nodes        3".into()] {
        assert!(shown.ok().lines().any(|shown| shown == line), "{line}: {shown:?}");
    }
    let info = &server.run(&["info", "--json"]).json()[0];
    assert_eq!(info["nodes"], 3);
    assert_eq!(info["connections"], 1);
    assert_eq!(info["address"], server.address());
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["roundTripMicros"].as_u64().expect("a whole number") > 0);
}
