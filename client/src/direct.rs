//! Connections of a client's own to other hosts than the one it contacts.
//!
//! Which hosts there are, and where, the contacted one says. A host that is not reached is left alone for a
//! while, and what is asked of it goes by the contacted one, as it would without any of this. A connection
//! closes when nobody has used it for a while and nothing was changed over it, for what was may be bound to it;
//! or when its host was restarted, and what it leads to is gone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::connection::{Connection, Effect, Patience};
use crate::host::{self, Member};
use crate::options::{Options, Retry};

/// How long the list of the hosts is taken for true.
const FRESH: Duration = Duration::from_secs(5);
/// The longest that a connection to a host, or the list of them, is waited for: there is another way.
const DIAL: Duration = Duration::from_secs(1);
/// How many of a host's addresses are tried.
const MOST_ADDRESSES: usize = 3;
/// How long a host may take to say that it is there when others say that it has gone.
const PROBE: Duration = Duration::from_secs(3);
/// How long a host is left alone to which there was no connection, or one that ended or did not answer.
const PAUSES: Retry = Retry {
    attempts: u32::MAX,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(60),
};
/// How long nobody has used a connection that closes.
const IDLE: Duration = Duration::from_secs(60);

/// The connections to other hosts.
pub(crate) struct Direct {
    options: Options,
    list: Mutex<List>,
    /// By the hosts' full ids.
    ways: RefCell<HashMap<String, Rc<Mutex<Way>>>>,
}

/// The hosts, and when they were asked for.
#[derive(Default)]
struct List {
    hosts: Vec<Member>,
    asked: Option<Instant>,
}

/// The way to one host.
#[derive(Default)]
struct Way {
    open: Option<Open>,
    /// When the host was started that all this is about, as far as is known.
    generation: u64,
    /// How often in a row there was no connection, or one that did not last.
    failures: u32,
    /// Until when the host is left alone.
    alone: Option<Instant>,
    /// Whether the host has not answered over the connection that there is.
    is_doubted: bool,
}

struct Open {
    connection: Connection,
    since: Instant,
    used: Instant,
}

