//! A host that says of others what it is told to, for what clients make of that. What is asked of another goes
//! to a server of which it was given the cluster's anchor, if it was.

#![allow(dead_code, unreachable_pub, reason = "each test target uses some of it")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use capnp::Error;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client, twoparty};
use futures::AsyncReadExt;
use killick_schema::api::anchor_capnp::anchor::{self, change, watch};
use killick_schema::api::host_capnp::{host, member};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::compat::TokioAsyncReadCompatExt;

pub use change::Departure;
pub use member::State;

/// What is said of one host.
#[derive(Clone)]
pub struct Told {
    pub full_id: String,
    pub generation: u64,
    pub state: State,
    pub hostname: String,
    pub addresses: Vec<String>,
}

impl Told {
    /// A host that is up, of which not more is known.
    pub fn up(full_id: &str) -> Self {
        let (hostname, addresses) = (String::new(), Vec::new());
        Told { full_id: full_id.into(), generation: 1, state: State::Up, hostname, addresses }
    }

    pub fn name(&self) -> String {
        self.full_id[..16].into()
    }
}

/// What has changed among the hosts: who came, and who went and how.
pub type News = (Vec<String>, Vec<(String, Departure)>);

/// The host; it is the first that it tells of.
#[derive(Default)]
pub struct Contact {
    pub hosts: RefCell<Vec<Told>>,
    /// The cluster's anchors of servers, by what those are called in paths.
    pub behind: RefCell<HashMap<String, anchor::Client>>,
    /// How many calls went to them.
    pub passed: Cell<usize>,
    /// Whether the connections to them end before there is an answer.
    pub is_cut: Cell<bool>,
    /// What watches of the hosts tell, one after the other.
    pub news: RefCell<Vec<News>>,
    more: Notify,
}

impl Contact {
    /// Tells of a change.
    pub fn tell(&self, news: News) {
        self.news.borrow_mut().push(news);
        self.more.notify_waiters();
    }

    /// Serves whoever connects at `path`, until the task is aborted.
    pub fn listen(self: &Rc<Self>, path: &Path) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).expect("bound");
        let contact = self.clone();
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (reader, writer) = stream.compat().split();
                let network =
                    twoparty::VatNetwork::new(reader, writer, Side::Server, Default::default());
                let host: host::Client = new_client(Bootstrap(contact.clone()));
                spawn_local(RpcSystem::new(Box::new(network), Some(host.client)));
            }
        })
    }
}

struct Bootstrap(Rc<Contact>);

impl anchor::Server for Bootstrap {}

impl host::Server for Bootstrap {
    async fn info(
        self: Rc<Self>,
        _: host::InfoParams,
        mut results: host::InfoResults,
    ) -> Result<(), Error> {
        let this = self.0.hosts.borrow()[0].clone();
        let mut info = results.get().init_info();
        info.set_id(u64::from_str_radix(&this.name(), 16).expect("hex"));
        info.set_full_id(&this.full_id);
        info.set_generation(this.generation);
        info.set_cluster("test");
        Ok(())
    }

    async fn root(
        self: Rc<Self>,
        _: host::RootParams,
        mut results: host::RootResults,
    ) -> Result<(), Error> {
        results.get().set_root(new_client(Root(self.0.clone())));
        Ok(())
    }

