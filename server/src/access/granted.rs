//! What keys were granted that may not do everything, or that come by way of another host, whose connection does not
//! end with what one key has: one grant for each key, so that its limits are those
//! of the key, over all of its connections, at a time and one after the other. It lasts for as long as its line
//! stands in the file, from the first connection on, and is revoked when that goes or changes, also if
//! nobody is connected by it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use killick::{Allowance, Rights, Tree, WalkError};
use killick_client::Fingerprint;

use super::{Authorized, Grant};
use crate::place::Place;
use crate::wire::Stored;

/// What the keys have that were connected since their lines are what they are.
#[derive(Default)]
pub(crate) struct Granted(Mutex<HashMap<Fingerprint, Given>>);

/// What one key has.
struct Given {
    what: Grant,
    place: Place,
    grant: killick::Grant,
}

impl Granted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the holder of `key` gets, if it may not do everything or that `is_far`, by way of another host.
    pub(crate) fn give(
        &self,
        tree: &Tree<Stored>,
        key: Fingerprint,
        what: &Grant,
        is_far: bool,
    ) -> Result<Option<Place>, WalkError> {
        let everything = is_far.then(|| (Rights::ALL, Allowance::default()));
        let Some((rights, allowance)) = what.narrowed().or(everything) else { return Ok(None) };
        let mut all = self.lock();
        if let Some(given) = all.get(&key).filter(|given| given.what == *what) {
            return Ok(Some(given.place.clone()));
        }
        let anchor = tree.root().walk(what.anchor().unwrap_or_default())?;
        let (narrow, grant) = anchor.attenuate(rights, allowance);
        let place = Place::Narrow(narrow);
        let given = Given { what: what.clone(), place: place.clone(), grant };
        let before = all.insert(key, given);
        drop(all);
        before.into_iter().for_each(|given| given.grant.revoke());
        Ok(Some(place))
    }

    /// The grant of what the holder of `key` has, once it was given.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn grant(&self, key: &Fingerprint) -> Option<killick::Grant> {
        self.lock().get(key).map(|given| given.grant.clone())
    }

    /// Takes back what is not in `lines` any more: whatever was reached by it, and given to others, is dead
    /// when this returns.
    pub(crate) fn keep(&self, lines: &Authorized) {
        let mut all = self.lock();
        let gone =
            |key: &Fingerprint, given: &mut Given| lines.grant(key).as_ref() != Some(&given.what);
        let gone: Vec<_> = all.extract_if(gone).collect();
        drop(all);
        gone.iter().for_each(|(_, given)| given.grant.revoke());
    }
}