impl Direct {
    /// That of a client with `options`, if they ask for it and there is an identity to show.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        (options.direct && options.identity.is_some()).then(|| Direct {
            options: Options {
                connect_timeout: options.connect_timeout.min(DIAL),
                ..options.clone()
            },
            list: Mutex::default(),
            ways: RefCell::default(),
        })
    }

    /// A connection to the host that paths call `name`; none if the way to it is by the contacted host.
    pub(crate) async fn reach(&self, contacted: &Connection, name: &[u8]) -> Option<Connection> {
        let member = self.member(contacted, name).await?;
        let addresses = addresses(&member);
        if member.is_self || !member.state.is_there() || addresses.is_empty() {
            return None;
        }
        let way = self.ways.borrow_mut().entry(member.full_id.clone()).or_default().clone();
        let mut way = way.lock().await;
        way.look(&member);
        if way.alone.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if way.is_doubted {
            way.check().await;
        }
        if way.open.is_none() {
            // If this is dropped before there is an answer, there was none in time.
            way.failed();
            way.opened(self.dial(&member, addresses).await?);
        }
        let open = way.open.as_mut()?;
        open.used = Instant::now();
        Some(open.connection.clone())
    }

    /// What was asked over `connection` was not answered in time: for a while its host is asked another way.
    pub(crate) fn doubt(&self, connection: &Connection) {
        for way in self.ways.borrow().values() {
            // One that is being looked at by somebody else has its turn with the next that is not answered.
            let Ok(mut way) = way.try_lock() else { continue };
            if way.open.as_ref().is_some_and(|open| open.connection.is(connection)) {
                way.is_doubted = true;
                way.failed();
            }
        }
    }

    /// The host that paths call `name`, as the contacted one knows it.
    async fn member(&self, contacted: &Connection, name: &[u8]) -> Option<Member> {
        let mut list = self.list.lock().await;
        if list.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            list.ask(contacted).await;
        }
        let long_enough = name.len() >= 16;
        let named = |host: &&Member| host.full_id.as_bytes().starts_with(name);
        list.hosts.iter().find(|host| long_enough && named(host)).cloned()
    }

    /// A connection to `member`, if that is who answers.
    async fn dial(&self, member: &Member, addresses: Vec<Address>) -> Option<Connection> {
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            let Ok(connection) = Connection::open(&address, &self.options, None).await else {
                continue;
            };
            // One that gives this client less than the host tells nothing, and gives less than is asked for.
            if connection.info().is_some_and(|info| info.full_id == member.full_id) {
                return Some(connection);
            }
        }
        None
    }

    /// Closes the connections that are to be closed. Of the hosts it asks `contacted`, if that is there.
    pub(crate) async fn look_after(&self, contacted: Option<Connection>) {
        let hosts = {
            let mut list = self.list.lock().await;
            if let Some(contacted) = &contacted {
                list.ask(contacted).await;
            }
            list.hosts.clone()
        };
        let ways: Vec<_> =
            self.ways.borrow().iter().map(|(id, way)| (id.clone(), way.clone())).collect();
        let mut in_question = Vec::new();
        for (id, way) in ways {
            let mut way = way.lock().await;
            let member = hosts.iter().find(|member| member.full_id == id);
            member.into_iter().for_each(|member| way.look(member));
            way.close_if_idle();
            if member.is_none_or(|member| !member.state.is_there()) {
                in_question.extend(way.open.as_ref().map(|open| open.connection.clone()));
            }
        }
        let probes = in_question.iter().map(|connection| async {
            if !answers(connection, PROBE).await {
                connection.close("the host is said to have gone, and does not answer");
            }
        });
        futures::future::join_all(probes).await;
        let forgotten = |way: &Mutex<Way>| way.try_lock().is_ok_and(|way| way.is_forgotten());
        self.ways.borrow_mut().retain(|_, way| !forgotten(way));
    }

    /// Whether there is anything to look after.
    pub(crate) fn is_unused(&self) -> bool {
        self.ways.borrow().is_empty()
    }
}

impl List {
    /// Asks for the hosts. If there is no answer, those that are known are taken for true for some more time.
    async fn ask(&mut self, contacted: &Connection) {
        // If this is dropped before there is an answer, it is not asked again at once.
        self.asked = Some(Instant::now());
        let hosts = host::hosts(contacted.host());
        let patience = Patience::Each(Some(DIAL));
        if let Ok(hosts) = contacted.call(Effect::Read, patience, false, hosts).await {
            self.hosts = hosts;
        }
    }
}

impl Way {
    /// Compares what there is with what is known of the host.
    fn look(&mut self, member: &Member) {
        if member.generation > self.generation {
            if let Some(open) = self.open.take() {
                open.connection.close("the host was restarted");
            }
            *self = Way { generation: member.generation, ..Way::default() };
        }
        if let Some(open) = self.open.take_if(|open| !open.connection.is_open()) {
            // One that lasted was no failure of the one before it.
            if open.since.elapsed() > PAUSES.longest_pause {
                self.failures = 0;
            }
            self.failed();
        }
    }

    fn opened(&mut self, connection: Connection) {
        // The list may be behind, but who was restarted since is the one that it is to be.
        let generation = connection.info().map_or(0, |info| info.generation);
        self.generation = self.generation.max(generation);
        self.alone = None;
        let now = Instant::now();
        self.open = Some(Open { connection, since: now, used: now });
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.alone = Some(Instant::now() + PAUSES.pause(self.failures));
    }

    fn close_if_idle(&mut self) {
        self.open.take_if(|open| {
            if open.connection.is_held() || open.connection.has_written() {
                open.used = Instant::now();
            }
            open.used.elapsed() >= IDLE
        });
    }

    /// Has the connection closed if its host does not answer.
    async fn check(&mut self) {
        self.is_doubted = false;
        let Some(open) = &self.open else { return };
        if !answers(&open.connection, DIAL).await {
            open.connection.close("the host does not answer");
            self.open = None;
        }
    }

