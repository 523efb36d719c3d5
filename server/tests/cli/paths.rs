//! Where a path starts, and what is said of one that leads nowhere.

use super::support::Server;

#[test]
fn relative_and_absolute_paths_lead_to_the_same_anchor() {
    let server = Server::start();
    let host = server.host();
    assert_eq!(host.len(), 16, "{host}");
    server.run(&["store", "a/b", "1"]).ok();
    for path in ["a/b", "./a//b/", "/self/a/b", &format!("/{host}/a/b"), &format!("//{host}//a/b")]
    {
        assert_eq!(server.run(&["load", path]).ok(), "1\n", "{path}");
    }
    server.run(&["store", "/self/c", "2"]).ok();
    assert_eq!(server.run(&["load", "c"]).ok(), "2\n");
    assert_eq!(server.run(&["ls", "/self"]).ok(), "a\nc\n");
}

#[test]
fn the_root_lists_the_one_host() {
    let server = Server::start();
    let listed = server.run(&["ls", "/"]);
    assert_eq!(listed.ok().lines().count(), 1);
    let info = server.run(&["info", "--json"]).json();
    assert_eq!(info[0]["id"], listed.ok().trim_end());
}

#[test]
fn a_path_without_a_host_is_refused_with_the_relative_spelling() {
    let server = Server::start();
    let host = server.host();
    for arguments in [
        &["ls", "/foo/bar"][..],
        &["tree", "/foo/bar"],
        &["load", "/foo/bar"],
        &["store", "/foo/bar", "1"],
        &["swap", "/foo/bar", "1"],
        &["clear", "/foo/bar"],
        &["lookup", "//foo/./bar/"],
        &["walk", "/foo/bar"],
        &["import", "/dev/null", "--under", "/foo/bar"],
        &["ps", "/foo/bar"],
    ] {
        let refused = server.run(arguments);
        let creates = ["store", "swap", "walk", "import"].contains(&arguments[0]);
        let line = refused.error(if creates { 1 } else { 3 });
        assert!(line.starts_with(&format!("killick: {}", arguments[0])), "{arguments:?}: {line}");
        assert!(line.contains(": no host 'foo': a path that"), "{arguments:?}: {line}");
        assert!(line.ends_with("did you mean 'foo/bar'?"), "{arguments:?}: {line}");
        assert!(line.contains(&host), "{arguments:?}: {line}");
    }
    assert_eq!(server.nodes(), 1, "nothing was created on the way");
}

#[test]
fn what_is_missing_under_a_host_is_not_there_and_no_wrong_host() {
    let server = Server::start();
    let path = format!("/{}/a", server.host());
    assert_eq!(
        server.run(&["load", &path]).error(3),
        format!("killick: load {path}: nothing there")
    );
    assert_eq!(server.run(&["ls", "/self/a"]).error(3), "killick: ls /self/a: nothing there");
}

#[test]
fn nothing_can_be_stored_at_the_cluster() {
    let server = Server::start();
    let refused = server.run(&["store", "/", "1"]);
    let line = "killick: store /: the cluster's anchor has no cell";
    assert!(refused.error(1).starts_with(line), "{refused:?}");
}

#[test]
fn a_bad_path_is_a_usage_error_with_the_byte_and_its_place() {
    let server = Server::start();
    for (path, why) in [
        ("a b", "byte 0x20 (space) at offset 1"),
        ("/self/é", "byte 0xc3 at offset 6"),
        ("a/../b", "component '..' at offset 2"),
        ("a\\b", "byte 0x5c (backslash) at offset 1"),
    ] {
        let refused = server.run(&["store", path, "1"]);
        assert!(refused.error(2).contains(why), "{refused:?}");
    }
    assert_eq!(server.nodes(), 1);
}

#[test]
fn a_path_over_a_limit_of_the_server_is_an_error_that_names_it() {
    let server = Server::with(&["--max-depth", "3", "--max-path-bytes", "20"]);
    let refused = server.run(&["store", "a/b/c/d", "1"]);
    assert!(refused.error(1).contains("limit of 3"), "{refused:?}");
    let refused = server.run(&["load", "a/very/long/path/indeed"]);
    assert!(refused.error(1).contains("limit of 20"), "{refused:?}");
    assert_eq!(server.nodes(), 1);
}
