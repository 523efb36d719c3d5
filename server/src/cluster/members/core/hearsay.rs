//! What others say, and whether it may be.

use std::collections::BTreeSet;

use foca::{Member as Update, State as Claim};

use super::twin::says_up;
use super::{Core, HostId, Identity, LAST_GENERATION, Now};

/// No clock says that it is later, in the year 6429: after a life of then there is place for as many as anybody
/// makes a host have.
const LATEST_LIFE: u64 = LAST_GENERATION / 2;

impl Core {
    /// Whether a host may go by this here: not when somebody else says that it was started in the future, as
    /// nobody could outdo that, and not when there is no place for it. What a host says of itself it may: so one
    /// whose clock is far off comes to be known, by and by. `newcomers` are those that foca is to hear of at the
    /// same time, who take places as well.
    pub(super) fn may_be(
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
    pub(super) fn screen(
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
}
