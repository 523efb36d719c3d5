//! `Watch`: the right to be told of changes.

use std::rc::Rc;
use std::sync::Arc;

use capnp::{Error, text_list};
use killick::ChildrenChange;
use killick_schema::api::anchor_capnp::anchor::change;
use killick_schema::api::anchor_capnp::anchor::watch::{NextParams, NextResults, Server};

use crate::session::Session;
use crate::watching::Watching;
use crate::wire;

pub(crate) struct WatchService {
    pub(crate) session: Rc<Session>,
    pub(crate) watching: Arc<Watching>,
}

impl Server for WatchService {
    async fn next(
        self: Rc<Self>,
        params: NextParams,
        mut results: NextResults,
    ) -> Result<(), Error> {
        let after = params.get()?.get_after();
        // The question takes no room while it waits.
        drop(params);
        let told = self.watching.next(&self.session, after).await?;
        let children = told.children.unwrap_or_default();
        self.session.may_tell(&children.change)?;
        let mut change = results.get().init_change();
        change.set_sequence(told.sequence);
        change.set_whole(told.whole);
        put_children(&children.change, change.reborrow());
        if !children.departures.is_empty() {
            let mut list = change.reborrow().init_departures(count(&children.departures));
            (0..).zip(&children.departures).for_each(|(index, how)| list.set(index, *how));
        }
        let Some(loaded) = told.value else { return Ok(()) };
        change.set_value_changed(true);
        change.set_revision(loaded.revision);
        let place = self.watching.place();
        match &loaded.value {
            Some(value) => wire::put_value(&self.session, place, value, change.init_value()),
            None => Ok(()),
        }
    }
}

/// Fills in how the children differ. What is empty stays null.
fn put_children(children: &ChildrenChange, mut change: change::Builder<'_>) {
    let added = &children.added;
    if !added.is_empty() {
        let mut list = change.reborrow().init_added(count(added));
        for (index, (name, filled)) in (0..).zip(added) {
            let mut entry = list.reborrow().get(index);
            entry.set_name(name);
            entry.set_filled(*filled);
        }
    }
    let put = |names: &Vec<String>, mut list: text_list::Builder<'_>| {
        (0..).zip(names).for_each(|(index, name)| list.set(index, name));
    };
    let ChildrenChange { removed, filled, emptied, .. } = children;
    if !removed.is_empty() {
        put(removed, change.reborrow().init_removed(count(removed)));
    }
    if !filled.is_empty() {
        put(filled, change.reborrow().init_filled(count(filled)));
    }
    if !emptied.is_empty() {
        put(emptied, change.reborrow().init_emptied(count(emptied)));
    }
}

/// How many there are: fewer than bytes in the largest answer.
fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
