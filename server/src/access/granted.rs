//! What keys were granted that may not do everything: one grant for all connections of a key, so that its
//! limits are those of the key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use killick::{Tree, WalkError};
use killick_client::Fingerprint;

use super::Grant;
use crate::place::Place;
use crate::wire::Stored;

/// What the keys have whose holders are connected.
#[derive(Default)]
pub(crate) struct Granted(Mutex<HashMap<Fingerprint, Weak<Given>>>);

/// What one key has, for as long as a connection of its is open.
pub(crate) struct Given {
    what: Grant,
    pub(crate) place: Place,
    grant: killick::Grant,
}

impl Granted {
    /// What the holder of `key` gets, if it may not do everything.
    pub(crate) fn give(
        &self,
        tree: &Tree<Stored>,
        key: Fingerprint,
        what: &Grant,
    ) -> Result<Option<Arc<Given>>, WalkError> {
        let Some((rights, allowance)) = what.narrowed() else { return Ok(None) };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = all.get(&key).and_then(Weak::upgrade)
            && given.what == *what
        {
            return Ok(Some(given));
        }
        all.retain(|_, given| given.strong_count() > 0);
        let anchor = tree.root().walk(what.anchor().unwrap_or_default())?;
        let (narrow, grant) = anchor.attenuate(rights, allowance);
        let given = Arc::new(Given { what: what.clone(), place: Place::Narrow(narrow), grant });
        all.insert(key, Arc::downgrade(&given));
        Ok(Some(given))
    }
}

impl Given {
    /// The key may not have it any more: whatever its holder reached by it, and gave to others, is dead.
    pub(crate) fn revoke(&self) {
        self.grant.revoke();
    }
}
