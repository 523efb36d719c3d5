//! What this host goes by: another life, when others take it for one.

use std::time::Duration;

use super::{Core, Identity};

impl Core {
    /// This host is taken for a later life of itself: it becomes a later one yet.
    pub(super) fn outbid(&mut self, claim: Option<Identity>) {
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
    pub(super) fn is_just_after(&self, last: Option<Duration>) -> bool {
        last.is_some_and(|last| last + self.params.renew > self.out.now)
    }

    pub(super) fn become_identity(&mut self, identity: Identity) {
        self.out.incarnation = 0;
        let changed = self.foca.change_identity(identity, &mut self.out);
        self.count_error(changed);
        self.stay_connected();
    }

    /// With another identity foca waits for somebody who knows it by that. It need not: it knows who is up.
    pub(super) fn stay_connected(&mut self) {
        let connected = self.foca.apply_many(std::iter::empty(), false, &mut self.out);
        self.count_error(connected);
    }

    pub(super) fn count_error(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.out.counts.errors += 1;
            tracing::debug!(%error, "membership");
        }
    }
}
