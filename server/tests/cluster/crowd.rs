//! Many hosts at once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use killick_client::{Departure, Watch};
use tokio::time::timeout;

use super::failing::watch;
use super::harness::{Host, Hosts, eventually, run_alone};

/// As many as the goals of membership are told for, where the program is optimised. Each dials each, and a handshake
/// takes several times the processor time where it is not: then two cores, which others use as well, are not enough
/// for so many.
const HOSTS: usize = if cfg!(debug_assertions) { 20 } else { 60 };
/// Whom the others are told of.
const SEEDS: usize = 3;
/// How soon a host that is killed is to be seen down by each, and how soon it must be on a machine that is busy.
const SEEN_DOWN: Duration = Duration::from_secs(5);
const AT_LAST: Duration = Duration::from_secs(20);
/// For how long after that nobody else is taken for dead.
const QUIET: Duration = Duration::from_secs(3);

/// Waits until a watch is told that a host has failed, and of no other that went: how long that took.
async fn told_of(watch: &mut Watch, dead: &str, since: Instant) -> Duration {
    loop {
        let change = watch.next().await.expect("a change");
        let gone: Vec<_> = change.gone().collect();
        if !gone.is_empty() {
            assert_eq!(gone, [(dead, Departure::Failed)]);
            return since.elapsed();
        }
    }
}

/// When the first of them knew, half of them, and all.
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times[index].as_secs_f64();
    let (half, last) = (times.len() / 2, times.len() - 1);
    println!("measured: {what}: first {:.2}, half {:.2}, all {:.2} s", at(0), at(half), at(last));
}

/// How often others were taken for dead here, by the log; how often this one came back from that, and how many
/// of the others are down now, by the metrics.
fn lost(host: &Host) -> [usize; 3] {
    let samples = host.samples();
    let count = |name: &str| samples[name] as usize;
    let renewals = count("killick_cluster_membership_total{what=\"renewals\"}");
    let failed = count("killick_cluster_hosts{state=\"failed\"}");
    [host.log().matches("a host does not answer any more").count(), renewals, failed]
}

#[test]
fn one_of_many_that_is_killed_is_seen_down_by_all_and_nobody_else_is() {
    run_alone(async {
        let mut hosts = Hosts::new(HOSTS);
        let seeds: Vec<_> = hosts[..SEEDS].iter().map(|host| host.at.to_string()).collect();
        for host in hosts.iter_mut() {
            host.level = "info";
            host.arguments = ["--join".to_owned(), seeds.join(",")].into();
        }
        let start = Instant::now();
        hosts.launch();
        println!("measured: {HOSTS} processes serve: {:.2} s", start.elapsed().as_secs_f64());
        let whole = hosts.whole().await;
        println!("measured: and each knows all: {:.2} s later", whole.as_secs_f64());
        let taken: f64 = hosts.iter().map(Host::memory).sum();
        println!("measured: they take {:.0} MiB", taken / f64::from(1 << 20));
        let most = hosts.iter().map(|host| host.sockets().0).max();
        println!("measured: each has so many sockets, however many others: {most:?}");
        // A seed that was silent may still be asked for.
        let is_one = async || hosts.iter().all(|host| host.sockets().1 == 1);
        eventually("each has one socket for UDP", is_one).await;

        let (killed, others) = hosts.split_last_mut().expect("many");
        let dead = killed.name().to_owned();
        let clients = join_all(others.iter().map(Host::client)).await;
        let mut watches = join_all(clients.iter().map(watch)).await;
        let before: Vec<_> = others.iter().map(lost).collect();
        let start = Instant::now();
        killed.kill();
        let seen = join_all(watches.iter_mut().map(|watch| told_of(watch, &dead, start)));
        let seen = timeout(AT_LAST, seen).await.expect("seen down by all");
        show(&format!("kill -9 of one of {HOSTS}, {SEEN_DOWN:?} are the goal"), seen);

        let more = join_all(watches.iter_mut().map(|watch| timeout(QUIET, watch.next()))).await;
        assert!(more.iter().all(Result::is_err), "nothing else happens: {more:?}");
        for (host, [logged, renewals, failed]) in others.iter().zip(before) {
            assert_eq!(
                lost(host),
                [logged + 1, renewals, failed + 1],
                "{}: {}",
                host.name(),
                host.log()
            );
        }
    });
}
