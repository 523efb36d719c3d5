//! The rules of membership, without a clock and without a network: the driver, and the simulation, give time,
//! packets and messages, and do what comes out.

mod changes;
mod exchange;
mod hearsay;
mod life;
mod time;
mod twin;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foca::{Foca, NoCustomBroadcast, State as Claim};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::codec::{Packet, Packets};
use super::outbox::{Outbox, Outgoing};
use super::record::Record;
use super::records::Records;
use super::roster::{Change, Roster};
use super::sync::Message;
use super::timers::Job;
use super::wire::{LAST_GENERATION, Malformed};
use super::{Counts, HostId, Identity, Me, Member, Params, State};
use exchange::lacked;
use twin::{Doubt, says_up};

/// The time, by two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the host was started: never goes back.
    pub(crate) elapsed: Duration,
    /// Milliseconds since 1970: may be set to anything.
    pub(crate) wall: u64,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    Packet(Outgoing),
    /// Open a stream to a host, and say this first.
    Sync {
        with: HostId,
        at: SocketAddr,
        opening: Vec<u8>,
    },
    /// Something has become of a host.
    Changed(HostId, Change),
    /// A record has come.
    Told,
    /// Find out whether another process with this host's key is there, and [tell](Core::is_sure).
    MakeSure(SocketAddr),
}

/// One host's part in the cluster.
pub(crate) struct Core {
    foca: Foca<Identity, Packets, SmallRng, NoCustomBroadcast>,
    out: Outbox,
    outputs: VecDeque<Output>,
    roster: Roster,
    records: Records,
    record: Arc<Record>,
    params: Params,
    random: SmallRng,
    /// The wall clock when this was made: with what has passed since, it is never earlier than that.
    started: Now,
    /// Time that the host stood still: it does not count, as nobody could be heard in it.
    stood_still: Duration,
    /// When this host last came back from being taken for dead, and from being taken for a later life.
    renewed: Option<Duration>,
    outbid: Option<Duration>,
    doubt: Doubt,
    /// When all that is known is to be compared next, and how long after that again.
    sync_at: Duration,
    sync_pause: Duration,
    /// For how many hosts up foca is set.
    set_for: usize,
    /// It has said that it goes.
    left: bool,
}

impl Core {
    pub(crate) fn new(me: &Me, record: Record, params: Params, now: Now, seed: u64) -> Self {
        let identity = Identity::new(me.id, me.generation, me.at);
        let mut random = SmallRng::seed_from_u64(seed);
        let for_foca = SmallRng::from_rng(&mut random);
        let mut core = Core {
            foca: Foca::new(identity, params.config(1), for_foca, Packets),
            out: Outbox::new(me.id),
            outputs: VecDeque::new(),
            roster: Roster::default(),
            records: Records::default(),
            record: Arc::new(record),
            params,
            random,
            started: now,
            stood_still: Duration::ZERO,
            renewed: None,
            outbid: None,
            doubt: Doubt::fresh(),
            sync_at: Duration::ZERO,
            sync_pause: Duration::ZERO,
            set_for: 1,
            left: false,
        };
        core.enter(now);
        core.sync_soon();
        let reconnect = core.about(core.params.reconnect);
        core.out.after(reconnect, Job::Reconnect);
        core
    }

    /// What it goes by: its generation is what it was given, or greater where others know it by that.
    pub(crate) fn me(&self) -> &Identity {
        self.foca.identity()
    }

    /// Nobody else is up.
    pub(crate) fn is_alone(&self) -> bool {
        self.foca.num_members() == 0
    }

    /// How many others there is a place for, those that are dead included.
    pub(crate) fn remembered(&self) -> usize {
        self.foca.iter_membership_state().len()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.out.counts
    }

    pub(crate) fn counts_mut(&mut self) -> &mut Counts {
        &mut self.out.counts
    }

