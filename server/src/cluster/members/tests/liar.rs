//! A member that lies, among whole servers, over real connections: it is let in by a certificate of its own, takes
//! part as it should, and says whatever it likes besides.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foca::{Header, Message as Said, State as Claim};
use killick_client::{Anchor, Client, Member, MemberState, Options, Watch, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::bytes::Bytes;

use super::super::codec::Packet;
use super::super::identity::Edition;
use super::super::sync::{Known, MAX_MESSAGE, Message, Told};
use super::super::{HostId, Identity, Me, Members, Params, Record};
use crate::cluster::ClusterConfig;
use crate::cluster::fabric::{self, Event, Fabric, HostStream, Service};
use crate::cluster::ident::testing::{Ca, For, Issued};
use crate::cluster::ways::Ways;
use crate::{Config, Server};

/// The longest that anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long nothing happens after something that is to have no effect.
const QUIET: Duration = Duration::from_millis(1500);
/// How long a lie has until it is looked what has come of it.
const BELIEVED: Duration = Duration::from_millis(400);

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Whom lies are told of: the last.
const VICTIM: usize = NAMES.len() - 1;

fn run(test: impl Future<Output = ()>) {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime.block_on(test);
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// An honest host, and a client of it.
struct Honest {
    server: Server,
    client: Client,
    id: HostId,
}

impl Honest {
    async fn start(issued: &Issued, join: Option<SocketAddr>) -> Self {
        let identity = issued.load();
        let id = identity.id();
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let join = join.map(|at| at.to_string().parse().expect("a seed")).into_iter().collect();
        let cluster = ClusterConfig { join, ..ClusterConfig::new(identity, anywhere) };
        let metrics = Some("127.0.0.1:0".parse().expect("an address"));
        let listen = ["tcp:127.0.0.1:0".parse().expect("an address")];
        let config = Config { cluster: Some(cluster), metrics, ..Config::for_test(listen) };
        let server = Server::start(config).expect("started");
        let options = Options { timeout: Some(PATIENCE), ..Options::default() };
        let client = Client::connect(&server.addresses()[0], options).await.expect("a client");
        Honest { server, client, id }
    }

    fn at(&self) -> SocketAddr {
        self.server.cluster_address().expect("of a cluster")
    }

    fn path(&self, path: &str) -> String {
        format!("/{:016x}/{path}", self.id.short())
    }

    async fn members(&self) -> BTreeMap<String, Member> {
        let members = self.client.hosts().await.expect("hosts");
        members.into_iter().map(|member| (member.full_id.clone(), member)).collect()
    }

    /// What membership has counted.
    fn count(&self, what: &str) -> u64 {
        let mut stream = TcpStream::connect(self.server.metrics().expect("metrics"));
        let stream = stream.as_mut().expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let name = format!("killick_cluster_membership_total{{what=\"{what}\"}} ");
        let value = answer.lines().find_map(|line| line.strip_prefix(&name));
        value.and_then(|value| value.parse().ok()).expect("a count")
    }
}

/// One that is a member, and lies.
struct Liar {
    fabric: Fabric,
    me: HostId,
    /// What each host goes by, as it says itself: its packets are read on the way.
    heard: Arc<Mutex<BTreeMap<HostId, Identity>>>,
    /// What it goes by itself, as the others know it.
    known_as: Arc<Mutex<Option<Identity>>>,
    /// Whether it answers with more than anybody takes.
    floods: Arc<AtomicBool>,
}

impl Liar {
    fn start(issued: &Issued, seed: SocketAddr) -> Self {
        let identity = issued.load();
        let me = identity.id();
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let bound = Fabric::bind(anywhere, identity.clone(), fabric::Options::default());
        let (fabric, mut events) = bound.expect("bound");
        let record = Record { hostname: "liar".into(), ..Record::default() };
        let seeds = vec![seed.to_string().parse().expect("a seed")].into();
        let ways = Ways::new(fabric.clone(), &ClusterConfig::new(identity, anywhere));
        let this = Me { id: me, generation: now(), at: fabric.local() };
        let members = Members::start(this, record, seeds, Params::default(), ways);
        let members = members.expect("a member");
        let heard = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let known_as = Arc::<Mutex<_>>::default();
        let floods = Arc::<AtomicBool>::default();
        let liar = Liar {
            fabric,
            me,
            heard: heard.clone(),
            known_as: known_as.clone(),
            floods: floods.clone(),
        };
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Packet(from, at, packet) => {
                        let Header { src, dst, .. } = Packet::read(&packet).expect("read").header;
                        heard.lock().expect("no panic").insert(from, src);
                        *known_as.lock().expect("no panic") = Some(dst);
                        members.packet(from, at, packet);
                    }
                    Event::Stream(_, _, stream) if floods.load(Ordering::Relaxed) => {
                        tokio::spawn(flood(stream));
                    }
                    Event::Stream(from, Service::Sync, stream) => members.sync(from, stream),
                    _ => {}
                }
            }
        });
        liar
    }

    /// What a host goes by.
    fn identity(&self, of: &Honest) -> Identity {
        self.heard.lock().expect("no panic")[&of.id]
    }

    /// What the liar itself goes by.
    fn own(&self) -> Identity {
        self.known_as.lock().expect("no panic").expect("somebody has spoken to it")
    }

    /// Says something to a host by a packet, in the name of `src`.
    fn say_as(&self, src: Identity, to: &Honest, message: Said<Identity>, updates: &[Update]) {
        let header = Header { src, src_incarnation: 0, dst: self.identity(to), message };
        let packet = Packet { header, updates: updates.to_vec() };
        self.fabric.send(to.id, to.at(), Bytes::from(packet.write()));
    }

    /// Says this to a host by a packet.
    fn tell(&self, to: &Honest, updates: &[Update]) {
        self.say_as(self.own(), to, Said::Gossip, updates);
    }

    async fn stream(&self, to: &Honest) -> HostStream {
        let opened = self.fabric.open(to.id, to.at(), Service::Sync, PATIENCE).await;
        opened.expect("a stream")
    }

    /// Says this to a host over a stream, and waits until it has been heard.
    async fn compare(&self, to: &Honest, message: &[u8]) {
        let mut stream = self.stream(to).await;
        stream.write_u32(message.len() as u32).await.expect("written");
        stream.write_all(message).await.expect("written");
        stream.shutdown().await.expect("written");
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("an end");
    }
}

