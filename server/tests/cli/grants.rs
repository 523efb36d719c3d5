//! Giving away a part of the tree, using it, and taking it back.

use super::support::{Server, wait};

#[test]
fn a_part_is_given_used_within_its_limits_and_taken_back() {
    let server = Server::start();
    server.run(&["store", "docs/handbook", "read me"]).ok();
    let make = ["grant", "make", "docs", "--rights", "all", "--nodes", "2", "--depth", "1"];
    let to = ["--at", "for/bob", "--revoker", "admin/bob"];
    server.run(&[&make[..], &to].concat()).ok();
    assert_eq!(server.run(&["load", "for/bob"]).ok(), "capability: anchor\n");
    assert_eq!(server.run(&["load", "admin/bob"]).ok(), "capability: grant\n");

    let bob = |arguments: &[&str]| server.run(&[&["--through", "for/bob"], arguments].concat());
    assert_eq!(bob(&["load", "handbook"]).ok(), "read me\n");
    assert_eq!(bob(&["ls"]).ok(), "handbook\n");
    bob(&["store", "notes", "mine"]).ok();
    assert_eq!(server.run(&["load", "docs/notes"]).ok(), "mine\n");
    bob(&["store", "more", "mine"]).ok();
    let refused = bob(&["store", "too-much", "mine"]);
    assert!(refused.error(1).ends_with("the grant's limit of 2 nodes would be exceeded"));
    let refused = bob(&["store", "a/b", "mine"]);
    assert!(refused.error(1).ends_with("the grant's limit of 1 level would be exceeded"));
    let shown = server.run(&["grant", "show", "admin/bob"]);
    let lines: Vec<_> = shown.ok().lines().collect();
    assert_eq!(lines[0], "rights       walk,lookup,ls,load,store,watch,attenuate");
    assert_eq!(lines[1], "nodes        2 of 2 used");
    assert_eq!(lines[2], "depth        1");
    assert_eq!(*lines.last().unwrap(), "revoked      no");
    let shown = server.run(&["grant", "show", "admin/bob", "--json"]).json();
    assert_eq!(
        (&shown[0]["nodes"]["used"], &shown[0]["watches"]["limit"]),
        (&2.into(), &().into())
    );

    server.run(&["grant", "revoke", "admin/bob"]).ok();
    assert!(bob(&["load", "handbook"]).error(1).ends_with("load handbook: revoked"));
    assert_eq!(server.run(&["load", "docs/notes"]).ok(), "mine\n", "what was stored stays");
    assert!(server.run(&["grant", "show", "admin/bob"]).ok().ends_with("revoked      yes\n"));
}

#[test]
fn what_is_not_granted_is_said_by_its_name() {
    let server = Server::start();
    server.run(&["store", "docs/a", "x"]).ok();
    let to = ["--at", "r", "--revoker", "rr"];
    server.run(&[&["grant", "make", "docs"], &to[..]].concat()).ok();
    let reader = |arguments: &[&str]| server.run(&[&["--through", "r"], arguments].concat());
    assert_eq!(reader(&["load", "a"]).ok(), "x\n");
    for (arguments, right) in [
        (&["store", "a", "y"][..], "walk"),
        (&["walk", "b"], "walk"),
        (&["swap", "a", "y"], "walk"),
        (&["clear", "a"], "store"),
    ] {
        let refused = reader(arguments);
        let expected = format!("the right '{right}' is not granted");
        assert!(refused.error(1).ends_with(&expected), "{arguments:?}: {refused:?}");
    }
    let watched = reader(&["watch", "a", "--count", "1"]);
    assert_eq!(watched.ok(), "value 1: x\n");
    assert_eq!(reader(&["load", "--wait", "a"]).ok(), "x\n");
    let refused = reader(&["load", "--wait", "b"]);
    assert!(refused.error(1).ends_with("the right 'walk' is not granted"), "{refused:?}");
    let to = ["--at", "w", "--revoker", "ww", "--rights", "walk,lookup"];
    server.run(&[&["grant", "make", "docs"], &to[..]].concat()).ok();
    let walker = |arguments: &[&str]| server.run(&[&["--through", "w"], arguments].concat());
    for (arguments, right) in [
        (&["load", "a"][..], "load"),
        (&["store", "a", "y"], "store"),
        (&["store", "a", "y", "--if-revision", "1"], "store"),
        (&["ls"], "ls"),
    ] {
        let refused = walker(arguments);
        let expected = format!("the right '{right}' is not granted");
        assert!(refused.error(1).ends_with(&expected), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn a_grant_that_cannot_be_stored_leaves_nothing_behind() {
    let server = Server::start();
    server.run(&["store", "taken", "x"]).ok();
    let nodes = server.nodes();
    for (at, revoker) in [("taken", "free"), ("free", "taken"), ("same", "/self/same")] {
        let to = ["--at", at, "--revoker", revoker];
        let refused = server.run(&[&["grant", "make", "docs"], &to[..]].concat());
        assert!(
            refused.error(3).ends_with("not stored: the cell holds a value (revision 1)"),
            "{refused:?}"
        );
        assert_eq!(server.nodes(), nodes, "{at} {revoker}");
    }
    let bad = server.run(&["grant", "make", "x", "--at", "a", "--revoker", "b", "--rights", "fly"]);
    assert!(bad.error(2).contains("unknown right 'fly'"), "{bad:?}");
    let error = server.run(&["grant", "revoke", "taken"]);
    assert!(error.error(1).ends_with(": the cell holds text, and no grant"), "{error:?}");
    server.run(&["grant", "show", "nowhere"]).error(3);
    assert!(
        server
            .run(&["--through", "taken", "ls"])
            .error(1)
            .ends_with("the cell holds text, and no anchor")
    );
    server.run(&["--through", "nowhere", "ls"]).error(3);
}

#[test]
fn walk_ends_when_what_it_holds_is_revoked() {
    let server = Server::start();
    for rights in ["walk", "all"] {
        let to = ["--at", "for/bob", "--revoker", "admin/bob", "--rights", rights];
        server.run(&[&["grant", "make", "docs"][..], &to].concat()).ok();
        let walk = ["--through", "for/bob", "walk", "plan"];
        let mut holding = server.begin(&walk, "holding plan");
        // One who holds by his own right notices nothing.
        let mut other = server.begin(&["walk", "docs/plan"], "holding docs/plan");
        server.run(&["grant", "revoke", "admin/bob"]).ok();
        assert_eq!(wait(&mut holding).code(), Some(1));
        let why = std::io::read_to_string(holding.stderr.take().expect("a pipe")).expect("text");
        assert_eq!(why, "killick: walk plan: revoked\n");
        assert_eq!(server.run(&["ls", "docs"]).ok(), "plan\n");
        other.kill().expect("to kill");
        wait(&mut other);
        for path in ["for/bob", "admin/bob"] {
            server.run(&["clear", path]).ok();
        }
    }
}