    /// When [`Core::tick`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.left {
            return None;
        }
        self.out.timers.next().map(|next| next + self.stood_still)
    }

    /// What is to be done next.
    pub(crate) fn output(&mut self) -> Option<Output> {
        match self.out.packets.pop_front() {
            Some(packet) => Some(Output::Packet(packet)),
            None => self.outputs.pop_front(),
        }
    }

    /// Every host that is known, this one included; `instant` makes the time of a change what it is to be.
    pub(crate) fn members<T>(
        &self,
        instant: impl Fn(Duration) -> T,
    ) -> BTreeMap<HostId, Member<T>> {
        let me = self.me();
        let others = self.roster.iter().map(|(host, entry)| {
            let Identity { generation, at, .. } = entry.identity;
            let record = self.records.latest(*host, generation).cloned();
            let since = instant(entry.since);
            (*host, Member { id: *host, generation, at, state: entry.state, since, record })
        });
        let state = if self.left { State::Left } else { State::Up };
        let myself = Member {
            id: me.host,
            generation: me.generation,
            at: me.at,
            state,
            since: instant(self.started.elapsed),
            record: Some(self.record.clone()),
        };
        others.chain([(me.host, myself)]).collect()
    }

    /// A packet has come from `from`, as the transport has made sure of.
    pub(crate) fn packet(&mut self, now: Now, from: HostId, bytes: &[u8]) {
        self.out.counts.packets_in += 1;
        self.out.counts.bytes_in += bytes.len() as u64;
        if self.left || self.keeps_quiet() {
            return;
        }
        self.enter(now);
        let Ok(mut packet) = Packet::read(bytes) else {
            self.out.counts.malformed += 1;
            return;
        };
        let source = packet.header.src;
        if source.host != from || from == self.me().host {
            self.out.counts.forged += 1;
            return;
        }
        // Not by whom it is for: it may have been on its way since a former life.
        let up = packet.updates.iter().filter(|update| says_up(update)).map(|update| *update.id());
        if self.hesitates(up) {
            return;
        }
        let mut newcomers = BTreeSet::new();
        if !self.may_be(now, from, &source, &mut newcomers) {
            return;
        }
        if packet.header.message == foca::Message::TurnUndead && self.is_just_after(self.renewed) {
            return;
        }
        let length = packet.updates.len();
        let claim = self.screen(now, from, &mut packet.updates, &mut newcomers);
        let screened = (packet.updates.len() != length).then(|| packet.write());
        let handled = self.foca.handle_data(screened.as_deref().unwrap_or(bytes), &mut self.out);
        let suspects = packet.updates.iter().any(|update| update.state() == Claim::Suspect);
        self.out.suspected |= suspects;
        self.count_error(handled);
        self.contradict(claim);
        self.settle(now, Some(from));
    }

    /// It is [`Core::deadline`], or later.
    pub(crate) fn tick(&mut self, now: Now) {
        self.enter(now);
        while let Some(job) = self.out.timers.due(self.out.now) {
            if self.left {
                return;
            }
            self.run(now, job);
            self.settle(now, None);
        }
    }

    /// What is to be said first to a host, so that all that both know is compared: nothing to oneself.
    pub(crate) fn greeting(&mut self, now: Now, with: HostId) -> Option<Vec<u8>> {
        if with == self.me().host || self.left || self.keeps_quiet() {
            return None;
        }
        self.out.counts.syncs += 1;
        Some(Message::Digest(self.digest(now)).write())
    }

    /// A message has come over a stream from `from`, as the transport has made sure of: what is to be said
    /// in answer.
    pub(crate) fn sync(
        &mut self,
        now: Now,
        from: HostId,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, Malformed> {
        if self.left || from == self.me().host || self.keeps_quiet() {
            return Ok(None);
        }
        self.enter(now);
        let read = Message::read(message).inspect_err(|_| self.out.counts.malformed += 1)?;
        if let Message::Offer(known) | Message::Exchange(known, _) = &read {
            let up = known.iter().map(|known| &known.member).filter(|member| says_up(member));
            if self.hesitates(up.map(|member| *member.id())) {
                return Ok(None);
            }
        }
        let answer = match read {
            Message::Digest(digest) if digest == self.digest(now) => Some(Message::Same),
            Message::Digest(_) => Some(Message::Offer(self.known_for(now, from))),
            Message::Want(hosts) => Some(Message::Rest(self.told_of(hosts.into_iter()))),
            Message::Same => None,
            Message::Offer(known) => {
                let lacked = lacked(&known);
                self.learn(now, from, known);
                let told = self.told_but(&lacked);
                Some(Message::Exchange(self.known_for(now, from), told))
            }
            Message::Exchange(known, told) => {
                let lacked = lacked(&known);
                self.learn(now, from, known);
                self.hear(from, told);
                Some(Message::Rest(self.told_but(&lacked)))
            }
            Message::Rest(told) => {
                self.hear(from, told);
                None
            }
        };
        self.settle(now, Some(from));
        Ok(answer.map(|answer| answer.write()))
    }

    /// Others are to know this of the host.
    pub(crate) fn set_record(&mut self, now: Now, record: Record) {
        if *self.record == record || self.left {
            return;
        }
        self.enter(now);
        self.record = Arc::new(record);
        let me = *self.me();
        self.become_identity(Identity { record: me.record.saturating_add(1), ..me });
        self.settle(now, None);
    }

    /// Tells some others that the host goes; after that it takes part in nothing.
    pub(crate) fn leave(&mut self, now: Now) {
        if self.left {
            return;
        }
        self.enter(now);
        let me = *self.me();
        self.become_identity(Identity { leaving: true, ..me });
        let told = self.foca.leave_cluster(&mut self.out);
        self.count_error(told);
        self.left = true;
    }

    /// Tells some others once more, after [`Core::leave`].
    pub(crate) fn leave_again(&mut self) {
        let told = self.foca.gossip(&mut self.out);
        self.count_error(told);
    }
}

/// How much a host keeps of others.
#[cfg(any(test, feature = "fuzzing"))]
#[derive(Debug)]
pub(crate) struct Kept {
    /// By foca, and here.
    pub(crate) known: usize,
    pub(crate) hosts: usize,
    pub(crate) records: usize,
    pub(crate) missing: usize,
    pub(crate) timers: usize,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Core {
    pub(crate) fn kept(&self) -> Kept {
        let [records, missing] = self.records.kept();
        Kept {
            known: self.foca.iter_membership_state().len(),
            hosts: self.roster.iter().count(),
            records,
            missing,
            timers: self.out.timers.len(),
        }
    }
}