/// Says more than anybody takes, unless it is broken off.
async fn flood(mut stream: HostStream) {
    let said = async {
        stream.write_u32(MAX_MESSAGE as u32 + 1).await?;
        stream.write_all(&vec![0; MAX_MESSAGE + 1]).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let _ = timeout(PATIENCE, said).await.expect("an end");
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as u64
}

/// Honest hosts, and one that lies to them.
struct Stage {
    ca: Ca,
    folders: Vec<Issued>,
    hosts: Vec<Honest>,
    liar: Liar,
    /// The liar's.
    certificate: Issued,
}

impl Stage {
    /// All know each other, and the first two have a connection to the third, as their clients have called it.
    async fn set() -> Self {
        let ca = Ca::new("ca");
        let folders: Vec<_> = NAMES.iter().map(|name| ca.issue(name, For::Host)).collect();
        let mut hosts: Vec<Honest> = Vec::new();
        for issued in &folders {
            hosts.push(Honest::start(issued, hosts.first().map(Honest::at)).await);
        }
        let certificate = ca.issue("liar", For::Host);
        let liar = Liar::start(&certificate, hosts[0].at());
        let stage = Stage { ca, folders, hosts, liar, certificate };
        stage.whole().await;
        let heard = async || stage.liar.heard.lock().expect("no panic").len() == NAMES.len();
        eventually("the liar has heard of all", heard).await;
        for from in &stage.hosts {
            for to in &stage.hosts {
                from.client.store_at(to.path("mail"), "hello", true).await.expect("stored");
            }
        }
        stage
    }

    fn victim(&self) -> &Honest {
        &self.hosts[VICTIM]
    }

    /// Waits until each sees all of them and the liar, with what they tell of themselves.
    async fn whole(&self) {
        let whole = |members: &BTreeMap<String, Member>| {
            let is = |id: HostId, hostname: &dyn Fn(&str) -> bool, at: SocketAddr| {
                members.get(&id.to_string()).is_some_and(|member| {
                    member.state == MemberState::Up
                        && hostname(&member.hostname)
                        && member.cluster == at.to_string()
                })
            };
            let honest = |name: &str| !name.is_empty() && !name.contains("lie") && name != "liar";
            self.hosts.iter().all(|host| is(host.id, &honest, host.at()))
                && is(self.liar.me, &|name| name == "liar", self.liar.fabric.local())
                && members.len() == NAMES.len() + 1
        };
        for host in &self.hosts {
            let mut members = BTreeMap::new();
            let seen = async || {
                members = host.members().await;
                whole(&members)
            };
            let seen = timeout(PATIENCE / 2, eventually("all is as it is", seen)).await;
            assert!(seen.is_ok(), "{:#?}", host.members().await);
        }
    }
}

/// A watch of `/` that has been told of all that there is.
async fn watch(host: &Honest) -> Watch {
    let mut watch = host.client.watch_at("/", What::Children).expect("a watch");
    watch.next().await.expect("the first change");
    watch
}

/// How often a host has gone by what a watch is told, until nothing more is told for a while; nobody else has,
/// and it has come as often.
async fn gone(watch: &mut Watch, of: &Honest) -> usize {
    let name = format!("{:016x}", of.id.short());
    let (mut gone, mut come) = (0, 0);
    while let Ok(change) = timeout(QUIET, watch.next()).await {
        let change = change.expect("a change");
        assert!(change.gone().all(|(gone, _)| gone == name), "{change:?}");
        gone += change.gone().count();
        come += change.children.added.len();
    }
    assert_eq!(gone, come, "it is back");
    gone
}

type Update = foca::Member<Identity>;

/// Something that is said of a host that goes by this: it is not so.
type Lie = fn(Identity) -> Update;

/// How often the host is seen to go for it by who is told it, at most.
const LIES: [(&str, Lie, usize); 14] = [
    ("it is down", Update::down, 1),
    ("it does not answer", |of| Update::new(of, 0, Claim::Suspect), 0),
    ("nor did it ever", |of| Update::new(of, u16::MAX, Claim::Suspect), 0),
    ("it has contradicted so often", |of| Update::new(of, u16::MAX, Claim::Alive), 0),
    ("it has left", |of| Update::alive(Identity { leaving: true, ..of }), 1),
    ("it has left, and is down", |of| Update::down(Identity { leaving: true, ..of }), 1),
    ("it came back", |of| Update::alive(Identity { renewal: of.renewal + 9, ..of }), 0),
    ("it can come back no more", |of| Update::alive(Identity { renewal: u32::MAX, ..of }), 1),
    ("it has another record", |of| Update::alive(Identity { record: 7, ..of }), 0),
    ("it has the last record", |of| Update::alive(Identity { record: u32::MAX, ..of }), 0),
    (
        "it is elsewhere",
        |of| Update::alive(Identity { at: nowhere(), renewal: of.renewal + 3, ..of }),
        0,
    ),
    // That one, and the next, by which it contradicts.
    ("it was restarted", |of| Update::alive(later(of, 1_000)), 2),
    ("it was restarted, and is down", |of| Update::down(later(of, 1_000)), 2),
    ("it was started in a year", |of| Update::alive(later(of, YEAR)), 0),
];

const YEAR: u64 = 365 * 24 * 60 * 60 * 1_000;

fn later(of: Identity, by: u64) -> Identity {
    Identity { generation: of.generation + by, ..of }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// What the first hosts have of the one that lies are told of: each an anchor there, and a watch of `/`.
async fn held(stage: &Stage) -> Vec<(&Honest, Anchor, Watch)> {
    let mut held = Vec::new();
    for host in &stage.hosts[..VICTIM] {
        let anchor = host.client.walk(stage.victim().path("held")).await.expect("walked");
        held.push((host, anchor, watch(host).await));
    }
    held
}

/// Checks that what they have works, and so do calls by a path.
async fn works(stage: &Stage, held: &[(&Honest, Anchor, Watch)], what: &str) {
    for (host, anchor, _) in held {
        anchor.load().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mail = host.client.load_at(stage.victim().path("mail")).await;
        assert_eq!(mail.expect("loaded").text(), Some("hello"), "{what}");
    }
}

#[test]
fn what_a_member_says_of_another_is_contradicted_and_breaks_nothing() {
    run(async {
        let stage = Stage::set().await;
        let (liar, victim) = (&stage.liar, stage.victim());
        let mut held = held(&stage).await;
        let from_the_future = || {
            let counts = stage.hosts.iter().map(|host| host.count("from_the_future"));
            counts.sum::<u64>()
        };
        for (what, lie, _) in LIES {
            let (known, refused) = (liar.identity(victim), from_the_future());
            stage.hosts[..VICTIM].iter().for_each(|host| liar.tell(host, &[lie(known)]));
            sleep(BELIEVED).await;
            works(&stage, &held, what).await;
            stage.whole().await;
            works(&stage, &held, what).await;
            let future = lie(known).id().generation > now() + YEAR / 2;
            assert_eq!(from_the_future() > refused, future, "{what}");
            assert!(liar.identity(victim).generation < known.generation + YEAR / 2, "{what}");
        }
        let most = LIES.iter().map(|(_, _, most)| most).sum::<usize>();
        for (_, _, watch) in &mut held {
            let gone = gone(watch, victim).await;
            assert!(gone <= most, "it has gone {gone} times");
        }
    });
}

#[test]
fn who_is_told_lies_of_itself_comes_back_and_breaks_nothing() {
    run(async {
        let stage = Stage::set().await;
        let (liar, victim) = (&stage.liar, stage.victim());
        let mut held = held(&stage).await;
        liar.say_as(liar.own(), victim, Said::TurnUndead, &[]);
        eventually("it comes back", async || victim.count("renewals") > 0).await;
        for (what, lie, _) in LIES {
            liar.tell(victim, &[lie(liar.identity(victim))]);
            sleep(BELIEVED).await;
            works(&stage, &held, what).await;
            stage.whole().await;
        }
        // A later life is one that it takes: it may have had it, when its clock was ahead.
        assert!(liar.identity(victim).generation > now() + YEAR / 2);
        for (_, _, watch) in &mut held {
            let gone = gone(watch, victim).await;
            assert!(gone <= LIES.len(), "it has gone {gone} times");
        }
    });
}

#[test]
fn what_a_member_says_in_the_name_of_another_is_dropped_and_counted() {
    run(async {
        let stage = Stage::set().await;
        let (liar, victim, told) = (&stage.liar, stage.victim(), &stage.hosts[0]);
        let mut watch = watch(told).await;
        let lie = [Update::down(liar.identity(victim))];
        let names = [&stage.hosts[1], victim, told].map(|host| liar.identity(host));
        for name in names {
            for message in [Said::Gossip, Said::TurnUndead, Said::Ping(1)] {
                liar.say_as(name, told, message, &lie);
            }
        }
        eventually("all are counted", async || told.count("forged") == 9).await;
        assert_eq!(gone(&mut watch, victim).await, 0);
        assert_eq!((told.count("renewals"), victim.count("renewals")), (0, 0));
        stage.whole().await;
    });
}

#[test]
fn what_a_member_says_over_a_stream_replaces_no_record_and_takes_no_more_than_there_is_place_for() {
    run(async {
        let stage = Stage::set().await;
        let (liar, victim, told) = (&stage.liar, stage.victim(), &stage.hosts[0]);
        let of = liar.identity(victim);
        let lie = Record { hostname: "a lie".into(), ..Record::default() };
        let told_of = |version| {
            let edition = Edition { version, ..of.edition() };
            Told { host: of.host, edition, record: lie.to_bytes() }
        };
        let known = Known { member: Update::alive(of), told: true };
        for version in [of.record, of.record + 1] {
            let records = vec![told_of(version)];
            let exchange = Message::Exchange(vec![known.clone()], records.clone());
            for message in [Message::Rest(records), exchange] {
                liar.compare(told, &message.write()).await;
            }
        }
        stage.whole().await;

        // Nothing of what is too much is taken in, let alone read.
        let counts = || ["broken", "malformed"].map(|what| told.count(what));
        let [broken, malformed] = counts();
        flood(liar.stream(told).await).await;
        eventually("it is refused", async || told.count("broken") > broken).await;
        // Nor as an answer: who is told that it is dead asks whoever says so.
        liar.floods.store(true, Ordering::Relaxed);
        let [broken, _] = counts();
        liar.say_as(liar.own(), told, Said::TurnUndead, &[]);
        eventually("the answer is refused", async || told.count("broken") > broken).await;
        assert_eq!(told.count("malformed"), malformed);
        liar.floods.store(false, Ordering::Relaxed);
        stage.whole().await;
    });
}

#[test]
fn a_member_that_lies_is_revoked_and_is_out() {
    run(async {
        let mut stage = Stage::set().await;
        let list = stage.ca.revoke(&stage.certificate);
        stage.folders.iter().for_each(|folder| folder.write("crl.pem", &list));
        let (liar, victim) = (&stage.liar, stage.victim());
        let is_out = async || liar.fabric.peers().is_empty();
        eventually("no host has a connection to it", is_out).await;
        for host in &stage.hosts {
            let failed =
                async || host.members().await[&liar.me.to_string()].state == MemberState::Failed;
            eventually("it is down", failed).await;
        }
        let mut watch = watch(&stage.hosts[0]).await;
        for (_, lie, _) in LIES {
            stage.hosts.iter().for_each(|host| liar.tell(host, &[lie(liar.identity(victim))]));
        }
        assert_eq!(gone(&mut watch, victim).await, 0);
        assert_eq!(victim.count("renewals"), 0);
    });
}
