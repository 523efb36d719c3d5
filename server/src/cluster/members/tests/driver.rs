//! The tasks and streams around a core, over a network in memory, in a time that is not the clock's.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::bytes::Bytes;

use super::super::{HostId, Me, Member, Members, Params, Record, Seed, State, Transport, View};
use super::world::{at, id, record};

/// Some time that has passed by any clock.
const EPOCH: u64 = 1_700_000_000_000;

/// The hosts that are reached, by their addresses.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<HashMap<HostId, (SocketAddr, Members)>>>);

/// What one of them has of it.
#[derive(Clone)]
struct End {
    network: Network,
    me: HostId,
}

impl Network {
    fn host(&self, id: HostId) -> io::Result<Members> {
        let hosts = self.0.lock().expect("not poisoned");
        let (_, members) = hosts.get(&id).ok_or(io::ErrorKind::HostUnreachable)?;
        Ok(members.clone())
    }

    fn start(&self, host: usize, generation: u64, seeds: &[&str]) -> Members {
        let me = Me { id: id(host), generation, at: at(host) };
        let end = End { network: self.clone(), me: me.id };
        let seeds: Vec<Seed> = seeds.iter().map(|seed| seed.parse().expect("a seed")).collect();
        let members = Members::start(me, record(host), seeds.into(), Params::default(), end);
        let members = members.expect("a record that fits");
        self.put(host, at(host), &members);
        members
    }

    fn put(&self, host: usize, at: SocketAddr, members: &Members) {
        self.0.lock().expect("not poisoned").insert(id(host), (at, members.clone()));
    }

    fn cut(&self, host: usize) -> Option<(SocketAddr, Members)> {
        self.0.lock().expect("not poisoned").remove(&id(host))
    }
}

impl Transport for End {
    type Stream = DuplexStream;

    fn send(&self, to: HostId, at: SocketAddr, packet: Bytes) {
        // Who is not reached reaches nobody.
        if let (Ok(members), Ok(_)) = (self.network.host(to), self.network.host(self.me)) {
            let me = self.me;
            tokio::spawn(async move {
                sleep(Duration::from_millis(1)).await;
                members.packet(me, at, packet);
            });
        }
    }

    async fn open_sync(&self, to: HostId, _at: SocketAddr) -> io::Result<DuplexStream> {
        self.network.host(self.me)?;
        let members = self.network.host(to)?;
        sleep(Duration::from_millis(1)).await;
        let (mine, its) = duplex(1_000);
        members.sync(self.me, its);
        Ok(mine)
    }