    async fn clients(
        self: Rc<Self>,
        _: host::ClientsParams,
        _: host::ClientsResults,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn hosts(
        self: Rc<Self>,
        _: host::HostsParams,
        mut results: host::HostsResults,
    ) -> Result<(), Error> {
        let hosts = self.0.hosts.borrow();
        let mut list = results.get().init_hosts(hosts.len() as u32);
        for (index, told) in (0..).zip(hosts.iter()) {
            let mut member = list.reborrow().get(index);
            member.set_id(u64::from_str_radix(&told.name(), 16).expect("hex"));
            member.set_full_id(&told.full_id);
            member.set_generation(told.generation);
            member.set_state(told.state);
            member.set_since_millis(12_000);
            member.set_hostname(&told.hostname);
            member.set_version(if told.hostname.is_empty() { "" } else { "0.1.0" });
            member.set_self(index == 0);
            let mut addresses = member.reborrow().init_addresses(told.addresses.len() as u32);
            (0..).zip(&told.addresses).for_each(|(at, address)| addresses.set(at, address));
            let mut tag = member.init_tags(1).get(0);
            tag.set_key("zone");
            tag.set_value("a");
        }
        Ok(())
    }
}

struct Root(Rc<Contact>);

impl Root {
    /// Where a path goes on: at a server, or nowhere.
    fn behind(&self, path: &[u8]) -> Result<Option<anchor::Client>, Error> {
        let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        let name = String::from_utf8_lossy(names.next().unwrap_or_default()).into_owned();
        if let Some(gone) = self.0.hosts.borrow().iter().find(|told| told.name() == name)
            && gone.state == State::Failed
        {
            return Err(Error::disconnected(format!("host {name} has failed 12 s ago")));
        }
        if self.0.is_cut.get() {
            let error = "the host that has this capability has disconnected";
            return Err(Error::disconnected(error.into()));
        }
        self.0.passed.set(self.0.passed.get() + 1);
        Ok(self.0.behind.borrow().get(&name).cloned())
    }
}

impl anchor::Server for Root {
    async fn ls(
        self: Rc<Self>,
        _: anchor::LsParams,
        mut results: anchor::LsResults,
    ) -> Result<(), Error> {
        let hosts = self.0.hosts.borrow();
        let there = |told: &&Told| matches!(told.state, State::Up | State::Suspect);
        let there: Vec<_> = hosts.iter().filter(there).collect();
        let mut children = results.get().init_children(there.len() as u32);
        for (index, told) in (0..).zip(there) {
            let mut child = children.reborrow().get(index);
            child.set_name(told.name());
            child.set_anchor(new_client(Root(self.0.clone())));
        }
        Ok(())
    }

    async fn walk(
        self: Rc<Self>,
        params: anchor::WalkParams,
        mut results: anchor::WalkResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        if path.as_bytes().iter().all(|&byte| byte == b'/') {
            results.get().set_anchor(new_client(Root(self.0.clone())));
            return Ok(());
        }
        let server = self.behind(path.as_bytes())?;
        let server = server.ok_or_else(|| Error::failed("no host of that name".into()))?;
        let mut request = server.walk_request();
        request.get().set_path(path);
        results.get().set_anchor(request.send().promise.await?.get()?.get_anchor()?);
        Ok(())
    }

    async fn lookup(
        self: Rc<Self>,
        params: anchor::LookupParams,
        mut results: anchor::LookupResults,
    ) -> Result<(), Error> {
        let path = params.get()?.get_path()?;
        if path.as_bytes().iter().all(|&byte| byte == b'/') {
            results.get().set_anchor(new_client(Root(self.0.clone())));
            return Ok(());
        }
        let Some(server) = self.behind(path.as_bytes())? else { return Ok(()) };
        let mut request = server.lookup_request();
        request.get().set_path(path);
        let found = request.send().promise.await?;
        if found.get()?.has_anchor() {
            results.get().set_anchor(found.get()?.get_anchor()?);
        }
        Ok(())
    }

    async fn watch(
        self: Rc<Self>,
        _: anchor::WatchParams,
        mut results: anchor::WatchResults,
    ) -> Result<(), Error> {
        results.get().set_watch(new_client(Watching(self.0.clone())));
        Ok(())
    }
}

struct Watching(Rc<Contact>);

impl watch::Server for Watching {
    async fn next(
        self: Rc<Self>,
        params: watch::NextParams,
        mut results: watch::NextResults,
    ) -> Result<(), Error> {
        let after = params.get()?.get_after();
        let contact = &self.0;
        let (added, removed) = loop {
            let more = contact.more.notified();
            if let Some(news) = contact.news.borrow().get(after as usize).cloned() {
                break news;
            }
            more.await;
        };
        let mut change = results.get().init_change();
        change.set_sequence(after + 1);
        change.set_whole(after == 0);
        let mut entries = change.reborrow().init_added(added.len() as u32);
        (0..).zip(&added).for_each(|(at, name)| entries.reborrow().get(at).set_name(name));
        let mut names = change.reborrow().init_removed(removed.len() as u32);
        (0..).zip(&removed).for_each(|(at, (name, _))| names.set(at, name));
        let mut departures = change.init_departures(removed.len() as u32);
        (0..).zip(&removed).for_each(|(at, (_, how))| departures.set(at, *how));
        Ok(())
    }
}
