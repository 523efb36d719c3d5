//! Hosts, and a network between them, in one thread and in a time of their own.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use foca::Member as Update;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio_util::bytes::Bytes;

use super::super::core::{Core, Now, Output};
use super::super::roster::Change;
use super::super::sync::{Known, Message, Told};
use super::super::{HostId, Identity, Me, Member, Params, Record, State};

/// What a packet costs beside its bytes: QUIC, UDP and IP.
pub(super) const OVERHEAD: u64 = 60;
/// When all begins, by the clocks on the wall.
const EPOCH: u64 = 1_800_000_000_000;

pub(super) struct World {
    pub(super) now: Duration,
    queue: BinaryHeap<Reverse<Event>>,
    asked: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) params: Params,
    /// The share of packets that is lost.
    pub(super) loss: f64,
    /// Hosts of different sides do not reach each other.
    pub(super) side: Vec<u8>,
    /// What each host has seen become of each.
    pub(super) seen: Vec<Seen>,
    /// Those that have found another with their key.
    pub(super) stopped: Vec<usize>,
    /// Bytes of messages over streams.
    pub(super) streamed: u64,
    random: SmallRng,
}

/// A host, or none while it is not running.
pub(super) struct Host {
    pub(super) core: Option<Core>,
    /// Whose key it has.
    whose: usize,
    /// When it is to be woken, if that has been asked for.
    wake: Option<Duration>,
    /// What comes for it while it stands still.
    frozen: Option<Vec<What>>,
    /// How its clock on the wall is off, in milliseconds.
    pub(super) off: i64,
    /// When the computer was switched on, so to speak: the core's time begins there.
    began: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) by: usize,
    pub(super) of: usize,
    pub(super) change: Change,
}

struct Event {
    at: Duration,
    serial: u64,
    what: What,
}

enum What {
    Packet {
        from: usize,
        to: usize,
        bytes: Bytes,
    },
    Message {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Wake(usize),
    /// Asks a seed, until somebody is known.
    Seek {
        host: usize,
        seed: usize,
    },
    /// Learns of all at once.
    Preload(usize),
    /// A host finds out whether another one with its key is there.
    Sure(usize, SocketAddr),
}

impl Host {
    fn of(whose: usize) -> Self {
        let (core, wake, frozen, off, began) = (None, None, None, 0, Duration::ZERO);
        Host { core, whose, wake, frozen, off, began }
    }
}

pub(super) fn id(host: usize) -> HostId {
    HostId::from_bytes((host as u128).to_be_bytes())
}

pub(super) fn index(host: HostId) -> usize {
    u128::from_be_bytes(*host.as_bytes()) as usize
}

pub(super) fn at(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (host >> 8) as u8, host as u8], 7300))
}

pub(super) fn record(host: usize) -> Record {
    Record {
        hostname: format!("host-{host}.example.org"),
        version: "0.1.0".into(),
        addresses: vec![format!("tls:host-{host}.example.org:7200")],
        tags: vec![("zone".into(), format!("z{}", host % 3))],
    }
}

