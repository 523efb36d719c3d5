//! Why a host does not start: what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Hosts, cli, eventually, run, write};

/// Checks that a host that is told this says all of `words`, in one line.
#[track_caller]
fn says(complained: &str, words: &[&str]) {
    assert_eq!(
        complained.lines().filter(|line| line.starts_with("killick: ")).count(),
        1,
        "{complained}"
    );
    for word in words {
        assert!(complained.contains(word), "no {word:?} in {complained}");
    }
}

#[test]
fn an_address_that_another_host_has_is_told() {
    run(async {
        let mut hosts = Hosts::new(2);
        hosts[0].launch();
        hosts[1].at = hosts[0].at;
        let at = hosts[0].at.to_string();
        says(&hosts[1].refuses(), &[&at, "the address is in use"]);
        // It is not the worse for it.
        hosts.whole().await;
    });
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let mut hosts = Hosts::new(1);
    let key = hosts[0].folder.join("key");
    hosts[0].launch();
    hosts[0].kill();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    says(&hosts[0].refuses(), &["host-key", &key.display().to_string(), "0600"]);
    write(&key, "no key", 0o600);
    says(&hosts[0].refuses(), &["host-key", &key.display().to_string()]);
    assert_eq!(fs::read_to_string(&key).expect("read"), "no key", "it was overwritten");
}

#[test]
fn a_secret_that_is_none_is_told() {
    let mut hosts = Hosts::new(1);
    let secret = hosts.folder().join("secret");
    let path = secret.display().to_string();
    write(&secret, "hunter2\n", 0o600);
    says(&hosts[0].refuses(), &["cluster-secret", &path, "killick secret"]);
    fs::remove_file(&secret).expect("removed");
    says(&hosts[0].refuses(), &["cluster-secret", &path]);
    hosts[0].proof = Vec::new();
    says(&hosts[0].refuses(), &["--cluster-secret", "--cluster-identity"]);
}

#[test]
fn an_address_that_nobody_can_reach_is_told() {
    let mut hosts = Hosts::new(1);
    hosts[0].at = "0.0.0.0:0".parse().expect("an address");
    says(&hosts[0].refuses(), &["0.0.0.0:", "--advertise"]);
    hosts[0].arguments.extend(["--advertise", "127.0.0.1:0"].map(str::to_owned));
    hosts[0].launch();
}

#[test]
fn a_host_that_finds_nobody_says_where_it_has_looked_and_why() {
    run(async {
        let mut hosts = Hosts::new(2);
        hosts[0].launch();
        let at = hosts[1].at;
        let soon = format!("nobody answers at a seed's address at={at} join=\"");
        eventually("a warning", async || hosts[0].log().contains(&soon)).await;
        let log = hosts[0].log();
        let line = log.lines().find(|line| line.contains(&soon)).expect("the warning");
        assert!(line.contains("why=\"refused: nothing listens there for UDP"), "{line}");
        hosts[1].launch();
        hosts.whole().await;
    });
}

#[test]
fn a_host_with_another_secret_or_cluster_is_told_of_at_once() {
    run(async {
        let mut hosts = Hosts::new(3);
        let other = hosts.folder().join("other").display().to_string();
        cli(hosts.folder(), &["secret", "--out", &other]).expect("a secret");
        hosts[1].proof[1] = other;
        hosts[2].cluster = "c2";
        hosts.launch();
        for (stranger, why) in
            [(1, "it has another --cluster-secret"), (2, "it has another --cluster,")]
        {
            let at = hosts[stranger].at;
            let told = format!("no host of this cluster at a seed's address at={at}");
            eventually("a warning", async || hosts[0].log().contains(&told)).await;
            let log = hosts[0].log();
            let line = log.lines().find(|line| line.contains(&told)).expect("the warning");
            assert!(line.contains(why) && !log.contains("nobody answers"), "{log}");
            // As is who is joined, of who comes.
            let told = format!("somebody is not let into the cluster at={at} reason={why}");
            eventually("a warning", async || hosts[0].log().contains(&told)).await;
            assert!(!hosts[0].log().contains("ca.pem"), "{}", hosts[0].log());
        }
    });
}

#[test]
fn a_host_that_is_not_where_it_says_is_complained_of_by_the_others() {
    run(async {
        let mut hosts = Hosts::new(3);
        let nobody = hosts[1].at.to_string().replace(":7300", ":7399");
        hosts[1].arguments.extend(["--advertise", &nobody].map(str::to_owned));
        // This one comes from elsewhere, and is reached where it says.
        let reached = format!("{}:0", hosts[2].at.ip());
        hosts[2].at = "0.0.0.0:0".parse().expect("an address");
        hosts[2].arguments.extend(["--advertise", &reached].map(str::to_owned));
        hosts.launch();
        let of = |host: &str, log: &str, told: &str| {
            log.lines().any(|line| line.contains(told) && line.contains(&format!("host={host}")))
        };
        let wrong = "a host is not reached where it says that it is: is its --advertise right?";
        let right = "DEBUG reached where it says that it is";
        let (one, two) = (hosts[1].name(), hosts[2].name());
        eventually("a warning", async || of(one, &hosts[0].log(), wrong)).await;
        eventually("a look", async || of(two, &hosts[0].log(), right)).await;
        let log = hosts[0].log();
        assert!(!of(two, &log, wrong), "{log}");
        let line = log.lines().find(|line| line.contains(wrong)).expect("the warning");
        assert!(line.contains(&format!("says={nobody}")), "{line}");
    });
}

#[test]
fn tags_that_are_no_use_are_told_wherever_they_stand() {
    let hosts = Hosts::new(1);
    let again = "the key 'zone' is there more than once";
    let turned = "'zone=a\\u{202e}' has a character that turns text around, U+202E";
    let control = "'zone=a\\u{9b}' has a control character, U+009B";
    for (tags, toml, why) in [
        (&["zone=a", "role=db", "zone=b"][..], r#"["zone=a", "role=db", "zone=b"]"#, again),
        (&["zone=a", "zone=a"], r#"["zone=a", "zone=a"]"#, again),
        (&["zone=a\u{202e}"], r#"["zone=a\u202e"]"#, turned),
        (&["zone=a\u{9b}"], r#""zone=a\u009b""#, control),
    ] {
        let refused = |arguments: &[&str], variable: &str, words: &[&str]| {
            let mut command = hosts[0].command();
            command.args(arguments).arg("--check-config");
            if !variable.is_empty() {
                command.env("KILLICK_TAG", variable);
            }
            let ran = command.output().expect("to run the program");
            let complained = String::from_utf8(ran.stderr).expect("text");
            assert_eq!((ran.status.code(), &*ran.stdout), (Some(2), &b""[..]), "{complained}");
            says(&complained, words);
        };
        let flags: Vec<_> = tags.iter().flat_map(|tag| ["--tag", tag]).collect();
        refused(&flags, "", &["--tag: ", why]);
        refused(&[], &tags.join(","), &["KILLICK_TAG in the environment: ", why]);
        let file = hosts.folder().join("killick.toml");
        fs::write(&file, format!("log = \"info\"\ntag = {toml}\n")).expect("written");
        let file = file.display().to_string();
        refused(&["--config", &file], "", &[&format!("{file}:2: tag: "), why]);
    }
}
