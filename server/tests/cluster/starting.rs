//! Why a host does not start: what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Hosts, eventually, run, write};

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
fn a_host_that_finds_nobody_says_where_it_has_looked() {
    run(async {
        let mut hosts = Hosts::new(2);
        hosts[0].launch();
        let told = format!(
            "no other host is found; if there is one, UDP has to get there and back at={}",
            hosts[1].at
        );
        eventually("a warning", async || hosts[0].log().contains(&told)).await;
        hosts[1].launch();
        hosts.whole().await;
    });
}
