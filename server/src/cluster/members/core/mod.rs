//! The rules of membership, without a clock and without a network: the driver, and the simulation, give time,
//! packets and messages, and do what comes out.

mod twin;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foca::{Foca, Member as Update, NoCustomBroadcast, OwnedNotification, State as Claim};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::codec::{Packet, Packets};
use super::outbox::{Outbox, Outgoing};
use super::record::Record;
use super::records::Records;
use super::roster::{Change, Roster};
use super::sync::{self, Known, Message, Told};
use super::timers::Job;
use super::wire::{LAST_GENERATION, Malformed};
use super::{Counts, HostId, Identity, Me, Member, Params, State};
use twin::{Doubt, says_up};

/// No clock says that it is later, in the year 6429: after a life of then there is place for as many as anybody
/// makes a host have.
const LATEST_LIFE: u64 = LAST_GENERATION / 2;

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
        let up = packet.updates.iter().filter(|update| says_up(update)).map(|update| *update.id());
        if self.hesitates(up.chain([packet.header.dst])) {
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

/// Time, and what is done when.
impl Core {
    /// From here on it is `now`. Time that the host stood still does not count.
    fn enter(&mut self, now: Now) {
        let counted = now.elapsed.saturating_sub(self.stood_still);
        let late = self.out.timers.next().and_then(|next| counted.checked_sub(next));
        let late = late.filter(|late| *late > self.params.stall()).unwrap_or_default();
        self.stood_still += late;
        self.out.now = self.out.now.max(counted - late);
    }

    fn run(&mut self, now: Now, job: Job) {
        match job {
            Job::Foca(timer) => {
                let gone = match &timer {
                    foca::Timer::RemoveDown(gone) => Some(*gone),
                    _ => None,
                };
                let handled = self.foca.handle_timer(timer, &mut self.out);
                self.count_error(handled);
                if let Some(change) = gone.and_then(|gone| self.roster.forget(&gone)) {
                    let host = gone.expect("has been forgotten").host;
                    self.records.forget(host);
                    self.outputs.push_back(Output::Changed(host, change));
                }
            }
            // Another was asked for instead.
            Job::Sync if self.out.now < self.sync_at => {}
            Job::Sync => {
                if let Some(Identity { host: with, at, .. }) = self.some(|state| state == State::Up)
                    && let Some(opening) = self.greeting(now, with)
                {
                    self.outputs.push_back(Output::Sync { with, at, opening });
                }
                self.sync_pause = (self.sync_pause * 2).min(self.params.sync);
                self.sync_later();
            }
            Job::Pull => self.pull(),
            Job::Reconnect => {
                if self.random.random_bool(self.params.reconnect_among(self.foca.num_members() + 1))
                    && let Some(lost) = self.some(|state| state == State::Failed)
                {
                    let sent = self.foca.announce(lost, &mut self.out);
                    self.count_error(sent);
                }
                let pause = self.about(self.params.reconnect);
                self.out.after(pause, Job::Reconnect);
            }
        }
    }

    /// Compares what is known soon, and then less and less often: while a host comes to be known, it misses
    /// what those tell who do not know it yet.
    fn sync_soon(&mut self) {
        self.sync_pause = self.params.sync / 16;
        self.sync_later();
    }

    fn sync_later(&mut self) {
        let pause = self.about(self.sync_pause);
        self.sync_at = self.out.now + pause;
        self.out.after(pause, Job::Sync);
    }

    /// A random host in such a state.
    fn some(&mut self, state: impl Fn(State) -> bool) -> Option<Identity> {
        let (mut chosen, mut seen) = (None, 0_u32);
        for (_, entry) in self.roster.iter().filter(|(_, entry)| state(entry.state)) {
            seen += 1;
            if self.random.random_range(0..seen) == 0 {
                chosen = Some(entry.identity);
            }
        }
        chosen
    }

    /// A quarter more or less.
    fn about(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(self.random.random_range(0.75..1.25))
    }
}

/// What others say, and whether it may be.
impl Core {
    /// Whether a host may go by this here: not when somebody else says that it was started in the future, as
    /// nobody could outdo that, and not when there is no place for it. What a host says of itself it may: so one
    /// whose clock is far off comes to be known, by and by. `newcomers` are those that foca is to hear of at the
    /// same time, who take places as well.
    fn may_be(
        &mut self,
        now: Now,
        from: HostId,
        identity: &Identity,
        newcomers: &mut BTreeSet<HostId>,
    ) -> bool {
        let known = self.roster.get(identity.host);
        let generation = known.map_or(0, |known| known.identity.generation);
        let future = identity.generation > generation.max(self.horizon(now));
        if identity.generation >= LAST_GENERATION || (future && identity.host != from) {
            if self.out.counts.from_the_future == 0 {
                let host = identity.host;
                tracing::warn!(%host, by = %from, "a host is said to have been started in the future: a clock is far off, or it is a lie");
            }
            self.out.counts.from_the_future += 1;
            return false;
        }
        if known.is_some() || newcomers.contains(&identity.host) {
            return true;
        }
        if self.remembered() + newcomers.len() >= self.params.max_hosts {
            self.out.counts.no_place += 1;
            return false;
        }
        newcomers.insert(identity.host);
        true
    }

    /// The latest generation that is believed: by the wall clock, which may have been put back since the
    /// host was started.
    fn horizon(&self, now: Now) -> u64 {
        let passed = now.elapsed.saturating_sub(self.started.elapsed);
        let at_least = self.started.wall.saturating_add(passed.as_millis() as u64);
        now.wall.max(at_least).saturating_add(self.params.skew.as_millis() as u64)
    }

    /// Takes out of `updates` what foca is not to see. If somebody takes this host for a later life of itself,
    /// that is what is returned, and whether it is up in that.
    fn screen(
        &mut self,
        now: Now,
        from: HostId,
        updates: &mut Vec<Update<Identity>>,
        newcomers: &mut BTreeSet<HostId>,
    ) -> Option<(Identity, bool)> {
        let me = *self.me();
        // Others believe nobody who says that this host is in a life that is later than it says itself, and than
        // any clock.
        let latest = me.generation.max(LATEST_LIFE);
        let (mut claim, mut heard) = (None, false);
        updates.retain(|update| {
            let identity = *update.id();
            if identity == me {
                // With the first of them foca may take another identity, and would take the next for somebody else's.
                let is_first = !std::mem::replace(&mut heard, true);
                let is_too_soon = update.state() == Claim::Down && self.is_just_after(self.renewed);
                return is_first && !is_too_soon;
            }
            if identity.host == me.host {
                let counts = identity > me && identity.generation <= latest;
                claim = claim.max(counts.then_some((identity, says_up(update))));
                return false;
            }
            self.may_be(now, from, &identity, newcomers)
        });
        claim
    }

    /// This host is taken for a later life of itself: it becomes a later one yet.
    fn outbid(&mut self, claim: Option<Identity>) {
        if let Some(claim) = claim.filter(|claim| claim > self.me())
            && !self.is_just_after(self.outbid)
        {
            if self.outbid.is_none_or(|last| last + Duration::from_secs(60) < self.out.now) {
                tracing::warn!(
                    ?claim,
                    "this host is taken for another life of itself: its clock was put back, another host has its key, or somebody lies"
                );
            }
            self.become_identity(self.me().outbid(&claim));
            self.outbid = Some(self.out.now);
            self.out.counts.renewals += 1;
        }
    }

    /// Whether it is too soon for another.
    fn is_just_after(&self, last: Option<Duration>) -> bool {
        last.is_some_and(|last| last + self.params.renew > self.out.now)
    }

    fn become_identity(&mut self, identity: Identity) {
        self.out.incarnation = 0;
        let changed = self.foca.change_identity(identity, &mut self.out);
        self.count_error(changed);
        self.stay_connected();
    }

    /// With another identity foca waits for somebody who knows it by that. It need not: it knows who is up.
    fn stay_connected(&mut self) {
        let connected = self.foca.apply_many(std::iter::empty(), false, &mut self.out);
        self.count_error(connected);
    }

    fn count_error(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.out.counts.errors += 1;
            tracing::debug!(%error, "membership");
        }
    }

    /// Makes of what foca has noticed what others want to know. `teller` is whom it comes from.
    fn settle(&mut self, now: Now, teller: Option<HostId>) {
        while let Some(note) = self.out.notes.pop_front() {
            let (host, change) = match note {
                OwnedNotification::MemberUp(who) => (who.host, self.roster.up(who, now.elapsed)),
                OwnedNotification::MemberDown(who) => {
                    (who.host, self.roster.down(who, now.elapsed))
                }
                OwnedNotification::Rename(_, to) => (to.host, self.roster.rename(to, now.elapsed)),
                OwnedNotification::Rejoin(_) => {
                    self.has_rejoined(now, teller);
                    continue;
                }
                OwnedNotification::Idle if !self.left => {
                    self.begin_again();
                    continue;
                }
                OwnedNotification::Active => {
                    self.sync_soon();
                    continue;
                }
                OwnedNotification::Defunct if !self.left => {
                    let me = *self.me();
                    self.outbid(Some(Identity { renewal: u32::MAX, ..me }));
                    continue;
                }
                _ => continue,
            };
            if let Some(change) = change {
                self.has_changed(host, change, teller);
            }
        }
        self.settle_suspects(now);
        let up = self.foca.num_members() + 1;
        if up != self.set_for {
            self.set_for = up;
            let set = self.foca.set_config(self.params.config(up));
            self.count_error(set);
        }
    }

    /// All the others are taken for dead: more likely it is this host that was lost. It keeps nothing of what
    /// it thinks of them, nor tells them when it finds them again.
    fn begin_again(&mut self) {
        self.out.timers.retain(
            |job| !matches!(job, Job::Foca(timer) if !matches!(timer, foca::Timer::RemoveDown(_))),
        );
        self.out.incarnation = 0;
        self.set_for = 1;
        let random = SmallRng::from_rng(&mut self.random);
        self.foca = Foca::new(*self.me(), self.params.config(1), random, Packets);
    }

    /// Foca has taken another identity, as this host was taken for dead.
    fn has_rejoined(&mut self, now: Now, teller: Option<HostId>) {
        self.out.incarnation = 0;
        self.renewed = Some(self.out.now);
        self.out.counts.renewals += 1;
        self.stay_connected();
        // Who said so hears it at once, and says in which life he takes this host for dead: it may be one yet
        // later.
        let teller =
            teller.and_then(|teller| self.roster.get(teller)).map(|teller| teller.identity);
        if let Some(Identity { host: with, at, .. }) = teller
            && let Some(opening) = self.greeting(now, with)
        {
            self.outputs.push_back(Output::Sync { with, at, opening });
        }
    }

    fn has_changed(&mut self, host: HostId, change: Change, teller: Option<HostId>) {
        match change {
            Change::Restarted => self.records.forget(host),
            Change::Left | Change::Failed => self.records.done(host),
            _ => {}
        }
        self.outputs.push_back(Output::Changed(host, change));
        let Some(entry) = self.roster.get(host) else { return };
        if entry.is_up() && self.records.get(host, entry.identity.edition()).is_none() {
            let pause = self.about(self.params.pull);
            self.records.miss(host, teller.unwrap_or(host), self.out.now + pause);
            self.out.after(pause, Job::Pull);
        }
    }

    /// Foca does not tell of suspicions: looks whom it suspects, when that may have changed.
    fn settle_suspects(&mut self, now: Now) {
        if !std::mem::take(&mut self.out.suspected) && self.roster.suspects().is_empty() {
            return;
        }
        let suspects: BTreeSet<HostId> = self
            .foca
            .iter_membership_state()
            .filter(|member| member.state() == Claim::Suspect)
            .map(|member| member.id().host)
            .collect();
        if suspects == *self.roster.suspects() {
            return;
        }
        for (host, change) in self.roster.suspect(suspects, now.elapsed) {
            if change == Change::Suspected {
                self.out.counts.suspicions += 1;
            }
            self.outputs.push_back(Output::Changed(host, change));
        }
    }
}