impl World {
    /// So many hosts, none of which runs.
    pub(super) fn new(hosts: usize, params: Params, seed: u64) -> Self {
        World {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            asked: 0,
            hosts: (0..hosts).map(Host::of).collect(),
            params,
            loss: 0.0,
            side: vec![0; hosts],
            seen: Vec::new(),
            stopped: Vec::new(),
            streamed: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// So many hosts that run, know each other, and have for some seconds.
    pub(super) fn settled(hosts: usize, params: Params, seed: u64) -> Self {
        let mut world = World::new(hosts, params, seed);
        for host in 0..hosts {
            world.start(host);
            let at = world.within(world.params.probe);
            world.schedule(at, What::Preload(host));
        }
        world.run(Duration::from_secs(3));
        assert!(world.is_whole(), "all know all, after a start at which they were told");
        world.seen.clear();
        world
    }

    pub(super) fn start(&mut self, host: usize) {
        let generation = self.wall(host);
        self.start_as(host, generation);
    }

    pub(super) fn start_as(&mut self, host: usize, generation: u64) {
        self.start_at(host, generation, at(host));
    }

    /// Starts a host that tells the others this address.
    pub(super) fn start_at(&mut self, host: usize, generation: u64, at: SocketAddr) {
        self.hosts[host].began = self.now;
        let whose = self.hosts[host].whose;
        let me = Me { id: id(whose), generation, at };
        let now = self.now_of(host);
        let seed = self.random.random();
        let core = Core::new(&me, record(whose), self.params.clone(), now, seed);
        self.hosts[host].core = Some(core);
        self.hosts[host].wake = None;
        self.settle(host);
    }

    /// Starts a host that asks another one until it knows somebody.
    pub(super) fn join(&mut self, host: usize, seed: usize) {
        self.start(host);
        self.seek(host, seed);
    }

    /// A place for another host with the key of this one, which does not run.
    pub(super) fn twin(&mut self, whose: usize) -> usize {
        self.hosts.push(Host::of(whose));
        self.side.push(self.side[whose]);
        self.hosts.len() - 1
    }

    pub(super) fn seek(&mut self, host: usize, seed: usize) {
        self.schedule(self.now, What::Seek { host, seed });
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.hosts[host].core = None;
    }

    pub(super) fn freeze(&mut self, host: usize) {
        self.hosts[host].frozen = Some(Vec::new());
    }

    pub(super) fn thaw(&mut self, host: usize) {
        // First it does what is overdue, then it looks at what has come.
        let missed = self.hosts[host].frozen.take().unwrap_or_default();
        self.schedule(self.now, What::Wake(host));
        missed.into_iter().for_each(|what| self.schedule(self.now, what));
    }

    /// Does something to a running host, and what comes of it.
    pub(super) fn with<R>(&mut self, host: usize, act: impl FnOnce(&mut Core, Now) -> R) -> R {
        let now = self.now_of(host);
        let result = act(self.hosts[host].core.as_mut().expect("runs"), now);
        self.settle(host);
        result
    }

    /// Who is reached that has this key: of several that run, the one at the address.
    fn reached(&self, by: usize, to: HostId, place: SocketAddr) -> usize {
        let there = |host: &usize| {
            id(self.hosts[*host].whose) == to
                && self.hosts[*host].core.is_some()
                && !self.cut(by, *host)
        };
        let mut there = (0..self.hosts.len()).filter(there);
        let first = there.next();
        let others = first.into_iter().chain(there);
        others.into_iter().find(|host| at(*host) == place).or(first).unwrap_or(index(to))
    }

    /// A packet on its way, whoever sends it.
    pub(super) fn send(&mut self, from: usize, to: usize, bytes: Bytes) {
        if to >= self.hosts.len() || self.cut(from, to) || self.random.random_bool(self.loss) {
            return;
        }
        let at = self.now + self.latency();
        self.schedule(at, What::Packet { from, to, bytes });
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse(event)) = self.queue.peek()
            && event.at <= end
        {
            let Some(Reverse(event)) = self.queue.pop() else { break };
            self.now = event.at;
            self.happen(event.what);
        }
        self.now = end;
    }

    /// Runs until something holds, which is looked at every 10 ms: how long that took, if it did at all.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        holds: impl Fn(&World) -> bool,
    ) -> Option<Duration> {
        let began = self.now;
        while !holds(self) {
            if self.now - began > limit {
                return None;
            }
            self.run(Duration::from_millis(10));
        }
        Some(self.now - began)
    }

    pub(super) fn members(&self, by: usize) -> Vec<Member<Duration>> {
        let core = self.hosts[by].core.as_ref().expect("runs");
        core.members(|since| since).into_values().collect()
    }

