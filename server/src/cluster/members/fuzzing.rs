//! What the fuzz target `members` runs: packets and messages, real, made up or spoilt, into the rules of one
//! host, with time that passes and a clock that jumps.
//!
//! An input fails if it panics; if more hosts, records or timers are kept than there is place for; if what is
//! said in answer is longer than others take; or if the host comes to go by something that no other would
//! believe.
//!
//! ```text
//! step     what 1 · the step's own
//!  0, 1    packet:  who says it 1 (128 and above: whoever is in it) · length 2 · bytes
//!  2       message: the same
//!  3       packet, made up:  who says it · kind · probe · hosts · updates
//!  4       message, made up: who says it · kind · what it knows · records
//!  5, 6    time passes; 7 the clock jumps, or the host tells something else of itself, asks, or goes
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use foca::{Header, Member as Update, Message as Said, State as Claim};

use super::codec::{MAX_PACKET, Packet};
use super::core::{Core, Now, Output};
use super::sync::{Known, MAX_MESSAGE, Message, Told};
use super::wire::LAST_GENERATION;
use super::{HostId, Identity, Me, Params, Record};

/// When the host was started, by its clock.
pub(super) const EPOCH: u64 = 1_800_000_000_000;
/// How many hosts there are to speak of, this one included: more than there is place for.
const HOSTS: u8 = 16;
/// The most that the host may know.
const MAX_HOSTS: usize = 8;
/// The most steps of one input.
const MAX_STEPS: usize = 200;
/// How long nobody says anything in the end.
const QUIET: Duration = Duration::from_secs(20);
/// What may be planned then: what is always, and something for each host.
const MAX_TIMERS: usize = 16 + 4 * MAX_HOSTS;

pub(super) fn host(number: u8) -> HostId {
    HostId::from_bytes(u128::from(number).to_be_bytes())
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7300))
}

/// The rules of a host with this number, as it starts.
pub(super) fn core(number: u8) -> Core {
    let me = Me { id: host(number), generation: EPOCH, at: address(number) };
    let params = Params { max_hosts: MAX_HOSTS, ..Params::default() };
    let now = Now { elapsed: Duration::ZERO, wall: EPOCH };
    Core::new(&me, Record::default(), params, now, u64::from(number))
}

/// Does what `bytes` say to the rules of a host.
///
/// # Panics
/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    run_on(&mut Subject { core: core(0), now: Duration::ZERO, off: 0, asked: false }, bytes);
}

/// A host, and its time.
pub(super) struct Subject {
    pub(super) core: Core,
    pub(super) now: Duration,
    /// By how much its clock on the wall is off, in milliseconds.
    pub(super) off: i64,
    /// It wants to know whether another process has its key: none has, which it learns as time passes.
    pub(super) asked: bool,
}

pub(super) fn run_on(subject: &mut Subject, bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    for _ in 0..MAX_STEPS {
        if bytes.0.is_empty() {
            break;
        }
        subject.step(&mut bytes);
        subject.check();
    }
    subject.pass(QUIET);
    subject.check();
    let timers = subject.core.kept().timers;
    assert!(timers <= MAX_TIMERS, "{timers} timers");
}

impl Subject {
    fn now(&self) -> Now {
        let wall = EPOCH.saturating_add_signed(self.off) + self.now.as_millis() as u64;
        Now { elapsed: self.now, wall }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.next() % 8 {
            0 | 1 => {
                let (from, packet) = bytes.said();
                self.core.packet(self.now(), from, packet);
            }
            2 => {
                let (from, message) = bytes.said();
                self.message(from, message);
            }
            3 => {
                let (from, packet) = bytes.packet(*self.core.me());
                self.core.packet(self.now(), from, &packet.write());
            }
            4 => {
                let (from, message) = bytes.message(*self.core.me());
                self.message(from, &message.write());
            }
            5 | 6 => {
                let pause = bytes.pick(&[1, 20, 150, 400, 1_000, 4_000, 40_000]);
                self.pass(Duration::from_millis(pause));
            }
            _ => self.act(bytes),
        }
    }

    fn message(&mut self, from: HostId, message: &[u8]) {
        let answer = self.core.sync(self.now(), from, message).ok().flatten();
        assert!(answer.is_none_or(|answer| answer.len() <= MAX_MESSAGE));
    }

    fn act(&mut self, bytes: &mut Bytes<'_>) {
        let now = self.now();
        match bytes.next() % 8 {
            0 => self.core.leave(now),
            1 => self.core.leave_again(),
            2 => drop(self.core.greeting(now, bytes.host())),
            3 => {
                let hostname = format!("host-{}", bytes.next());
                self.core.set_record(now, Record { hostname, ..Record::default() });
            }
            // Time in which the host stands still.
            4 => self.now += Duration::from_secs(u64::from(bytes.next())),
            _ => {
                let hour = 3_600_000;
                self.off += bytes.pick(&[hour, -hour, 1_000 * hour, -1_000 * hour, 70_000]);
                self.off = self.off.max(-(EPOCH as i64));
            }
        }
    }