/// What two hosts tell each other over a stream.
impl Core {
    /// Whom this host knows: those that are up, itself, and those that went not long ago.
    fn known(&self, now: Duration) -> impl Iterator<Item = Known> {
        let me = *self.me();
        let myself = Update::new(me, self.out.incarnation, Claim::Alive);
        let up = self.foca.iter_membership_state().filter(|member| member.state() != Claim::Down);
        let up = up.cloned().map(|member| Known {
            told: self.records.get(member.id().host, member.id().edition()).is_some(),
            member,
        });
        let tell = self.params.tell;
        let alone = self.is_alone();
        let gone = self
            .roster
            .iter()
            .filter(move |(_, entry)| !alone && !entry.is_up() && entry.since + tell > now)
            .map(|(_, entry)| Known { member: Update::down(entry.identity), told: false });
        [Known { member: myself, told: true }].into_iter().chain(up).chain(gone)
    }

    /// The same for `peer`: it must hear of itself even what is too old for others.
    fn known_for(&self, now: Now, peer: HostId) -> Vec<Known> {
        let down = self.foca.iter_membership_state();
        let down = down.filter(|member| member.id().host == peer && member.state() == Claim::Down);
        let down = down.map(|member| Known { member: member.clone(), told: false });
        let known = self
            .known(now.elapsed)
            .filter(|known| known.member.id().host != peer || known.member.state() != Claim::Down);
        known.chain(down).collect()
    }

