//! Both hostile clients with a part of the tree, narrowed by a grant each: whatever they do together, no more
//! comes of it than was granted to either of them, and nothing after it was taken back.

use std::collections::BTreeMap;

use killick::{Allowance, Grant, Resource, Right, Rights, Tree};
use killick_client::Fingerprint;

use super::script::Bytes;
use crate::access::{Authorized, Granted};
use crate::config::Config;
use crate::wire::Stored;

/// Below it is what they are granted.
pub(super) const ROOT: &str = "guests";
/// Where there is something beside it, with this in it, at a path that they know.
pub(super) const OUTSIDE: (&str, &str) = ("a", "what lies outside");
/// What there is below it: at a path that they know, and at one that only a list of the children has.
pub(super) const INSIDE: (&str, &str) = ("guests/a", "what lies inside");
pub(super) const HIDDEN: (&str, &str) = ("guests/a-hidden-name", "");
/// Where there is the anchor of all of it, with all rights: who loads that has no more than before.
pub(super) const WHOLE: &str = "guests/b";

/// Two clients, each with a key of its own.
pub(super) struct Guests {
    all: [Guest; 2],
    before: Picture,
    channels: usize,
}

struct Guest {
    key: Fingerprint,
    rights: Rights,
    allowance: Allowance,
    /// Once it has connected.
    grant: Option<Grant>,
    /// Whether that was revoked.
    is_revoked: bool,
    /// Whether the server was told that the key gets nothing any more.
    is_removed: bool,
}

impl Guest {
    fn read(digit: char, bytes: &mut Bytes<'_>) -> Self {
        let key = digit.to_string().repeat(64).parse().expect("a fingerprint");
        let (rights, limit) = (bytes.next(), usize::from(bytes.next()));
        let is_granted = |right: &Right| rights & (1 << *right as u8) != 0;
        let bounded = |all: Allowance, resource| match resource {
            Resource::ValueBytes => all.with(resource, (limit & 7) << 6),
            // Others than that of the nodes are to be met as well.
            Resource::Depth => all.with(resource, (limit & 7) >> 1),
            _ => all.with(resource, limit & 7),
        };
        let allowance = match limit & 0x80 {
            0 => Allowance::default(),
            _ => Resource::ALL.into_iter().fold(Allowance::default(), bounded),
        };
        let rights = Right::ALL.into_iter().filter(is_granted).collect();
        Guest { key, rights, allowance, grant: None, is_revoked: false, is_removed: false }
    }

    /// What the file says of its key.
    fn line(&self) -> String {
        let Guest { key, rights, allowance, .. } = self;
        let limit = |resource: Resource| format!(" {}={}", resource.name(), allowance.of(resource));
        let limits: String = Resource::ALL.into_iter().map(limit).collect();
        format!("{key} /{ROOT} rights={rights}{limits}\n")
    }

    fn has_nothing(&self) -> bool {
        self.is_removed || self.is_revoked
    }

    fn used(&self, resource: Resource) -> usize {
        self.grant.as_ref().map_or(0, |grant| grant.used(resource))
    }
}

/// A node: whether it has a value, at which revision, and whether that may die of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    revision: u64,
    is_filled: bool,
    is_mortal: bool,
}

/// Every node but the honest client's, by its path.
type Picture = BTreeMap<String, Seen>;

fn picture(tree: &Tree<Stored>) -> Picture {
    let mut seen = Picture::new();
    let mut nodes = vec![(String::new(), tree.root())];
    while let Some((path, node)) = nodes.pop() {
        for child in node.ls().into_iter().filter(|child| child.name() != super::honest::ROOT) {
            let path = if path.is_empty() { String::new() } else { format!("{path}/") };
            nodes.push((path + child.name(), child));
        }
        let found = node.load();
        let is_mortal = found.value.as_ref().is_some_and(|value| !value.owners().is_empty());
        let is_filled = found.value.is_some();
        seen.insert(path, Seen { revision: found.revision, is_filled, is_mortal });
    }
    seen
}

impl Guests {
    /// What `bytes` say that they are granted of `tree`, in which there is all that they are given.
    pub(super) fn read(bytes: &mut Bytes<'_>, tree: &Tree<Stored>, channels: usize) -> Self {
        let all = ['a', 'b'].map(|digit| Guest::read(digit, bytes));
        Guests { all, before: picture(tree), channels }
    }

