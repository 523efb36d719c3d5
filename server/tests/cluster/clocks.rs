//! A host whose wall clock jumps: it has one of its own, by a library that stands before the system's.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use killick_client::Error;
use tokio::time::timeout;

use super::failing::{next_life, watch};
use super::harness::{Host, Hosts, eventually, members, run};
use super::proving::Authorities;

const DAY: i64 = 24 * 60 * 60;
/// For how long nothing happens after a jump: longer than a host has that is suspected.
const QUIET: Duration = Duration::from_secs(4);

/// Gives a host a clock of its own, which is right at first.
fn give_clock(host: &mut Host) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/clock.c");
    let library = host.folder.join("clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(compiler.status().expect("a C compiler").success());
    set_clock(host, 0);
    host.environment.push(("LD_PRELOAD", library));
    host.environment.push(("WALL_CLOCK_OFFSET", host.folder.join("offset")));
}

/// Has its clock be wrong by so many seconds from here on.
fn set_clock(host: &Host, offset: i64) {
    let (new, file) = (host.folder.join("offset.new"), host.folder.join("offset"));
    fs::write(&new, offset.to_string()).expect("written");
    fs::rename(&new, &file).expect("replaced");
}

#[test]
fn a_clock_that_jumps_is_no_reason_to_go_and_one_that_is_wrong_none_to_stay_away() {
    run(async {
        let mut hosts = Hosts::new(3);
        give_clock(&mut hosts[2]);
        hosts.launch();
        hosts.whole().await;
        let (client, name) = (hosts[0].client().await, hosts[2].name().to_owned());
        let path = hosts[2].path("mail");
        client.store_at(&path, "hello", false).await.expect("stored");
        let mut watches = [watch(&client).await, watch(&hosts[2].client().await).await];
        for offset in [DAY, -DAY, 0] {
            set_clock(&hosts[2], offset);
            for watch in &mut watches {
                let more = timeout(QUIET, watch.next()).await;
                assert!(more.is_err(), "{offset} s: {more:?}");
            }
            assert_eq!(client.load_at(&path).await.expect("loaded").text(), Some("hello"));
        }
        drop(watches);

        let first = members(&client).await[&name].generation;
        set_clock(&hosts[2], -DAY);
        hosts[2].kill();
        hosts[2].launch();
        let second = next_life(&client, &name, first).await;
        // It goes by a life that it has heard of, later than its own: what was called meanwhile is disconnected, or
        // its host gone, and nothing else.
        let answers = async || match client.load_at(&path).await {
            Ok(loaded) => {
                assert!(loaded.value.is_none(), "of a former life: {:?}", loaded.text());
                true
            }
            Err(Error::Disconnected { .. } | Error::HostGone { .. }) => false,
            Err(error) => panic!("{error:?}"),
        };
        eventually("it answers", answers).await;
        set_clock(&hosts[2], DAY);
        hosts[2].kill();
        hosts[2].launch();
        let third = next_life(&client, &name, second).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let ahead = third.saturating_sub(now as u64) / 1000;
        assert!(ahead > DAY as u64 / 2, "{ahead} s: the clock is not the host's");
        hosts.whole().await;
        drop(client);
        hosts.calm().await;
    });
}

#[test]
fn a_host_whose_clock_is_far_behind_is_told_why_it_is_alone_and_comes_in_once_it_is_right() {
    run(async {
        let mut hosts = Hosts::new(3);
        Authorities::of(&mut hosts);
        give_clock(&mut hosts[2]);
        set_clock(&hosts[2], -2 * DAY);
        hosts.launch();
        let file = hosts.folder().join("c/cert.pem").display().to_string();
        for warning in [
            format!("{file}: the host's certificate for the cluster is not valid before "),
            "UTC, which may be wrong: no host will take it".to_owned(),
            "the other host's certificate is not valid yet by this host's clock: one of the two clocks may be wrong"
                .to_owned(),
        ] {
            eventually(&warning, async || hosts[2].log().contains(&warning)).await;
        }
        // It is the one that takes nobody: the others are told that theirs are not taken.
        let warning = "this host's certificate is not valid at this time by the other host's clock";
        eventually(warning, async || hosts[0].log().contains(warning)).await;
        set_clock(&hosts[2], 0);
        hosts.whole().await;
    });
}
