//! Another process that has this host's key, as after a folder was copied.
//!
//! That a host is somewhere else, somebody may say who lies. So this host believes nobody: it asks there, where only
//! who has its key can show that it is this host ([`Output::MakeSure`]). If another process is there, this one
//! [stops](Core::is_sure), and tells nobody that the host goes: the other one is that host. There are two reasons to
//! ask:
//!
//! * What this host hears first of others is that it is up somewhere else. Until it is sure nobody hears of it: so
//!   the one that is there is not disturbed, however often another is started.
//! * It is said to be in a later life than it is. Somewhere else, as after the two sides of a network that was cut
//!   have each had one of the two: it does not contradict until it is sure, so that all others see is that one
//!   restart. Or where it is itself: both may be told the same address, and one of them is not there.
//!
//! A host that was started again is not taken for another, as its former process has gone: nobody is there, or itself.

use std::net::SocketAddr;
use std::time::Duration;

use foca::{Member as Update, State as Claim};

use super::{Core, Identity, Now, Output};

/// For how long a host has just begun.
const YOUNG: Duration = Duration::from_secs(5);

/// What is not known for sure of this host's being the only one with its key.
#[derive(Default)]
pub(super) struct Doubt {
    /// This host has not heard yet who is up.
    fresh: bool,
    /// An answer is awaited.
    asking: bool,
    /// What others take this host for meanwhile.
    claim: Option<Identity>,
    /// Where this host has met itself or another.
    met: Option<SocketAddr>,
}

impl Doubt {
    pub(super) fn fresh() -> Self {
        Doubt { fresh: true, ..Doubt::default() }
    }
}

/// Whether this says that a host is there.
pub(super) fn says_up(update: &Update<Identity>) -> bool {
    update.state() != Claim::Down && !update.id().leaving
}

impl Core {
    /// Nobody is to hear of this host until it is sure.
    pub(super) fn keeps_quiet(&self) -> bool {
        self.doubt.fresh && self.doubt.asking
    }

    /// This host hears for the first time who is up: whether it is to keep quiet, as it is itself among those.
    pub(super) fn hesitates(&mut self, up: impl IntoIterator<Item = Identity>) -> bool {
        if !self.doubt.fresh {
            return false;
        }
        let me = *self.me();
        let elsewhere = up.into_iter().find(|other| other.host == me.host && other.at != me.at);
        match elsewhere {
            Some(other) => self.make_sure(other.at),
            None => self.doubt.fresh = false,
        }
        elsewhere.is_some()
    }

    /// Who is at the address of a seed is this host, or another process with its key. Of two that know nobody else, it
    /// is the one that has just begun that asks; if both have been there for long, whichever comes by again.
    pub(crate) fn has_met_itself(&mut self, now: Now, at: SocketAddr) {
        if !self.doubt.fresh || at == self.me().at || self.left {
            return;
        }
        self.enter(now);
        let again = self.doubt.met.replace(at) == Some(at);
        if again || self.out.now < YOUNG {
            self.make_sure(at);
        }
    }

    /// Others take this host for `claim`, and as one that is up, or not.
    pub(super) fn contradict(&mut self, claim: Option<(Identity, bool)>) {
        let Some((claim, is_up)) = claim else { return };
        let me = *self.me();
        let elsewhere = is_up && claim.at != me.at;
        if elsewhere || (is_up && claim.generation > me.generation) {
            self.make_sure(claim.at);
        }
        if elsewhere {
            self.doubt.claim = self.doubt.claim.max(Some(claim));
        } else {
            self.outbid(Some(claim));
        }
    }

    fn make_sure(&mut self, at: SocketAddr) {
        if !std::mem::replace(&mut self.doubt.asking, true) {
            self.outputs.push_back(Output::MakeSure(at));
        }
    }

    /// It has been found out whether another process has this host's key. If so, this one takes part in nothing
    /// more, and says nothing.
    pub(crate) fn is_sure(&mut self, now: Now, twin: bool) {
        let Doubt { claim, .. } = std::mem::take(&mut self.doubt);
        if twin {
            self.left = true;
        }
        if self.left {
            return;
        }
        self.enter(now);
        self.outbid(claim);
        self.settle(now, None);
    }
}