    pub(super) fn key(&self, which: usize) -> Fingerprint {
        self.all[which].key
    }

    /// What the server is told of all keys.
    pub(super) fn authorized(&self, config: &Config) -> Authorized {
        let lines = self.all.iter().filter(|guest| !guest.is_removed).map(Guest::line);
        Authorized::parse(&lines.collect::<String>(), &config.limits).expect("lines")
    }

    /// Learns of the grants of those that have connected.
    pub(super) fn meet(&mut self, granted: &Granted) {
        for guest in &mut self.all {
            guest.grant = granted.grant(&guest.key).or(guest.grant.take());
        }
    }

    /// Takes back what one of them has, which stays connected.
    pub(super) fn revoke(&mut self, which: usize) {
        let guest = &mut self.all[which];
        if let Some(grant) = &guest.grant {
            grant.revoke();
            guest.is_revoked = true;
        }
    }

    /// One of them is to be no more in what the server is [told](Self::authorized).
    pub(super) fn remove(&mut self, which: usize) {
        self.all[which].is_removed = true;
    }

    /// What neither of them may ever read.
    pub(super) fn secrets(&self) -> Vec<&'static str> {
        let any = |right| self.all.iter().any(|guest| guest.rights.contains(right));
        let inside = (!any(Right::Load)).then_some(INSIDE.1);
        let hidden = (!any(Right::Ls)).then_some(&HIDDEN.0[ROOT.len() + 1..]);
        [Some(OUTSIDE.1), inside, hidden].into_iter().flatten().collect()
    }

    /// Whether one of them still has `right`.
    fn may(&self, right: Right) -> bool {
        self.all.iter().any(|guest| !guest.has_nothing() && guest.rights.contains(right))
    }

    /// Looks at what they have done since this was asked last.
    ///
    /// # Panics
    /// It is more than they may.
    pub(super) fn check(&mut self, tree: &Tree<Stored>, channels: usize) {
        let (before, now) = (std::mem::take(&mut self.before), picture(tree));
        for path in before.keys().chain(now.keys()) {
            let (before, now) = (before.get(path), now.get(path));
            if before != now {
                let is_theirs = path == ROOT || path.starts_with(&format!("{ROOT}/"));
                assert!(is_theirs, "{path:?} is outside: {now:?}");
                self.check_change(path, before, now);
            }
        }
        assert!(channels <= self.channels || self.may(Right::Store), "a channel is made");
        let is_made = |path: &&String| {
            path.starts_with(&format!("{ROOT}/"))
                && ![INSIDE.0, HIDDEN.0, WHOLE].contains(&path.as_str())
        };
        let made = now.keys().filter(is_made).count();
        // Without a limit they are not counted.
        let is_counted = |guest: &Guest| guest.allowance.nodes < usize::MAX;
        let counted: usize = self.all.iter().map(|guest| guest.used(Resource::Nodes)).sum();
        let counted = if self.all.iter().all(is_counted) { counted } else { usize::MAX };
        assert!(made <= counted, "{made} nodes, of which {counted} are counted: {now:?}");
        for Guest { allowance, grant, .. } in &self.all {
            for resource in Resource::ALL {
                let used = grant.as_ref().map_or(0, |grant| grant.used(resource));
                assert!(used <= allowance.of(resource), "{used} {resource} are used");
            }
        }
        (self.before, self.channels) = (now, channels);
    }

    fn check_change(&self, path: &str, before: Option<&Seen>, now: Option<&Seen>) {
        let filled = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.is_filled);
        if before.is_none() {
            let depth = path.split('/').count() - 1;
            let reaches = |guest: &Guest| guest.allowance.depth >= depth && !guest.has_nothing();
            assert!(self.may(Right::Walk), "{path:?} is created");
            assert!(self.all.iter().any(reaches), "{path:?} is too deep");
        }
        let dies = !filled(now) && before.is_some_and(|seen| seen.is_mortal);
        if (filled(before) || filled(now)) && !dies {
            assert!(self.may(Right::Store), "{path:?} changes: {before:?}, {now:?}");
        }
    }

    /// What is counted of what they have, when everything has gone.
    pub(super) fn counted(&self) -> usize {
        let used =
            |guest: &Guest| Resource::ALL.into_iter().map(|one| guest.used(one)).sum::<usize>();
        self.all.iter().map(used).sum()
    }
}