    fn digest(&self, now: Now) -> u64 {
        sync::digest(self.known(now.elapsed))
    }

    fn learn(&mut self, now: Now, from: HostId, known: Vec<Known>) {
        let mut updates: Vec<_> = known.into_iter().map(|known| known.member).collect();
        let claim = self.screen(now, from, &mut updates, &mut BTreeSet::new());
        self.doubt(&mut updates);
        self.out.suspected |= updates.iter().any(|update| update.state() == Claim::Suspect);
        // What a host learns that knew nobody, the others know.
        let pass_on = !self.is_alone();
        let applied = self.foca.apply_many(updates.into_iter(), pass_on, &mut self.out);
        self.count_error(applied);
        self.contradict(claim);
        self.settle(now, Some(from));
    }

    /// Whom others take for dead is suspected here, if it is up here: both may have been cut apart, and what
    /// each thinks of the others is old. One that is not known here is of no interest any more.
    fn doubt(&self, updates: &mut Vec<Update<Identity>>) {
        let me = self.me().host;
        let doubted = |update: &Update<Identity>| {
            update.state() == Claim::Down && !update.id().leaving && update.id().host != me
        };
        if !updates.iter().any(doubted) {
            return;
        }
        let members = self.foca.iter_membership_state();
        let known: BTreeMap<HostId, &Update<Identity>> =
            members.map(|member| (member.id().host, member)).collect();
        updates.retain_mut(|update| {
            if !doubted(update) {
                return true;
            }
            let Some(known) = known.get(&update.id().host) else { return false };
            let incarnation = if known.id() == update.id() { known.incarnation() } else { 0 };
            *update = Update::new(*update.id(), incarnation, Claim::Suspect);
            known.state() != Claim::Down
        });
    }

