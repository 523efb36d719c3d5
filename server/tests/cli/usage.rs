//! What makes no sense on the command line, in the environment or in a file of settings ends with 2, with or without a
//! server, and is told with the argument, the value and what is allowed.

use std::fs;

use super::support::{Ran, program, run};

/// Values that are none of anything that is counted.
const NO_NUMBERS: [&str; 5] = ["-1", "1.5", "many", "", "99999999999999999999999"];
/// Values that are no times.
const NO_TIMES: [&str; 6] = ["-1s", "soon", "", "5h", "1e9", "99999999999999999999"];
/// Values that are no addresses of a server.
const NO_ADDRESSES: [&str; 10] = [
    "",
    "here",
    "ftp://x",
    "tcp:",
    "tcp:here",
    "tcp:here:",
    "tcp:here:x",
    "tcp:here:99999",
    "tls:",
    "unix:",
];
/// Values that are no paths.
const NO_PATHS: [&str; 5] = ["..", "a/../b", "a b", "é", "a\\b"];

/// Options with a number, by the command, with what else that takes, and a number too small or too large, if there
/// is one.
const NUMBERS: [(&[&str], &str, Option<&str>); 26] = [
    (&["bench", "walk"], "--connections", Some("0")),
    (&["bench", "walk"], "--in-flight", Some("0")),
    (&["bench", "walk"], "--children", None),
    (&["ca", "new"], "--days", Some("0")),
    (&["cert", "client", "a", "--out", "a"], "--days", Some("0")),
    (&["chan", "make", "a"], "--capacity", None),
    (&["demo"], "--hosts", Some("10")),
    (&["exec"], "--nodes", None),
    (&["exec"], "--cpu-seconds", None),
    (&["exec"], "--memory-bytes", None),
    (&["exec"], "--open-files", None),
    (&["exec"], "--max-user-processes", None),
    (&["exec"], "--file-bytes", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--nodes", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--depth", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--value-bytes", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--watches", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--channels", None),
    (&["grant", "make", "a", "--at", "b", "--revoker", "c"], "--processes", None),
    (&["import", "-"], "--window", Some("0")),
    (&["import", "-"], "--show", None),
    (&["recv", "a"], "--count", None),
    (&["store", "a", "1"], "--if-revision", None),
    (&["top"], "--count", Some("0")),
    (&["tree"], "--depth", Some("0")),
    (&["watch", "a"], "--count", None),
];

/// Settings that are numbers, with the smallest that is one, and the largest, if it is not that of the machine.
const SETTINGS: [(&str, &str, Option<&str>); 25] = [
    ("threads", "1", Some("1024")),
    ("max-connections", "1", None),
    ("max-handshakes", "0", None),
    ("max-capabilities", "1", None),
    ("max-connection-nodes", "1", None),
    ("max-connection-values", "0", None),
    ("max-watches", "0", None),
    ("max-calls", "1", None),
    ("max-call-bytes", "4096", None),
    ("max-value-bytes", "0", None),
    ("max-message-bytes", "1024", None),
    ("max-stored-bytes", "0", None),
    ("max-channels", "0", None),
    ("max-connection-channels", "0", None),
    ("max-channel-capacity", "0", None),
    ("max-processes", "0", None),
    ("max-value-capabilities", "0", None),
    ("max-nodes", "2", None),
    ("max-children", "0", None),
    ("max-depth", "1", None),
    ("max-name-bytes", "1", None),
    ("max-path-bytes", "1", None),
    ("cluster-mtu", "1200", Some("65535")),
    ("allow-uid", "0", Some("4294967295")),
    ("allow-gid", "0", Some("4294967295")),
];

/// Runs a command that would find no server, and no settings but its own.
fn killick(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = program();
    command.env("KILLICK_ADDR", "unix:/nowhere/killick.sock").envs(environment.iter().copied());
    run(command.args(arguments), b"")
}

/// `arguments` are refused, and the error tells these words.
#[track_caller]
fn refused(arguments: &[&str], environment: &[(&str, &str)], words: &[&str]) {
    let ran = killick(arguments, environment);
    assert_eq!(ran.code, Some(2), "{arguments:?} {environment:?}: {ran:?}");
    assert!(ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    assert!(ran.stderr.starts_with("killick: "), "{arguments:?}: {ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{arguments:?} {environment:?}: no {word:?} in {ran:?}");
    }
}

#[test]
fn a_number_that_is_none_is_refused_before_a_server_is_asked() {
    for (command, option, out_of_range) in NUMBERS {
        for value in NO_NUMBERS.into_iter().chain(out_of_range) {
            let said = format!("{option}={value}");
            refused(&[command, &[&said]].concat(), &[], &[option]);
            refused(&[command, &[&said]].concat(), &[], &[&format!("'{value}'")]);
        }
    }
}

#[test]
fn a_time_that_is_none_is_refused_before_a_server_is_asked() {
    for (command, option, zero) in [
        (&["ls"][..], "--timeout", false),
        (&["top"], "--interval", true),
        (&["bench", "walk"], "--duration", true),
    ] {
        for value in NO_TIMES.into_iter().chain(zero.then_some("0")) {
            let said = format!("{option}={value}");
            refused(&[command, &[&said]].concat(), &[], &[option, &format!("'{value}'")]);
        }
    }
}

#[test]
fn an_address_and_a_path_that_are_none_are_refused_before_a_server_is_asked() {
    for address in NO_ADDRESSES {
        refused(&["ls", "--connect", address], &[], &["--connect <ADDR>"]);
        refused(&["serve", "--check-config", "--listen", address], &[], &["--listen <ADDR>"]);
        if !address.is_empty() {
            refused(&["ls"], &[("KILLICK_ADDR", address)], &["KILLICK_ADDR"]);
        }
    }
    for path in NO_PATHS {
        for command in [
            "ls", "tree", "walk", "load", "lookup", "clear", "watch", "recv", "ps", "logs",
            "attach", "kill", "wait",
        ] {
            refused(&[command, path], &[], &["PATH"]);
        }
        for command in [
            &["store", path, "1"][..],
            &["swap", path, "1"],
            &["send", path, "1"],
            &["chan", "make", path],
            &["chan", "make", "--send-end", path, "--recv-end", "a"],
            &["chan", "show", path],
            &["chan", "close", path],
            &["grant", "make", path, "--at", "a", "--revoker", "b"],
            &["grant", "make", "a", "--at", path, "--revoker", "b"],
            &["grant", "make", "a", "--at", "b", "--revoker", path],
            &["grant", "show", path],
            &["grant", "revoke", path],
            &["exec", "--at", path, "true"],
            &["exec", "--anchor", path, "true"],
            &["import", "-", "--under", path],
            &["ls", "--through", path],
        ] {
            refused(command, &[], &["PATH"]);
        }
    }
}

#[test]
fn arguments_that_make_no_sense_together_are_refused_before_a_server_is_asked() {
    for (arguments, words) in [
        (&["send", "a", "x", "--lines"][..], "VALUE is '-'"),
        (&["chan", "make"], "a PATH, or both --send-end and --recv-end"),
        (&["chan", "make", "--send-end", "a"], "a PATH, or both --send-end and --recv-end"),
        (&["chan", "make", "a", "--send-end", "b", "--recv-end", "./a"], "cells of their own"),
        (&["chan", "make", "--send-end", "b", "--recv-end", "b"], "cells of their own"),
        (&["grant", "make", "a", "--at", "b/", "--revoker", "./b"], "--at and --revoker"),
        (&["grant", "make", "a", "--at", "b", "--revoker", "c", "--rights", "fly"], "'fly'"),
        (&["exec", "--rights", "fly", "true"], "'fly'"),
        (&["exec", "--lifetime", "long", "true"], "'long'"),
        (&["exec", "--detach", "--lifetime", "connection", "true"], "would end it at once"),
        (&["exec", "--env", "=x", "true"], "--env: '=x' has no name"),
        (&["exec", "--env", "", "true"], "--env: '' has no name"),
        (&["exec", "--env", "NOT_SET_ANYWHERE", "true"], "is not in the environment"),
        (&["exec", "--cwd", "here", "true"], "'here' is no absolute path"),
        (&["exec", "./true"], "'./true' is neither an absolute path nor a name"),
        (&["exec", ""], "'' is no program"),
        (&["exec", "--keep", "true"], "--at"),
        (&["kill", "a", "-s", "NOTHING"], "NOTHING"),
        (&["kill", "a", "-s", "-1"], "-1"),
        (&["kill", "a", "-s", "0"], "0"),
        (&["kill", "a", "-s", "99"], "99"),
        (&["cert", "host", "a b", "--out", "a"], "a b"),
        (&["cert", "client", "", "--out", "a"], "NAME"),
        (&["cert", "client", "a", "--out", "a", "--root", "a b"], "a b"),
        (&["man", "nothing"], "killick-nothing"),
        (&["completions", "cobol"], "cobol"),
        (&["bench", "fly"], "fly"),
    ] {
        refused(arguments, &[], &[words]);
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_refused_wherever_it_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    let path = file.to_str().expect("UTF-8");
    for (key, least, most) in SETTINGS {
        let below = least.parse::<u64>().expect("a number").checked_sub(1);
        let above = most.map(|most| most.parse::<u64>().expect("a number") + 1);
        let beyond: Vec<_> =
            below.into_iter().chain(above).map(|number| number.to_string()).collect();
        let (flag, variable) = (format!("--{key}"), key.replace('-', "_").to_uppercase());
        let variable = format!("KILLICK_{variable}");
        // What the cluster's settings may be is looked at in one.
        let cluster =
            ["--cluster", "c1", "--listen-cluster", "127.0.0.1:0", "--cluster-secret", path];
        let others = if key.starts_with("cluster") { &cluster[..] } else { &[] };
        let check = [&["serve", "--check-config"][..], others].concat();
        for value in NO_NUMBERS.into_iter().chain(beyond.iter().map(String::as_str)) {
            refused(&[&check[..], &[&format!("{flag}={value}")]].concat(), &[], &[&flag]);
            if !value.is_empty() {
                refused(&check, &[(&variable, value)], &[&variable]);
            }
            let value =
                value.parse::<f64>().map_or_else(|_| format!("{value:?}"), |_| value.to_owned());
            fs::write(&file, format!("# first\n{key} = {value}\n")).expect("written");
            refused(&[&check[..], &["--config", path]].concat(), &[], &[&format!("{path}:2")]);
        }
        let ran = killick(
            &[&["serve", "--check-config"][..], &[&format!("{flag}={least}")]].concat(),
            &[],
        );
        assert!(ran.code == Some(0) || !others.is_empty(), "{flag}={least}: {ran:?}");
    }
    for key in [
        "handshake-timeout",
        "settle-timeout",
        "write-timeout",
        "read-timeout",
        "idle-timeout",
        "drain-timeout",
    ] {
        let (flag, variable) = (format!("--{key}"), key.replace('-', "_").to_uppercase());
        for value in NO_TIMES.into_iter().chain(["0", "0ms"]) {
            refused(
                &["serve", "--check-config", &format!("{flag}={value}")],
                &[],
                &[&flag, &format!("'{value}'")],
            );
            let variable = format!("KILLICK_{variable}");
            if !value.is_empty() {
                refused(&["serve", "--check-config"], &[(&variable, value)], &[&variable]);
            }
            fs::write(&file, format!("{key} = {value:?}\n")).expect("written");
            let place = format!("{path}:1: {key}");
            refused(&["serve", "--check-config", "--config", path], &[], &[&place]);
        }
    }
}
