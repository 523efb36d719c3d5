//! Time, and what is done when.

use std::time::Duration;

use foca::State as Claim;
use rand::RngExt;

use super::{Core, Identity, Job, Now, Output, State};

impl Core {
    /// From here on it is `now`. Time that the host stood still does not count.
    pub(super) fn enter(&mut self, now: Now) {
        let counted = now.elapsed.saturating_sub(self.stood_still);
        let late = self.out.timers.next().and_then(|next| counted.checked_sub(next));
        let late = late.filter(|late| *late > self.params.stall()).unwrap_or_default();
        self.stood_still += late;
        self.out.now = self.out.now.max(counted - late);
    }

    pub(super) fn run(&mut self, now: Now, job: Job) {
        match job {
            Job::Foca(timer) if self.is_contradicted(&timer) => {}
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

    /// Whether this is the end of a suspicion that is none any more. Foca would still tell the host that it is
    /// down, which then goes by another identity.
    fn is_contradicted(&self, timer: &foca::Timer<Identity>) -> bool {
        let foca::Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else {
            return false;
        };
        let mut members = self.foca.iter_membership_state();
        !members.any(|member| {
            member.id() == member_id
                && member.state() == Claim::Suspect
                && member.incarnation() == *incarnation
        })
    }

    /// Compares what is known soon, and then less and less often: while a host comes to be known, it misses
    /// what those tell who do not know it yet.
    pub(super) fn sync_soon(&mut self) {
        self.sync_pause = self.params.sync / 16;
        self.sync_later();
    }

    fn sync_later(&mut self) {
        let pause = self.about(self.sync_pause);
        self.sync_at = self.out.now + pause;
        self.out.after(pause, Job::Sync);
    }

    /// A random host in such a state.
    pub(super) fn some(&mut self, state: impl Fn(State) -> bool) -> Option<Identity> {
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
    pub(super) fn about(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(self.random.random_range(0.75..1.25))
    }
}
