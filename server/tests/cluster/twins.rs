//! Two hosts with one key, as after a folder was copied.

use std::fs;
use std::time::Duration;

use killick_client::{Client, MemberState, What};
use rustix::process::Signal;

use super::failing::{becomes, next_life};
use super::harness::{Hosts, members, run};

/// Hosts that know each other, and one more with the key of the last of them, which is not started.
async fn with_a_copy(count: usize) -> Hosts {
    let mut hosts = Hosts::new(count + 1);
    hosts[..count].iter_mut().for_each(super::harness::Host::launch);
    hosts.whole().await;
    copy_key(&hosts, count - 1, count);
    hosts
}

fn copy_key(hosts: &Hosts, from: usize, to: usize) {
    let [from, to] = [from, to].map(|host| hosts[host].folder.join("key"));
    fs::copy(from, to).expect("copied");
}

/// How often a log says that a host is another one than before.
fn restarts(log: &str) -> usize {
    log.lines().filter(|line| line.contains("a host has been restarted")).count()
}

async fn generation(client: &Client, name: &str) -> u64 {
    members(client).await[name].generation
}

#[test]
fn a_copy_of_a_host_stops_and_nobody_else_sees_anything_of_it() {
    run(async {
        let mut hosts = with_a_copy(3).await;
        let one = hosts[0].client().await;
        let name = hosts[2].name().to_owned();
        let before = generation(&one, &name).await;
        let path = hosts[2].path("mail");
        one.store_at(&path, "hello", false).await.expect("stored");
        let mut told = one.watch_at("/", What::Children).expect("a watch");
        told.next().await.expect("the first change");

        // As a service manager would, again and again.
        for _ in 0..3 {
            hosts[3].launch();
            assert!(!hosts[3].ended().await.success());
        }
        let said = format!(
            "killick: serve: another host runs with this key, at {}: each needs its own",
            hosts[2].at
        );
        assert_eq!(hosts[3].log().matches(&said).count(), 3, "{}", hosts[3].log());

        let change = tokio::time::timeout(Duration::from_secs(3), told.next()).await;
        assert!(change.is_err(), "{change:?}");
        for host in &hosts[..3] {
            assert_eq!(restarts(&host.log()), 0, "{}", host.log());
        }
        assert_eq!(generation(&one, &name).await, before);
        assert_eq!(one.load_at(&path).await.expect("loaded").text(), Some("hello"));
        one.walk(&path).await.expect("walked").clear().await.expect("cleared");
        drop((told, one));
        hosts.whole().await;
        hosts.calm().await;
    });
}

#[test]
fn a_copy_of_a_host_that_is_alone_stops_and_that_one_goes_on() {
    run(async {
        let mut hosts = with_a_copy(1).await;
        // It is not the younger one that is asked for.
        tokio::time::sleep(Duration::from_secs(6)).await;
        for _ in 0..2 {
            hosts[1].launch();
            assert!(!hosts[1].ended().await.success());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let said = format!("another host runs with this key, at {}", hosts[0].at);
        assert!(hosts[1].log().contains(&said), "{}", hosts[1].log());
        assert!(!hosts[0].log().contains("runs with this key"), "{}", hosts[0].log());
        hosts.whole().await;
    });
}

#[test]
fn a_host_that_hung_stops_when_another_has_taken_its_place() {
    run(async {
        let mut hosts = with_a_copy(3).await;
        let one = hosts[0].client().await;
        let name = hosts[2].name().to_owned();
        let before = generation(&one, &name).await;
        hosts[2].signal(Signal::STOP);
        becomes(&one, &name, MemberState::Failed).await;
        hosts[3].launch();
        assert_eq!(hosts[3].name(), name);
        becomes(&one, &name, MemberState::Up).await;
        let path = hosts[3].path("mail");
        one.store_at(&path, "hello", false).await.expect("stored");
        let after = generation(&one, &name).await;
        assert!(after > before);

        hosts[2].signal(Signal::CONT);
        assert!(!hosts[2].ended().await.success());
        let said = format!("another host runs with this key, at {}", hosts[3].at);
        assert!(hosts[2].log().contains(&said), "{}", hosts[2].log());
        assert_eq!(generation(&one, &name).await, after);
        assert_eq!(one.load_at(&path).await.expect("loaded").text(), Some("hello"));
        for host in &hosts[..2] {
            assert!(restarts(&host.log()) <= 1, "{}", host.log());
        }
        one.walk(&path).await.expect("walked").clear().await.expect("cleared");
        drop(one);
        hosts.whole().await;
        hosts.calm().await;
    });
}

#[test]
fn a_host_that_is_started_again_is_never_taken_for_a_copy_of_itself() {
    run(async {
        let mut hosts = with_a_copy(3).await;
        let one = hosts[0].client().await;
        let name = hosts[2].name().to_owned();
        for elsewhere in [false, false, false, true] {
            let before = generation(&one, &name).await;
            hosts[2].kill();
            if elsewhere {
                hosts[2].at = hosts[3].at;
            }
            hosts[2].launch();
            next_life(&one, &name, before).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(one);
        hosts.whole().await;
        assert!(!hosts[2].log().contains("runs with this key"), "{}", hosts[2].log());
    });
}