    /// Time passes, and what is planned happens.
    fn pass(&mut self, pause: Duration) {
        let end = self.now + pause;
        if std::mem::take(&mut self.asked) {
            self.core.is_sure(self.now(), false);
        }
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.core.tick(self.now());
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.output() {
            match output {
                Output::Packet(out) => {
                    assert!(out.packet.len() <= MAX_PACKET && out.to != host(0));
                    assert!(Packet::read(&out.packet).is_ok(), "others read it");
                }
                Output::Sync { with, opening, .. } => {
                    assert!(with != host(0) && opening.len() <= MAX_MESSAGE);
                }
                Output::Changed(..) | Output::Told => {}
                Output::MakeSure(_) => self.asked = true,
            }
        }
    }

    fn check(&mut self) {
        self.drain();
        let kept = self.core.kept();
        let most = [kept.hosts, kept.known, kept.records, kept.missing];
        assert!(most.iter().all(|kept| *kept <= MAX_HOSTS), "{kept:?}");
        let me = *self.core.me();
        assert!(me.host == host(0) && me.generation < LAST_GENERATION, "{me:?}");
        let members = self.core.members(|since| since);
        assert!(members.len() <= MAX_HOSTS + 1 && members.contains_key(&host(0)));
    }
}

/// What an input has yet to say; zeros, when it is at its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.next()) % choices.len()]
    }

    fn host(&mut self) -> HostId {
        host(self.next() % HOSTS)
    }

    /// Bytes as they are, and who says them: where the number is too great, whoever they are of.
    fn said(&mut self) -> (HostId, &'a [u8]) {
        let from = self.next();
        let length = usize::from(u16::from_be_bytes([self.next(), self.next()]));
        let (said, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        let inside = said.get(2..18).and_then(|id| id.try_into().ok()).map(HostId::from_bytes);
        let from = if from < 0x80 { host(from % HOSTS) } else { inside.unwrap_or(host(1)) };
        (from, said)
    }

    fn identity(&mut self, me: Identity) -> Identity {
        let (number, shape) = (self.next() % HOSTS, self.next());
        let generation = match shape % 8 {
            0..3 => EPOCH,
            3 => EPOCH + u64::from(self.next()) * 1_000,
            4 => me.generation + u64::from(self.next() % 2),
            5 => LAST_GENERATION / 2 + u64::from(self.next() % 3) - 1,
            6 => LAST_GENERATION - u64::from(self.next() % 4),
            _ => u64::from(self.next()),
        };
        let renewal = self.pick(&[0, 0, 1, 2, me.renewal, u32::MAX - 1, u32::MAX]);
        let record = self.pick(&[1, 1, 2, me.record, u32::MAX]);
        let base = Identity::new(host(number), generation, address(number));
        if number == 0 && shape & 0x80 != 0 {
            return me;
        }
        Identity { renewal, record, leaving: shape & 0x40 != 0, ..base }
    }

    fn update(&mut self, me: Identity) -> Update<Identity> {
        let identity = self.identity(me);
        let incarnation = self.pick(&[0, 1, 2, 300, u16::MAX - 1, u16::MAX]);
        Update::new(identity, incarnation, self.pick(&[Claim::Alive, Claim::Suspect, Claim::Down]))
    }

    fn packet(&mut self, me: Identity) -> (HostId, Packet) {
        let (src, kind) = (self.identity(me), self.next());
        let src_incarnation = self.pick(&[0, 1, u16::MAX]);
        let (third, probe_number) = (self.identity(me), self.next());
        let message = match kind % 10 {
            0 => Said::Ping(probe_number),
            1 => Said::Ack(probe_number),
            2 => Said::PingReq { target: third, probe_number },
            3 => Said::IndirectPing { origin: third, probe_number },
            4 => Said::IndirectAck { target: third, probe_number },
            5 => Said::ForwardedAck { origin: third, probe_number },
            6 => Said::Announce,
            7 => Said::Feed,
            8 => Said::TurnUndead,
            _ => Said::Gossip,
        };
        let dst = if kind & 0x80 == 0 { me } else { third };
        let count = self.next() % 16;
        let updates = (0..count).map(|_| self.update(me)).collect();
        let header = Header { src, src_incarnation, dst, message };
        (src.host, Packet { header, updates })
    }

    fn message(&mut self, me: Identity) -> (HostId, Message) {
        let (from, kind) = (self.host(), self.next());
        let count = self.next() % 24;
        let known = (0..count).map(|_| {
            let member = self.update(me);
            Known { member, told: self.next() & 1 != 0 }
        });
        let known: Vec<_> = known.collect();
        let count = self.next() % 8;
        let told = (0..count).map(|_| {
            let identity = self.identity(me);
            let length = usize::from(self.next() % 64);
            let record = match self.next() % 4 {
                0 => (0..length).map(|_| self.next()).collect(),
                _ => Record { hostname: "h".repeat(length), ..Record::default() }.to_bytes(),
            };
            Told { host: identity.host, edition: identity.edition(), record }
        });
        let told: Vec<_> = told.collect();
        let message = match kind % 6 {
            0 => Message::Digest(u64::from(kind)),
            1 => Message::Want(known.iter().map(|known| known.member.id().host).collect()),
            2 => Message::Same,
            3 => Message::Offer(known),
            4 => Message::Exchange(known, told),
            _ => Message::Rest(told),
        };
        (from, message)
    }
}
