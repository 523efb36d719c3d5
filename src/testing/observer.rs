//! A watcher that keeps what it was shown, and what it may expect.
//!
//! - The revision of a cell only rises, and no state is shown twice.
//! - A change of children leads from what was known to something else: what came was not known, what
//!   went was, and what was filled or emptied was not so before.
//! - When nobody changes anything any more, the last that is shown is what is there.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use crate::{Anchor, Loaded, Watch, WatchChildren};

/// What a watcher was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Whether the cell was full, and its revision.
    Cell(bool, u64),
    /// The children, each with whether it was full.
    Children(BTreeMap<String, bool>),
}

impl<V> From<Loaded<V>> for Seen {
    fn from(loaded: Loaded<V>) -> Self {
        Seen::Cell(loaded.value.is_some(), loaded.revision)
    }
}

enum Kind<V: Send + Sync + 'static> {
    Cell(Watch<V>),
    Children(WatchChildren<V>),
}

/// A watcher of a node's cell or of its children.
pub struct Observer<V: Send + Sync + 'static> {
    anchor: Anchor<V>,
    kind: Kind<V>,
    seen: Option<Seen>,
}

impl<V: Send + Sync + 'static> Observer<V> {
    /// A watcher that has not looked yet.
    pub fn new(anchor: Anchor<V>, children: bool) -> Self {
        let kind = match children {
            false => Kind::Cell(anchor.watch()),
            true => Kind::Children(anchor.watch_children()),
        };
        Observer { anchor, kind, seen: None }
    }

    /// What there is to see now.
    pub fn present(&self) -> Seen {
        match self.kind {
            Kind::Cell(_) => self.anchor.load().into(),
            Kind::Children(_) => {
                let children = self.anchor.ls().into_iter();
                let children = children.map(|child| (child.name().to_string(), child.is_filled()));
                Seen::Children(children.collect())
            }
        }
    }

    /// Looks once. Whether there was anything new; nothing at the end.
    ///
    /// # Panics
    /// When what it is shown does not follow from what it was shown before.
    pub fn look(&mut self) -> Poll<Option<()>> {
        let mut context = Context::from_waker(Waker::noop());
        let seen = match &mut self.kind {
            Kind::Cell(watch) => watch.poll(&mut context).map(|next| {
                let (now, before) = (Seen::from(next?), &self.seen);
                if let (Seen::Cell(_, now), Some(Seen::Cell(_, before))) = (&now, before) {
                    assert!(now > before, "revision {now} is shown after {before}");
                }
                Some(now)
            }),
            Kind::Children(watch) => watch.poll(&mut context).map(|next| {
                let (change, first) = (next?, self.seen.is_none());
                assert!(first || !change.is_empty(), "a change of nothing");
                let mut known = match self.seen.take() {
                    Some(Seen::Children(known)) => known,
                    _ => BTreeMap::new(),
                };
                for (name, filled) in change.added {
                    assert_eq!(known.insert(name, filled), None, "came twice");
                }
                for name in change.removed {
                    assert!(known.remove(&name).is_some(), "{name} went, and was not there");
                }
                for (names, filled) in [(change.filled, true), (change.emptied, false)] {
                    for name in names {
                        let before = known.insert(name, filled);
                        assert_eq!(before, Some(!filled), "filled or emptied, and was before");
                    }
                }
                Some(Seen::Children(known))
            }),
        };
        seen.map(|seen| {
            self.seen = Some(seen?);
            Some(())
        })
    }

    /// Looks until there is nothing new, and gives what it was shown last.
    ///
    /// # Panics
    /// As [`look`](Self::look), and if it was never shown anything.
    pub fn settle(&mut self) -> &Seen {
        while let Poll::Ready(Some(())) = self.look() {}
        self.seen.as_ref().expect("the present state comes first")
    }

    /// Looks until the end, which the tree's has brought about.
    ///
    /// # Panics
    /// As [`look`](Self::look), and if the end does not come or leaves something full.
    pub fn end(mut self) {
        self.settle();
        assert!(self.look() == Poll::Ready(None), "the watcher of a closed tree waits");
        match self.seen {
            Some(Seen::Cell(false, _)) => {}
            Some(Seen::Children(known)) if known.values().all(|filled| !filled) => {}
            seen => panic!("the end came after {seen:?}"),
        }
    }
}
