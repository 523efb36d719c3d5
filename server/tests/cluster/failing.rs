//! Hosts that die, hang, go and come back.

use std::time::{Duration, Instant};

use futures::future::join;
use killick_client::{Change, Client, Departure, Error, MemberState, Watch, What};
use rustix::process::Signal;

use super::harness::{Hosts, eventually, measured, members, run, state};
use super::joining::pruned;

/// How soon a host is to be seen that does not answer any more.
const SEEN_DOWN: Duration = Duration::from_secs(4);
/// How soon a call to a dead host is to fail.
const FAILS: Duration = Duration::from_secs(3);
/// How soon a host that is back is to be seen.
const SEEN_UP: Duration = Duration::from_secs(4);

/// A watch of the cluster that has been told of all that there is.
pub(crate) async fn watch(client: &Client) -> Watch {
    let mut watch = client.watch_at("/", What::Children).expect("a watch");
    watch.next().await.expect("the first change");
    watch
}

/// Waits until a host is up in a later life than `former`: which.
pub(crate) async fn next_life(client: &Client, name: &str, former: u64) -> u64 {
    let mut life = former;
    eventually("another life", async || {
        let host = &members(client).await[name];
        life = host.generation;
        life > former && host.state == MemberState::Up
    })
    .await;
    life
}

/// Waits until the watch is told that a host went: how.
async fn departure(watch: &mut Watch, name: &str) -> Departure {
    loop {
        let change = watch.next().await.expect("a change");
        let how = change.gone().find(|(gone, _)| *gone == name).map(|(_, how)| how);
        if let Some(how) = how {
            return how;
        }
    }
}

/// Waits until a watch is told that a host is there.
async fn arrival(watch: &mut Watch, name: &str) {
    let came = |change: &Change| change.children.added.iter().any(|(added, _)| added == name);
    while !came(&watch.next().await.expect("a change")) {}
}

/// Waits until a host is in this state by what another one knows: how long that took.
pub(crate) async fn becomes(client: &Client, name: &str, wanted: MemberState) -> Duration {
    let what = format!("{name} is {wanted}");
    eventually(&what, async || state(client, name).await == Some(wanted)).await
}

/// Whether an error is one of a call to a host that is gone.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(cause(error), Error::HostGone { .. } | Error::Unreachable { .. })
}

/// What has happened, whether or not the call may have been made.
pub(crate) fn cause(error: &Error) -> &Error {
    match error {
        Error::UnknownOutcome { cause } => cause,
        error => error,
    }
}

/// Checks that a call fails as one to a host that is gone, and soon.
async fn fails<T: std::fmt::Debug>(what: &str, call: impl Future<Output = Result<T, Error>>) {
    let start = Instant::now();
    let error = call.await.expect_err(what);
    assert!(is_gone(&error), "{what}: {error:?}");
    measured(what, start.elapsed(), FAILS);
}

#[test]
fn a_host_that_is_killed_is_seen_down_and_nothing_of_it_is_left() {
    run(async {
        let mut hosts = Hosts::start(3).await;
        let [one, other] = [hosts[0].client().await, hosts[1].client().await];
        let dead = hosts[2].name().to_owned();
        let mut watches = [watch(&one).await, watch(&other).await];

        // Each has something of it: what is stored there, an anchor of it in a cell here, a watch.
        let path = hosts[2].path("mail");
        one.store_at(&path, "hello", false).await.expect("stored");
        let anchor = one.walk(hosts[2].path("a/b")).await.expect("walked");
        one.store_at("far", &anchor, false).await.expect("stored");
        other
            .store_at(hosts[0].path("elsewhere"), &other.walk(&path).await.expect("walked"), false)
            .await
            .expect("stored");
        let mut mail = anchor.watch(What::Value);
        mail.next().await.expect("the first change");

        let start = Instant::now();
        hosts[2].kill();
        let hung = async {
            fails("a call under way as its host is killed", anchor.load()).await;
            println!(
                "measured: kill -9 until calls under way fail: {:.2} s",
                start.elapsed().as_secs_f64()
            );
        };
        let seen = async {
            for watch in &mut watches {
                assert_eq!(departure(watch, &dead).await, Departure::Failed);
            }
            measured("kill -9, seen down by all", start.elapsed(), SEEN_DOWN);
        };
        join(hung, seen).await;
        assert!(mail.next().await.is_err());
        for client in [&one, &other] {
            assert_eq!(state(client, &dead).await, Some(MemberState::Failed));
            fails("a call to a dead host", client.load_at(&path)).await;
            fails("a walk to a dead host", client.walk(&path)).await;
        }
        // A dead capability is no value.
        pruned(&one, "far").await;
        println!(
            "measured: kill -9 until its values are gone: {:.2} s",
            start.elapsed().as_secs_f64()
        );
        // Nor is one that came by way of a third host, which says so.
        pruned(&one, "elsewhere").await;
        println!(
            "measured: kill -9 until its values that came by way of a third host are gone: {:.2} s",
            start.elapsed().as_secs_f64()
        );
        drop((watches, mail, anchor, one, other));
        hosts.calm().await;
    });
}