    async fn meet(&self, at: SocketAddr) -> io::Result<HostId> {
        self.network.host(self.me)?;
        let hosts = self.network.0.lock().expect("not poisoned");
        let found = hosts.iter().find(|(_, (its, _))| *its == at).map(|(id, _)| *id);
        found.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    async fn is_twin(&self, _at: SocketAddr) -> bool {
        false
    }
}

/// Waits until what a host sees is so.
#[track_caller]
fn until(
    members: &Members,
    limit: u64,
    what: &'static str,
    holds: impl Fn(&View) -> bool,
) -> impl Future<Output = Duration> {
    let mut view = members.view();
    let began = Instant::now();
    async move {
        let seen =
            timeout(Duration::from_secs(limit), view.wait_for(|view| holds(view))).await.is_ok();
        if !seen {
            let seen = view.borrow();
            let hosts = seen.hosts.values().map(|host| (host.at, host.state, &host.record));
            panic!("not seen in {limit} s: {what}: {:#?}", hosts.collect::<Vec<_>>());
        }
        began.elapsed()
    }
}

fn host(view: &View, host: usize) -> Option<&Member> {
    view.hosts.get(&id(host))
}

fn is(view: &View, of: usize, state: State) -> bool {
    host(view, of).is_some_and(|host| host.state == state)
}

/// All of the first so many are up, and their records are here.
fn all(view: &View, hosts: usize) -> bool {
    (0..hosts).all(|of| {
        let told = host(view, of).and_then(|host| host.record.as_deref());
        is(view, of, State::Up) && told == Some(&record(of))
    })
}

#[tokio::test(start_paused = true)]
async fn hosts_find_each_other_by_a_seed_and_see_who_goes_and_how() {
    let network = Network::default();
    let seed = at(0).to_string();
    let mut hosts: Vec<_> = (0..4).map(|host| network.start(host, EPOCH, &[&seed])).collect();
    for members in &hosts {
        until(members, 3, "all are up", |view| all(view, 4)).await;
    }

    let began = Instant::now();
    hosts[3].leave().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    network.cut(3);
    for members in &hosts[..3] {
        until(members, 2, "one has left", |view| is(view, 3, State::Left)).await;
    }
    assert!(is(&hosts[3].view().borrow(), 3, State::Left));

    network.cut(2);
    for members in &hosts[..2] {
        let took = until(members, 10, "one has failed", |view| is(view, 2, State::Failed)).await;
        assert!(took <= Duration::from_secs(4), "{took:?}");
    }
    // Its former life has to be over: two lives at a time would outbid each other.
    hosts.truncate(2);
    sleep(Duration::from_secs(10)).await;
    let again = network.start(2, EPOCH + 10, &[&seed]);
    let restarted = |view: &View| host(view, 2).is_some_and(|host| host.generation == EPOCH + 10);
    until(&hosts[1], 3, "it was restarted", restarted).await;
    until(&hosts[1], 3, "all are up", |view| all(view, 3)).await;
    until(&again, 3, "all are up", |view| all(view, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_lost_all_others_finds_them_again() {
    let network = Network::default();
    let seed = at(0).to_string();
    let hosts: Vec<_> = (0..3).map(|host| network.start(host, EPOCH, &[&seed])).collect();
    for members in &hosts {
        until(members, 3, "all are up", |view| all(view, 3)).await;
    }
    let lost = network.cut(2).expect("was there");
    until(&hosts[2], 30, "it is alone", |view| (0..2).all(|of| is(view, of, State::Failed))).await;
    sleep(Duration::from_secs(300)).await;
    network.put(2, lost.0, &lost.1);
    for members in &hosts {
        let took = until(members, 20, "all are up again", |view| all(view, 3)).await;
        assert!(took <= Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(host(&hosts[0].view().borrow(), 2).map(|host| host.generation), Some(EPOCH));
}

#[tokio::test(start_paused = true)]
async fn two_clusters_that_name_each_other_as_seeds_become_one() {
    let network = Network::default();
    let seeds = [at(0).to_string(), at(2).to_string()];
    let seeds = [seeds[0].as_str(), seeds[1].as_str()];
    let first = network.start(0, EPOCH, &seeds);
    network.start(1, EPOCH, &seeds);
    until(&first, 5, "two are up", |view| all(view, 2)).await;
    // The others are out of reach while they find each other.
    let one = (network.cut(0).expect("was there"), network.cut(1).expect("was there"));
    let other = network.start(2, EPOCH, &seeds);
    network.start(3, EPOCH, &seeds);
    until(&other, 5, "two are up", |view| is(view, 3, State::Up)).await;
    network.put(0, one.0.0, &one.0.1);
    network.put(1, one.1.0, &one.1.1);
    until(&other, 90, "all are up", |view| all(view, 4)).await;
    until(&first, 5, "all are up", |view| all(view, 4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_of_seeds_is_read_again_and_names_are_looked_up() {
    let network = Network::default();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("seeds");
    let first = network.start(0, EPOCH, &[]);
    let second = network.start(1, EPOCH, &[&format!("file:{}", file.display())]);
    sleep(Duration::from_secs(20)).await;
    assert!(host(&second.view().borrow(), 0).is_none());
    let text = format!("# those that are always there\n\nno port\n{} # the first\n", at(0));
    std::fs::write(&file, text).expect("is written");
    until(&second, 10, "the other is up", |view| all(view, 2)).await;
    until(&first, 10, "the other is up", |view| all(view, 2)).await;

    network.put(0, "127.0.0.1:7300".parse().expect("an address"), &first);
    let third = network.start(2, EPOCH, &["localhost:7300"]);
    until(&third, 10, "all are up", |view| all(view, 3)).await;
}

#[test]
fn a_seed_is_an_address_a_name_or_a_file() {
    for (text, seed) in [
        ("10.0.0.1:7300", Seed::Address("10.0.0.1:7300".parse().expect("an address"))),
        ("[::1]:7300", Seed::Address("[::1]:7300".parse().expect("an address"))),
        ("hosts.example.org:7300", Seed::Name("hosts.example.org:7300".into())),
        ("file:/etc/killick/seeds", Seed::File("/etc/killick/seeds".into())),
    ] {
        assert_eq!(text.parse(), Ok(seed.clone()));
        assert_eq!(seed.to_string(), text);
    }
    for text in ["", "10.0.0.1", "name", "name:", "name:70000", "na me:1", "file:", ":1"] {
        let error = text.parse::<Seed>().expect_err(text).to_string();
        assert!(error.contains("ADDRESS:PORT"), "{error}");
    }
    for text in ["127.0.0.1:0", "[::1]:0", "name:0"] {
        let error = text.parse::<Seed>().expect_err(text).to_string();
        assert!(error.contains("nobody is at port 0"), "{error}");
    }
    match "mdns".parse::<Seed>() {
        Ok(seed) => assert!(cfg!(feature = "mdns") && seed.to_string() == "mdns"),
        Err(error) => assert!(error.to_string().contains("built without it")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_record_is_seen_and_one_that_is_too_large_refused() {
    let network = Network::default();
    let first = network.start(0, EPOCH, &[]);
    let second = network.start(1, EPOCH, &[&at(0).to_string()]);
    until(&first, 3, "both are up", |view| all(view, 2)).await;
    let told = Record { hostname: "another".into(), ..record(1) };
    second.set_record(told.clone()).expect("fits");
    let seen =
        |view: &View| host(view, 1).is_some_and(|host| host.record.as_deref() == Some(&told));
    until(&first, 3, "the other record", seen).await;
    assert!(seen(&second.view().borrow()), "at the host itself too");
    let large = Record { hostname: "h".repeat(1_000), ..record(1) };
    second.set_record(large.clone()).expect_err("is too large");
    assert!(seen(&second.view().borrow()), "what was told before stays");
    let me = Me { id: id(2), generation: 1, at: at(2) };
    let end = End { network, me: me.id };
    assert!(Members::start(me, large, Vec::new().into(), Params::default(), end).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_says_nothing_or_too_much_is_given_up() {
    let network = Network::default();
    let first = network.start(0, EPOCH, &[]);
    let (mut silent, its) = duplex(100);
    first.sync(id(5), its);
    let ended = timeout(Duration::from_secs(6), silent.read_u8()).await.expect("in time");
    assert_eq!(ended.expect_err("is closed").kind(), io::ErrorKind::UnexpectedEof);

    let (mut large, its) = duplex(100);
    first.sync(id(5), its);
    large.write_u32(u32::MAX).await.expect("is read");
    let ended = timeout(Duration::from_secs(1), large.read_u8()).await.expect("at once");
    assert_eq!(ended.expect_err("is closed").kind(), io::ErrorKind::UnexpectedEof);

    let (mut bad, its) = duplex(100);
    first.sync(id(5), its);
    bad.write_all(&[0, 0, 0, 2, 1, 99]).await.expect("is read");
    let ended = timeout(Duration::from_secs(1), bad.read_u8()).await.expect("at once");
    assert_eq!(ended.expect_err("is closed").kind(), io::ErrorKind::UnexpectedEof);
    let counts = first.counts();
    assert_eq!((counts.answered, counts.broken, counts.malformed), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn streams_of_many_that_say_nothing_do_not_keep_others_from_being_answered_for_ever() {
    let network = Network::default();
    let first = network.start(0, EPOCH, &[]);
    let mut silent = Vec::new();
    for from in 0..100 {
        let (mine, its) = duplex(100);
        first.sync(id(100 + from), its);
        silent.push(mine);
    }
    let second = network.start(1, EPOCH, &[&at(0).to_string()]);
    until(&second, 20, "both are up", |view| all(view, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn its_tasks_end_with_the_last_handle() {
    let network = Network::default();
    let hosts: Vec<_> =
        (0..3).map(|host| network.start(host, EPOCH, &[&at(0).to_string()])).collect();
    until(&hosts[2], 3, "all are up", |view| all(view, 3)).await;
    (0..3).for_each(|host| drop(network.cut(host)));
    drop(hosts);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(Arc::strong_count(&network.0), 1, "nobody has an end of the network any more");
}