    /// Whether there is nothing to keep in mind.
    fn is_forgotten(&self) -> bool {
        let is_alone =
            self.alone.is_some_and(|until| Instant::now() < until + PAUSES.longest_pause);
        self.open.is_none() && !is_alone
    }
}

/// Whether the other side answers within `limit`, whatever it says.
async fn answers(connection: &Connection, limit: Duration) -> bool {
    timeout(limit, host::info(connection.host())).await.is_ok()
}

/// Where clients reach a host over TLS: who answers elsewhere is not known to be it.
fn addresses(member: &Member) -> Vec<Address> {
    let parsed = member.addresses.iter().filter_map(|address| address.parse().ok());
    parsed.filter(|address| matches!(address, Address::Tls(_))).collect()
}

/// How often the connections are looked after.
pub(crate) const LOOK_AFTER: Duration = FRESH;

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    /// A connection that nobody is at the other end of, and what keeps it open.
    fn connection() -> (Connection, tokio::io::DuplexStream) {
        let (stream, other) = tokio::io::duplex(1024);
        (Connection::for_test(stream), other)
    }

    fn in_virtual_time(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build_local(Default::default());
        runtime.expect("a runtime").block_on(test);
    }

    fn way(connection: Connection) -> Way {
        let mut way = Way::default();
        way.opened(connection);
        way
    }

    #[test]
    fn a_connection_that_nobody_uses_closes_unless_it_is_held_or_something_was_changed_over_it() {
        in_virtual_time(async {
            let (unused, _other) = connection();
            let (held, _other) = connection();
            let (written, _other) = connection();
            let write = written.call(Effect::Write, Patience::Each(None), false, async { Ok(()) });
            write.await.expect("done");
            let handle = held.clone();
            let mut ways = [way(unused), way(held), way(written)];
            for _ in 0..2 {
                tokio::time::advance(IDLE / 2).await;
                assert!(ways.iter().all(|way| way.open.is_some()));
                ways.iter_mut().for_each(Way::close_if_idle);
            }
            assert_eq!(ways.each_ref().map(|way| way.open.is_some()), [false, true, true]);
            drop(handle);
            tokio::time::advance(IDLE).await;
            ways.iter_mut().for_each(Way::close_if_idle);
            assert_eq!(ways.each_ref().map(|way| way.open.is_some()), [false, false, true]);
        });
    }

    #[test]
    fn a_host_is_left_alone_for_longer_each_time_and_no_longer_when_it_was_restarted() {
        in_virtual_time(async {
            let mut way = Way::default();
            let mut before = Duration::ZERO;
            for _ in 0..10 {
                way.failed();
                let pause = way.alone.expect("it is left alone") - Instant::now();
                assert!(pause >= before, "{pause:?} after {before:?}");
                before = pause.min(PAUSES.longest_pause / 2);
            }
            assert!(before >= PAUSES.longest_pause / 2);
            let (connection, _other) = connection();
            way.open = Some(Open { connection, since: Instant::now(), used: Instant::now() });
            let connection = way.open.as_ref().expect("open").connection.clone();
            way.look(&Member::for_test(1));
            assert!(way.open.is_none() && way.alone.is_none() && !connection.is_open());
        });
    }

    #[test]
    fn a_connection_that_has_ended_is_a_failure_and_one_that_lasted_the_first() {
        in_virtual_time(async {
            for (lasted, failures) in [(Duration::from_secs(1), 4), (Duration::from_secs(90), 1)] {
                let (connection, other) = connection();
                let mut way = Way { failures: 3, ..way(connection) };
                tokio::time::advance(lasted).await;
                drop(other);
                while way.open.as_ref().is_some_and(|open| open.connection.is_open()) {
                    tokio::task::yield_now().await;
                }
                way.look(&Member::for_test(0));
                assert_eq!((way.open.is_none(), way.failures), (true, failures));
                assert!(way.alone.is_some());
            }
        });
    }
}
