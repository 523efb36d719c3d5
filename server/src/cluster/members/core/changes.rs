//! What becomes of hosts: foca's notes, made into what others want to know.

use std::collections::BTreeSet;

use foca::{Foca, OwnedNotification, State as Claim};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Change, Core, HostId, Identity, Job, Now, Output, Packets};

impl Core {
    /// Makes of what foca has noticed what others want to know. `teller` is whom it comes from.
    pub(super) fn settle(&mut self, now: Now, teller: Option<HostId>) {
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