    /// The record of a host, for others.
    fn told(&self, host: HostId) -> Option<Told> {
        if host == self.me().host {
            let edition = self.me().edition();
            return Some(Told { host, edition, record: self.record.to_bytes() });
        }
        let edition = self.roster.get(host)?.identity.edition();
        let record = self.records.get(host, edition)?.to_bytes();
        Some(Told { host, edition, record })
    }

    fn told_of(&self, hosts: impl Iterator<Item = HostId>) -> Vec<Told> {
        sync::that_fit(hosts.filter_map(|host| self.told(host)))
    }

    /// All records but those of hosts that the other has: `lacked` tells of each host whether it lacks it.
    fn told_but(&self, lacked: &BTreeMap<Identity, bool>) -> Vec<Told> {
        let others = self.roster.iter().filter(|(_, entry)| entry.is_up());
        let others = others.map(|(_, entry)| entry.identity).chain([*self.me()]);
        let wanted = others.filter(|identity| *lacked.get(identity).unwrap_or(&true));
        self.told_of(wanted.map(|identity| identity.host))
    }

    /// Takes the records that are missing; what a host says of itself counts before what others say.
    fn hear(&mut self, from: HostId, told: Vec<Told>) {
        for Told { host, edition, record } in told {
            let known = self.roster.get(host).map(|entry| entry.identity.edition());
            if known != Some(edition) {
                continue;
            }
            if from != host && self.records.get(host, edition).is_some() {
                continue;
            }
            match Record::from_bytes(&record) {
                Ok(record) => {
                    self.records.put(host, edition, record);
                    self.outputs.push_back(Output::Told);
                }
                Err(_) => self.out.counts.malformed += 1,
            }
        }
    }

    /// Asks for the records that are due: first whoever told of the host, then the host, and so on.
    fn pull(&mut self) {
        let mut asked: BTreeMap<HostId, Vec<HostId>> = BTreeMap::new();
        let mut pauses = Vec::new();
        for (host, missing) in self.records.due(self.out.now) {
            let teller = self.roster.get(missing.teller).filter(|teller| teller.is_up());
            let of_teller = missing.asked % 2 == 0 && teller.is_some();
            asked.entry(if of_teller { missing.teller } else { host }).or_default().push(host);
            missing.asked += 1;
            let pause = self.params.pull.saturating_mul(1 << missing.asked.min(10));
            let pause = pause.min(self.params.pull_at_most);
            let pause = pause.mul_f64(self.random.random_range(0.75..1.25));
            missing.due = self.out.now + pause;
            pauses.push(pause);
        }
        pauses.into_iter().for_each(|pause| self.out.after(pause, Job::Pull));
        for (with, hosts) in asked {
            let Some(at) = self.roster.get(with).map(|with| with.identity.at) else { continue };
            for hosts in hosts.chunks(sync::MAX_WANTED) {
                let opening = Message::Want(hosts.to_vec()).write();
                self.outputs.push_back(Output::Sync { with, at, opening });
                self.out.counts.pulls += 1;
            }
        }
    }
}

/// Of each host that somebody knows of, whether its record is missing there.
fn lacked(known: &[Known]) -> BTreeMap<Identity, bool> {
    known.iter().map(|known| (*known.member.id(), !known.told)).collect()
}
