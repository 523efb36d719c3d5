//! What the client of a session may have, and the errors that say what it may not.

use capnp::Error;
use killick::ChildrenChange;

use super::Session;
use crate::cap::Origin;
use crate::channels;
use crate::end::End;
use crate::place::Place;
use crate::stats::{Limit, connections, counted};
use crate::watching::Seat;
use crate::wire;

/// What a name takes in an answer besides its bytes, at most.
const ENTRY_BYTES: usize = 32;

impl Session {
    /// Counts that the client has met `limit`, which is its own: the error that says so in these words.
    pub(super) fn over_own(&self, limit: Limit, words: String) -> Error {
        self.over(limit, words + self.whose_limit())
    }

    /// Counts that the client has met `limit`: the error that says so in these words.
    pub(super) fn over(&self, limit: Limit, words: String) -> Error {
        self.hit(limit);
        Error::overloaded(format!("{words}{limit}"))
    }

    /// Counts that the client has met a limit.
    pub(crate) fn hit(&self, limit: Limit) {
        self.shared().hits.count(limit);
    }

    /// Whether one capability more may be held, which keeps as many `nodes`.
    ///
    /// # Errors
    /// Those would be more than the limit.
    pub(super) fn has_room_for(&self, nodes: usize) -> Result<(), Error> {
        let limit = self.share(self.config().max_capabilities);
        if self.handles() >= limit {
            let limit = counted(limit, "capability", "capabilities");
            let words = format!("this connection already holds its limit of {limit}");
            return Err(self.over_own(Limit::Capabilities, words));
        }
        let limit = self.share(self.config().max_connection_nodes);
        if self.nodes.get() + nodes > limit {
            let limit = counted(limit, "node", "nodes");
            let words = format!("this connection would hold more than its limit of {limit}");
            return Err(self.over_own(Limit::ConnectionNodes, words));
        }
        Ok(())
    }

    /// Whether this connection may store a value of `owners`, for all of its that die with it.
    ///
    /// # Errors
    /// It would be one of them, and the connection has its limit of those.
    pub(crate) fn may_own(&self, owners: &[Origin]) -> Result<(), Error> {
        if owners.iter().all(|owner| owner.id() != self.id()) {
            return Ok(());
        }
        let limit = self.share(self.config().max_connection_values);
        if self.values() >= limit {
            let words = "this connection already has its limit of";
            let limit = counted(limit, "value that dies", "values that die");
            let words = format!("{words} {limit} with it");
            return Err(self.over_own(Limit::ConnectionValues, words));
        }
        self.host().map_or(Ok(()), |host| host.may_own(owners))
    }

    /// A place for one watch, or for a call that waits for a value.
    ///
    /// # Errors
    /// The connection has its limit of those.
    pub(crate) fn seat(&self) -> Result<Seat, Error> {
        let limit = self.share(self.config().max_watches);
        let seat = Seat::take(&self.stats, limit).ok_or_else(|| {
            let limit = counted(limit, "watch", "watches");
            let words = format!("this connection already has its limit of {limit}");
            self.over_own(Limit::Watches, words)
        })?;
        match self.host() {
            Some(host) => Ok(seat.among(host.seat()?)),
            None => Ok(seat),
        }
    }

    /// The error of a watch that knows of so many names that it counts as `count` of `limit`.
    pub(crate) fn too_many_names(&self, count: usize, limit: usize) -> Error {
        let words = "this connection would have more than its limit of";
        let why = format!("with that many children this one counts as {count}");
        let limit = counted(limit, "watch", "watches");
        self.over(Limit::Watches, format!("{words} {limit}: {why}"))
    }

    /// Whether `change` goes into one answer.
    ///
    /// # Errors
    /// Its names take more than the calls of one connection may.
    pub(crate) fn may_tell(&self, change: &ChildrenChange) -> Result<(), Error> {
        let ChildrenChange { added, removed, filled, emptied, .. } = change;
        let others = [removed, filled, emptied].into_iter().flatten();
        let names = added.iter().map(|(name, _)| name).chain(others);
        let bytes: usize = names.map(|name| name.len() + ENTRY_BYTES).sum();
        let limit = self.config().max_call_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let words = format!("a list of children of {bytes} bytes exceeds the limit of {limit}");
        Err(self.over(Limit::CallBytes, words))
    }

    /// Both ends of a new channel, which the client makes at `place`.
    ///
    /// # Errors
    /// The buffer would be larger than it may, the server or the connection has its limit of channels, or
    /// it is not granted.
    pub(crate) fn new_channel(&self, place: &Place, capacity: usize) -> Result<End, Error> {
        let limit = self.config().max_channel_capacity;
        if capacity > limit {
            self.hit(Limit::ChannelCapacity);
            let name = Limit::ChannelCapacity;
            let words =
                format!("channel of capacity {capacity} exceeds the limit of {limit}{name}");
            return Err(Error::failed(words));
        }
        let (own, host) = (self.channels(), self.host().map(|host| host.channels()));
        let room = self.shared().channel_room(own, host).ok_or_else(|| {
            let mut sessions = [self, self.connection()].into_iter();
            if let Some(full) = sessions.find(|session| session.channels().is_full()) {
                let limit = counted(full.channels().limit, "channel", "channels");
                let words = format!("this connection already has its limit of {limit}");
                return full.over_own(Limit::ConnectionChannels, words);
            }
            let limit = counted(self.shared().config().max_channels, "channel", "channels");
            let words = format!("the server already has its limit of {limit}");
            self.over(Limit::Channels, words)
        })?;
        let end = End::at(place, capacity, room).map_err(|why| {
            // Perhaps channels that are out of reach take what was granted.
            self.shared().channels.collect_soon();
            wire::denied(why)
        })?;
        if let Ok(Some(side)) = end.receives() {
            self.shared().channels.add(&side);
        }
        Ok(end)
    }

    /// The channels that the client has made, and how many those may be.
    fn channels(&self) -> channels::Own<'_> {
        let limit = self.share(self.config().max_connection_channels);
        channels::Own { count: &self.stats.channels, limit }
    }

    /// A place for one process more.
    ///
    /// # Errors
    /// The server has its limit of those.
    pub(crate) fn process_room(&self) -> Result<channels::Place, Error> {
        let limit = self.config().max_processes;
        channels::Place::take(&self.shared().processes, limit).ok_or_else(|| {
            let limit = counted(limit, "process", "processes");
            let words = format!("the server already has its limit of {limit}");
            self.over(Limit::Processes, words)
        })
    }

    /// The error of a process for which there is no connection: the server has its limit of those.
    pub(crate) fn no_connections(&self) -> Error {
        let limit = connections(self.shared().config().max_connections);
        let words = format!("the server already has its limit of {limit}");
        self.over(Limit::Connections, words)
    }
}