#[test]
fn a_host_that_starts_again_is_the_same_with_another_life() {
    run(async {
        let mut hosts = Hosts::start(3).await;
        let one = hosts[0].client().await;
        let name = hosts[2].name().to_owned();
        let former = members(&one).await[&name].clone();
        let path = hosts[2].path("mail");
        one.store_at(&path, "hello", false).await.expect("stored");
        let anchor = one.walk(&path).await.expect("walked");
        let mut told = watch(&one).await;

        hosts[2].kill();
        let start = Instant::now();
        hosts[2].launch();
        assert_eq!(hosts[2].name(), name);
        // It may be seen down before it is back, on a busy machine.
        let mut how = None;
        next_life(&one, &name, former.generation).await;
        measured("restart, seen", start.elapsed(), SEEN_UP);
        while how.is_none() {
            let change = told.next().await.expect("a change");
            how = change.gone().find(|(gone, _)| *gone == name).map(|(_, how)| how);
            if how == Some(Departure::Restarted) {
                let came = change.children.added.iter().any(|(added, _)| *added == name);
                assert!(came, "{change:?}");
            }
        }
        println!("told: {how:?}");
        assert!(matches!(how, Some(Departure::Restarted | Departure::Failed)), "{how:?}");

        fails("a call to an anchor of a former life", anchor.load()).await;
        let start = Instant::now();
        let loaded = one.load_at(&path).await.expect("a new connection");
        measured("the first call to the next life", start.elapsed(), FAILS);
        assert!(loaded.value.is_none(), "{loaded:?}");
        one.store_at(&path, "again", false).await.expect("stored");
        assert_eq!(hosts[1].run(&["load", &path]).expect("loaded").trim(), "again");
        one.walk(&path).await.expect("walked").clear().await.expect("cleared");
        drop((told, anchor, one));
        hosts.whole().await;
        hosts.calm().await;
    });
}

#[test]
fn a_host_that_was_seen_down_comes_back_also_at_another_address() {
    run(async {
        let mut hosts = Hosts::start(3).await;
        let one = hosts[0].client().await;
        let name = hosts[2].name().to_owned();
        let mut former = members(&one).await[&name].generation;
        let mut told = watch(&one).await;
        for moves in [0, 1] {
            hosts[2].kill();
            assert_eq!(departure(&mut told, &name).await, Departure::Failed);
            let port = hosts[2].at.port() + moves;
            hosts[2].at.set_port(port);
            let start = Instant::now();
            hosts[2].launch();
            arrival(&mut told, &name).await;
            hosts.whole().await;
            measured("back after it was seen down", start.elapsed(), Duration::from_secs(1));
            let life = members(&one).await[&name].generation;
            assert!(life > former);
            former = life;
            assert!(one.lookup(hosts[2].path("x")).await.expect("a lookup").is_none());
        }
        drop((told, one));
        hosts.calm().await;
    });
}

#[test]
fn a_host_that_ends_says_so() {
    run(async {
        let mut hosts = Hosts::start(3).await;
        let [one, other] = [hosts[0].client().await, hosts[1].client().await];
        let name = hosts[2].name().to_owned();
        let path = hosts[2].path("x");
        assert!(one.lookup(&path).await.expect("a lookup").is_none());
        let mut watches = [watch(&one).await, watch(&other).await];
        let start = Instant::now();
        assert!(hosts[2].stop().await.success());
        for watch in &mut watches {
            assert_eq!(departure(watch, &name).await, Departure::Left);
        }
        measured("SIGTERM, told that it left", start.elapsed(), Duration::from_secs(2));
        for client in [&one, &other] {
            assert_eq!(state(client, &name).await, Some(MemberState::Left));
            fails("a call to a host that left", client.load_at(&path)).await;
        }
        hosts[2].launch();
        for watch in &mut watches {
            arrival(watch, &name).await;
        }
        hosts.whole().await;
        drop((watches, one, other));
        hosts.calm().await;
    });
}

#[test]
fn a_host_that_hangs_is_seen_down_and_up_again_in_the_same_life() {
    run(async {
        let hosts = Hosts::start(3).await;
        let [one, other] = [hosts[0].client().await, hosts[1].client().await];
        let name = hosts[2].name().to_owned();
        let former = members(&one).await[&name].generation;
        assert!(one.lookup(hosts[2].path("x")).await.expect("a lookup").is_none());
        let start = Instant::now();
        hosts[2].signal(Signal::STOP);
        for client in [&one, &other] {
            becomes(client, &name, MemberState::Failed).await;
        }
        measured("SIGSTOP, seen down by all", start.elapsed(), SEEN_DOWN);
        fails("a call to a host that hangs", one.load_at(hosts[2].path("x"))).await;
        hosts[2].signal(Signal::CONT);
        let start = Instant::now();
        hosts.whole().await;
        measured("SIGCONT, seen up by all", start.elapsed(), Duration::from_secs(5));
        assert_eq!(members(&one).await[&name].generation, former);
        assert!(one.lookup(hosts[2].path("x")).await.expect("a lookup").is_none());
        drop((one, other));
        hosts.calm().await;
    });
}

#[test]
fn a_connection_outlives_a_short_silence() {
    run(async {
        let hosts = Hosts::start(3).await;
        let one = hosts[0].client().await;
        let path = hosts[2].path("mail");
        let anchor = one.walk(&path).await.expect("walked");
        anchor.store("hello", false).await.expect("stored");
        hosts[2].signal(Signal::STOP);
        let call = async { anchor.load().await.expect("it only takes longer") };
        let wake = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            hosts[2].signal(Signal::CONT);
        };
        let (loaded, ()) = join(call, wake).await;
        assert_eq!(loaded.text(), Some("hello"));
        anchor.clear().await.expect("cleared");
        drop((anchor, one));
        hosts.whole().await;
        hosts.calm().await;
    });
}