    pub(super) fn state(&self, by: usize, of: usize) -> Option<State> {
        let core = self.hosts[by].core.as_ref().expect("runs");
        core.members(|since| since).get(&id(of)).map(|member| member.state)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].core.is_some())
    }

    /// Every host that runs sees every one that runs as up, as what it is.
    pub(super) fn is_whole(&self) -> bool {
        let running: BTreeSet<(HostId, u64)> =
            self.running().map(|host| (self.id(host), self.generation(host))).collect();
        self.running().all(|by| {
            let up = self.members(by).into_iter().filter(|member| member.state == State::Up);
            up.map(|member| (member.id, member.generation)).eq(running.iter().copied())
        })
    }

    /// Every host that runs has the record of every one that runs.
    pub(super) fn is_told(&self) -> bool {
        self.running().all(|by| {
            self.members(by)
                .into_iter()
                .filter(|member| member.is_up())
                .all(|member| member.record.is_some_and(|told| *told == record(index(member.id))))
        })
    }

    fn id(&self, host: usize) -> HostId {
        id(self.hosts[host].whose)
    }

    pub(super) fn generation(&self, host: usize) -> u64 {
        self.hosts[host].core.as_ref().expect("runs").me().generation
    }

    /// Who has seen this become of a host since `from`, and when.
    pub(super) fn when(&self, of: usize, change: Change, from: Duration) -> Vec<Duration> {
        let mut times: Vec<Duration> = self
            .seen
            .iter()
            .filter(|seen| seen.of == of && seen.change == change && seen.at >= from)
            .map(|seen| seen.at - from)
            .collect();
        times.sort();
        times
    }

    /// How often a host was taken for dead.
    pub(super) fn failures(&self) -> usize {
        self.seen.iter().filter(|seen| seen.change == Change::Failed).count()
    }

    /// Packets, and bytes with all that is around them, that all running hosts have sent.
    pub(super) fn sent(&self) -> (u64, u64) {
        self.running().fold((0, 0), |(packets, bytes), host| {
            let counts = self.hosts[host].core.as_ref().expect("runs").counts();
            let all = counts.bytes_out + OVERHEAD * counts.packets_out;
            (packets + counts.packets_out, bytes + all)
        })
    }

    fn wall(&self, host: usize) -> u64 {
        (EPOCH + self.now.as_millis() as u64).saturating_add_signed(self.hosts[host].off)
    }

    fn now_of(&self, host: usize) -> Now {
        Now { elapsed: self.now - self.hosts[host].began, wall: self.wall(host) }
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.random.random_range(300..2_000))
    }

    fn within(&mut self, time: Duration) -> Duration {
        self.now + time.mul_f64(self.random.random_range(0.0..1.0))
    }

    fn cut(&self, from: usize, to: usize) -> bool {
        self.side[from] != self.side[to]
    }

    fn schedule(&mut self, at: Duration, what: What) {
        self.asked += 1;
        self.queue.push(Reverse(Event { at, serial: self.asked, what }));
    }

    /// A message over a stream: lost parts are sent again, after a while; it is lost only with the host.
    fn say(&mut self, from: usize, to: usize, bytes: Vec<u8>, opening: bool) {
        if to >= self.hosts.len() || self.cut(from, to) || self.hosts[to].core.is_none() {
            return;
        }
        self.streamed += bytes.len() as u64;
        let mut pause = self.latency();
        if opening {
            pause += self.latency() * 2;
        }
        while self.random.random_bool(self.loss) {
            pause += Duration::from_millis(200);
        }
        self.schedule(self.now + pause, What::Message { from, to, bytes });
    }

    fn happen(&mut self, what: What) {
        let host = match &what {
            What::Packet { to, .. } | What::Message { to, .. } => *to,
            What::Wake(host)
            | What::Preload(host)
            | What::Seek { host, .. }
            | What::Sure(host, _) => *host,
        };
        if let Some(missed) = &mut self.hosts[host].frozen {
            missed.push(what);
            return;
        }
        let now = self.now_of(host);
        let whose: Vec<_> = self.hosts.iter().map(|host| host.whose).collect();
        let Some(core) = self.hosts[host].core.as_mut() else { return };
        match what {
            What::Packet { from, bytes, .. } => core.packet(now, id(whose[from]), &bytes),
            What::Message { from, bytes, .. } => {
                let answer = core.sync(now, id(whose[from]), &bytes).expect("is well-formed");
                if let Some(answer) = answer {
                    self.say(host, from, answer, false);
                }
            }
            What::Wake(_) => {
                let due = core.deadline().is_some_and(|deadline| deadline <= now.elapsed);
                self.hosts[host].wake = None;
                if due {
                    self.hosts[host].core.as_mut().expect("runs").tick(now);
                }
            }
            What::Seek { seed, .. } => {
                if core.is_alone() {
                    if let Some(greeting) = core.greeting(now, id(whose[seed])) {
                        self.say(host, seed, greeting, true);
                    }
                    self.schedule(self.now + Duration::from_secs(1), What::Seek { host, seed });
                }
            }
            What::Preload(_) => self.preload(host),
            What::Sure(_, there) => self.find_out(host, there),
        }
        self.settle(host);
    }

    fn find_out(&mut self, host: usize, place: SocketAddr) {
        let is_other = |other: &usize| {
            self.id(*other) == self.id(host) && at(*other) == place && !self.cut(*other, host)
        };
        let twin = self.running().filter(|other| *other != host).any(|other| is_other(&other));
        self.with(host, |core, now| core.is_sure(now, twin));
        if twin {
            self.kill(host);
            self.stopped.push(host);
        }
    }

    fn preload(&mut self, host: usize) {
        let (mut known, mut told) = (Vec::new(), Vec::new());
        for other in self.running().filter(|other| *other != host) {
            let me = *self.hosts[other].core.as_ref().expect("runs").me();
            known.push(Known { member: Update::alive(me), told: true });
            let record = record(other).to_bytes();
            told.push(Told { host: me.host, edition: me.edition(), record });
        }
        let from = id((host + 1) % self.hosts.len());
        let message = Message::Exchange(known, told).write();
        self.with(host, |core, now| core.sync(now, from, &message)).expect("is well-formed");
    }

    /// Does what a host's core wants done.
    fn settle(&mut self, host: usize) {
        loop {
            let Some(core) = self.hosts[host].core.as_mut() else { return };
            match core.output() {
                Some(Output::Packet(out)) => {
                    let to = self.reached(host, out.to, out.at);
                    self.send(host, to, out.packet);
                }
                Some(Output::Sync { with, at, opening }) => {
                    let to = self.reached(host, with, at);
                    self.say(host, to, opening, true);
                }
                Some(Output::MakeSure(there)) => {
                    // If nobody is there, that takes as long as a dial may.
                    let empty = !self.running().any(|other| at(other) == there);
                    let pause = if empty { Duration::from_secs(3) } else { self.latency() * 4 };
                    self.schedule(self.now + pause, What::Sure(host, there));
                }
                Some(Output::Changed(of, change)) => {
                    let (at, of) = (self.now, index(of));
                    self.seen.push(Seen { at, by: host, of, change });
                }
                Some(Output::Told) => {}
                None => break,
            }
        }
        let Host { core, wake, began, .. } = &mut self.hosts[host];
        let deadline = core.as_ref().and_then(Core::deadline).map(|deadline| *began + deadline);
        if let Some(deadline) = deadline.filter(|deadline| wake.is_none_or(|wake| *deadline < wake))
        {
            *wake = Some(deadline);
            self.schedule(deadline.max(self.now), What::Wake(host));
        }
    }
}

impl Event {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.serial)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// An identity of a host that nobody is.
pub(super) fn identity(host: usize, generation: u64) -> Identity {
    Identity::new(id(host), generation, at(host))
}

/// Some wall-clock time at which hosts are started.
pub(super) fn epoch() -> u64 {
    EPOCH
}
