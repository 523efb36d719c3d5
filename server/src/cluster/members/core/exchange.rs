//! What two hosts tell each other over a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use foca::{Member as Update, State as Claim};
use rand::RngExt;

use super::super::sync::{self, Known, Message, Told};
use super::{Core, HostId, Identity, Job, Now, Output, Record};

impl Core {
    /// Whom this host knows: those that are up, itself, and those that went not long ago.
    pub(super) fn known(&self, now: Duration) -> impl Iterator<Item = Known> {
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
    pub(super) fn known_for(&self, now: Now, peer: HostId) -> Vec<Known> {
        let down = self.foca.iter_membership_state();
        let down = down.filter(|member| member.id().host == peer && member.state() == Claim::Down);
        let down = down.map(|member| Known { member: member.clone(), told: false });
        let known = self
            .known(now.elapsed)
            .filter(|known| known.member.id().host != peer || known.member.state() != Claim::Down);
        known.chain(down).collect()
    }

    pub(super) fn digest(&self, now: Now) -> u64 {
        sync::digest(self.known(now.elapsed))
    }

    pub(super) fn learn(&mut self, now: Now, from: HostId, known: Vec<Known>) {
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
    pub(super) fn doubt(&self, updates: &mut Vec<Update<Identity>>) {
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
    pub(super) fn told(&self, host: HostId) -> Option<Told> {
        if host == self.me().host {
            let edition = self.me().edition();
            return Some(Told { host, edition, record: self.record.to_bytes() });
        }
        let edition = self.roster.get(host)?.identity.edition();
        let record = self.records.get(host, edition)?.to_bytes();
        Some(Told { host, edition, record })
    }

    pub(super) fn told_of(&self, hosts: impl Iterator<Item = HostId>) -> Vec<Told> {
        sync::that_fit(hosts.filter_map(|host| self.told(host)))
    }

    /// All records but those of hosts that the other has: `lacked` tells of each host whether it lacks it.
    pub(super) fn told_but(&self, lacked: &BTreeMap<Identity, bool>) -> Vec<Told> {
        let others = self.roster.iter().filter(|(_, entry)| entry.is_up());
        let others = others.map(|(_, entry)| entry.identity).chain([*self.me()]);
        let wanted = others.filter(|identity| *lacked.get(identity).unwrap_or(&true));
        self.told_of(wanted.map(|identity| identity.host))
    }

    /// Takes the records that are missing; what a host says of itself counts before what others say.
    pub(super) fn hear(&mut self, from: HostId, told: Vec<Told>) {
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
    pub(super) fn pull(&mut self) {
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
pub(super) fn lacked(known: &[Known]) -> BTreeMap<Identity, bool> {
    known.iter().map(|known| (*known.member.id(), !known.told)).collect()
}
