//! A client that does one thing after another, as its dice say.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use capnp::ErrorKind;
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::channels;
use crate::dice::Dice;
use crate::grants;
use crate::link::{Link, PATIENCE, Put, ask, cell, lookup, ls, text, walk};
use crate::record::{How, Phase, Record, Time, now};
use crate::world::GRACE;

/// The registers whose nodes the keeper holds all the time.
pub(crate) const KEPT: [&str; 3] = ["kept/a", "kept/b", "kept/b/c"];
/// Registers whose nodes come and go.
pub(crate) const LOOSE: [&str; 3] = ["loose/a", "loose/a/b", "loose/c"];

/// How long a call may take over a sound link, whoever else is not well.
const ANSWERED: Duration = Duration::from_secs(2);

/// How long something may take that needs another client: if nothing reaches that one it has to notice, and
/// to go.
const NOTICED: Duration = Duration::from_millis(3400);

/// A capability that a client hosts: says which one it is.
struct Speaker {
    id: u64,
    pause: Duration,
}

impl loader::Server for Speaker {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        sleep(self.pause).await;
        results.get().init_value().set_as(text(self.id, 0).as_str())
    }
}

/// A capability that another client hosts, by its number, and the connection of that client.
#[derive(Clone)]
struct Found {
    id: u64,
    cap: loader::Client,
}

/// What a client has over one connection.
struct Client {
    link: Link,
    name: String,
    dice: Dice,
    held: Vec<(String, anchor::Client)>,
    found: Vec<Found>,
    channels: channels::Found,
    watching: Option<Watching>,
    /// The last revision that was seen of each register.
    seen: BTreeMap<String, u64>,
}

/// One of the registers whose nodes are held all the time, watched.
struct Watching {
    register: &'static str,
    anchor: anchor::Client,
    /// The revision that was told last.
    told: Rc<Cell<Option<u64>>>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Asks for one change after the other, and sometimes gives up and asks again.
    fn start(link: &Link, register: &'static str, anchor: anchor::Client, mut dice: Dice) -> Self {
        let watch = anchor.watch_request().send().pipeline.get_watch();
        let told = Rc::new(Cell::new(None));
        let (record, connection, tell) = (link.record.clone(), link.number, told.clone());
        let task = tokio::task::spawn_local(async move {
            let mut after = 0;
            loop {
                let next = Link::next(&record, connection, &watch, (register, after));
                match timeout(dice.millis(1, 1000), next).await {
                    Ok(Ok((sequence, revision))) => {
                        after = sequence;
                        tell.set(Some(revision));
                    }
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
        });
        Watching { register, anchor, told, task }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lives until the run ends.
pub(crate) async fn run(record: Rc<Record>, name: String, seed: u64) -> turmoil::Result {
    record.valve(&name).set(false);
    let part = format!("{name} from {:?}", now());
    let mut dice = Dice::new(seed, &part);
    while record.phase() < Phase::Leave {
        let Some(link) = Link::open(&record, &name).await else {
            sleep(dice.millis(20, 200)).await;
            continue;
        };
        let dice = Dice::new(seed, &format!("{part} #{}", link.number));
        let (held, found, seen) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (channels, watching) = (channels::Found::default(), None);
        let name = name.clone();
        let mut client = Client { link, name, dice, held, found, channels, watching, seen };
        client.live().await;
        client.let_go();
        client.link.leave().await;
    }
    Ok(())
}

impl Client {
    fn record(&self) -> &Record {
        &self.link.record
    }

    fn is_over(&self) -> bool {
        self.link.is_over() || self.record().phase() == Phase::Leave
    }

    /// Whether the connection is of use, after something has failed.
    async fn works(&self) -> bool {
        !self.is_over() && lookup(&self.link.anchor, "").await.is_ok()
    }

    /// Works until the connection ends, or the run does.
    async fn live(&mut self) {
        let server = self.record().connection(self.link.number).server;
        while self.record().kept.get() < server && !self.is_over() {
            sleep(Duration::from_millis(10)).await;
        }
        while self.record().phase() == Phase::Work && !self.is_over() {
            let begun = now();
            let over = self.link.over();
            let done = tokio::select! {
                biased;
                done = timeout(NOTICED, self.step()) => done.ok(),
                () = over => None,
            };
            match done {
                None => return self.has_hung(begun).await,
                Some(Err(error)) => {
                    let line = format_args!("#{}: {error}", self.link.number);
                    self.record().trace(now(), &self.name, line);
                    // A connection may end in the middle of a message.
                    let over = [ErrorKind::Disconnected, ErrorKind::PrematureEndOfFile];
                    if !over.contains(&error.kind) {
                        self.record().wrong(format_args!("{:?} {error}", now()));
                    }
                }
                Some(Ok(())) => {}
            }
            let pause = self.dice.millis(0, 40);
            sleep(pause).await;
        }
        self.let_go();
        while !self.is_over() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was begun then was not done in time, or the server did not answer any more.
    async fn has_hung(&self, begun: Time) {
        let Link { number, record, .. } = &self.link;
        // It may be about to end.
        sleep(GRACE).await;
        let sound = record.connection(*number).sound;
        let since = sound.map(|sound| sound.max(begun).saturating_add(ANSWERED));
        if !self.link.has_ended() && since.is_some_and(|since| since <= now()) {
            record.wrong(format_args!("{:?} #{number}: a call hung", now()));
        }
    }

    /// Lets go of all that it has but the connection.
    fn let_go(&mut self) {
        self.held.clear();
        self.found.clear();
        self.channels = channels::Found::default();
        self.watching = None;
    }

    /// One thing.
    async fn step(&mut self) -> capnp::Result<()> {
        match self.dice.below(140) {
            0..12 => self.hold().await,
            12..20 => self.release(),
            20..42 => self.store_text().await,
            42..52 => self.store_cap().await,
            52..62 => self.pass_on().await,
            62..80 => self.load().await,
            80..82 => self.load_many().await,
            82..84 => self.flood().await,
            84..90 => self.call_found().await,
            90..93 => self.list().await,
            93..96 => self.watch().await,
            96..100 => self.private().await,
            100..113 => self.channels.send(&self.link, &mut self.dice).await,
            113..125 => self.channels.recv(&self.link, &mut self.dice).await,
            125..128 => grants::give(&self.link, &mut self.dice).await,
            128..137 => grants::use_one(&self.link, &mut self.dice).await,
            _ => grants::revoke(&self.link, &mut self.dice).await,
        }
    }

    fn register(&mut self) -> String {
        let kept = self.dice.percent(65);
        let all = if kept { &KEPT } else { &LOOSE };
        (*self.dice.pick(all)).to_owned()
    }

    /// The anchor of `register`: the one that is held, or one that was not answered yet.
    fn anchor(&self, register: &str) -> anchor::Client {
        match self.held.iter().find(|(path, _)| path == register) {
            Some((_, anchor)) => anchor.clone(),
            None => {
                let mut request = self.link.anchor.walk_request();
                request.get().set_path(register);
                request.send().pipeline.get_anchor()
            }
        }
    }

    async fn hold(&mut self) -> capnp::Result<()> {
        let register = self.register();
        let anchor = walk(&self.link.anchor, &register).await?;
        self.held.push((register, anchor));
        Ok(())
    }

    fn release(&mut self) -> capnp::Result<()> {
        if !self.held.is_empty() {
            let index = self.dice.below(self.held.len() as u64);
            let _ = self.held.swap_remove(usize::try_from(index).expect("an index"));
        }
        Ok(())
    }

    fn how(&mut self, register: &str) -> How {
        match self.dice.below(10) {
            0..5 => How::Always,
            5..7 => How::IfEmpty,
            7..9 => How::IfRevision(self.seen.get(register).copied().unwrap_or_default()),
            _ => How::Swap,
        }
    }

    async fn store(&mut self, put: Put, mut owners: Vec<usize>) -> capnp::Result<()> {
        let register = self.register();
        let (anchor, how) = (self.anchor(&register), self.how(&register));
        let bound = put.value() != crate::record::Value::Nothing && self.dice.percent(30);
        if bound {
            owners.push(self.link.number);
        }
        let revision = self.link.write(&anchor, &register, (put, bound), owners, how).await?;
        self.seen.insert(register, revision);
        Ok(())
    }

    async fn store_text(&mut self) -> capnp::Result<()> {
        let put = match self.dice.percent(25) {
            true => Put::Nothing,
            false => {
                let length = if self.dice.percent(15) { 4000 } else { self.dice.below(100) };
                Put::Text(self.record().new_value(), usize::try_from(length).expect("a length"))
            }
        };
        self.store(put, Vec::new()).await
    }

    async fn store_cap(&mut self) -> capnp::Result<()> {
        let id = self.record().new_value();
        let pause = if self.dice.percent(30) { self.dice.millis(1, 60) } else { Duration::ZERO };
        let cap = capnp_rpc::new_client(Speaker { id, pause });
        self.record().hosts.borrow_mut().insert(id, self.link.number);
        self.store(Put::Cap(id, cap), vec![self.link.number]).await
    }

    /// Stores what another client hosts once more.
    async fn pass_on(&mut self) -> capnp::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let Found { id, cap } = self.dice.pick(&self.found).clone();
        let host = self.record().host_of(id);
        self.store(Put::Cap(id, cap), vec![host]).await
    }

    async fn load(&mut self) -> capnp::Result<()> {
        let register = self.register();
        let (loader, _) = cell(&self.anchor(&register));
        let (revision, op, cap) = self.link.load(&loader, &register).await?;
        self.seen.insert(register.clone(), revision);
        let Some(cap) = cap else { return Ok(()) };
        match ask(&cap).await {
            Ok(id) => {
                self.record().identify(op, id);
                self.found.push(Found { id, cap });
                if self.found.len() > 4 {
                    self.found.remove(0);
                }
                Ok(())
            }
            Err(error) => self.is_gone(&loader, &register, revision).await.and(Err(error)),
        }
    }

    /// A capability that was loaded at `revision` does not work: soon it is no value any more.
    async fn is_gone(
        &self,
        loader: &loader::Client,
        register: &str,
        revision: u64,
    ) -> capnp::Result<()> {
        sleep(GRACE).await;
        let (later, _, cap) = self.link.load(loader, register).await?;
        if let Some(cap) = cap
            && later == revision
            && let Err(error) = ask(&cap).await
            && self.works().await
        {
            let what = format_args!("{:?} {register} holds what does not work: {error}", now());
            self.record().wrong(what);
        }
        Ok(())
    }

    /// As many loads at once: they are answered in their order.
    async fn load_many(&mut self) -> capnp::Result<()> {
        let register = self.register();
        let (loader, _) = cell(&self.anchor(&register));
        let count = self.dice.below(40);
        let loads = (0..count).map(|_| self.link.load(&loader, &register));
        let loads = futures::future::join_all(loads).await;
        let revisions: Vec<_> = loads
            .into_iter()
            .map(|load| load.map(|(revision, ..)| revision))
            .collect::<Result<_, _>>()?;
        if !revisions.is_sorted() && KEPT.contains(&&*register) {
            self.record()
                .wrong(format_args!("{register}: loads overtook each other: {revisions:?}"));
        }
        Ok(())
    }

    /// [`load_many`](Self::load_many), and reads nothing for a time.
    async fn flood(&mut self) -> capnp::Result<()> {
        let (pause, name) = (self.dice.millis(20, 1200), self.name.clone());
        let (record, valve) = (self.link.record.clone(), self.link.record.valve(&name));
        record.waits(&name);
        valve.set(true);
        drop(tokio::task::spawn_local(async move {
            sleep(pause).await;
            valve.set(false);
            record.well(&name, now());
        }));
        self.load_many().await
    }

    /// Asks a capability of another client which it is. It works as long as that one is connected.
    async fn call_found(&mut self) -> capnp::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let Found { id, cap } = self.dice.pick(&self.found).clone();
        let said = match ask(&cap).await {
            Ok(said) => said,
            Err(error) => {
                if self.works().await {
                    self.record().failed(self.record().host_of(id));
                }
                self.found.retain(|found| found.id != id);
                return Err(error);
            }
        };
        if said != id {
            self.record().wrong(format_args!("{:?} capability {id} said {said}", now()));
        }
        Ok(())
    }

    async fn list(&mut self) -> capnp::Result<()> {
        let children = ls(&walk(&self.link.anchor, "kept").await?).await?;
        let names: Vec<_> = children.iter().map(|(name, _)| name.as_str()).collect();
        if names != ["a", "b"] {
            self.record().wrong(format_args!("{:?} kept children are {names:?}", now()));
        }
        Ok(())
    }

    /// Watches a register, or looks whether the watch was told what is there.
    async fn watch(&mut self) -> capnp::Result<()> {
        let Some(watching) = &self.watching else {
            let register = *self.dice.pick(&KEPT);
            let anchor = walk(&self.link.anchor, register).await?;
            let dice = Dice::new(self.dice.below(u64::MAX), register);
            self.watching = Some(Watching::start(&self.link, register, anchor, dice));
            return Ok(());
        };
        let Watching { register, anchor, told, .. } = watching;
        let (revision, ..) = self.link.load(&cell(anchor).0, register).await?;
        // What was asked for before is answered before, once the server has looked; but it may have been
        // given up in that moment, and asked for again.
        for _ in 0..5 {
            sleep(GRACE).await;
            if !self.works().await || told.get() >= Some(revision) {
                return Ok(());
            }
        }
        let last = told.get();
        let what =
            format_args!("{:?} {register} is at {revision}, and its watcher at {last:?}", now());
        self.record().wrong(what);
        Ok(())
    }

    /// Something that nobody else knows of, and that dies with this connection.
    async fn private(&mut self) -> capnp::Result<()> {
        let path = format!("private/{}/x", self.link.number);
        let anchor = walk(&self.link.anchor, &path).await?;
        let put = Put::Text(self.record().new_value(), 10);
        let owners = vec![self.link.number];
        self.link.write(&anchor, &path, (put, true), owners, How::Always).await?;
        drop(anchor);
        if !lookup(&self.link.anchor, &path).await? {
            self.record().wrong(format_args!("{:?} {path} is gone before its owner", now()));
        }
        Ok(())
    }
}

/// Holds the kept registers as long as there is a server, and clears what is left at the end.
pub(crate) async fn keep(record: Rc<Record>) -> turmoil::Result {
    while record.phase() < Phase::Leave {
        let Some(link) = Link::open(&record, "keeper").await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let kept = async { channels::make(&link).await.and(hold_all(&link).await) };
        if let Ok(Ok(kept)) = timeout(PATIENCE, kept).await {
            record.kept.set(record.connection(link.number).server);
            while record.phase() < Phase::Clean && !link.is_over() {
                sleep(Duration::from_millis(5)).await;
            }
            drop(kept);
            if !link.is_over() {
                timeout(PATIENCE, channels::drain(&link)).await??;
                timeout(PATIENCE, clear(&link.anchor)).await??;
                record.cleaned.set(true);
            }
            while record.phase() < Phase::Leave && !link.is_over() {
                sleep(Duration::from_millis(5)).await;
            }
        }
        link.leave().await;
    }
    Ok(())
}

fn hold_all(link: &Link) -> impl Future<Output = capnp::Result<Vec<anchor::Client>>> + use<> {
    let walks: Vec<_> = KEPT
        .iter()
        .map(|path| {
            let anchor = link.anchor.clone();
            async move { walk(&anchor, path).await }
        })
        .collect();
    futures::future::try_join_all(walks)
}

/// Empties every cell below `root`.
async fn clear(root: &anchor::Client) -> capnp::Result<()> {
    let mut nodes = vec![root.clone()];
    while let Some(node) = nodes.pop() {
        nodes.extend(ls(&node).await?.into_iter().map(|(_, child)| child));
        let (_, storer) = cell(&node);
        let mut request = storer.store_request();
        request.get().set_overwrite(true);
        request.send().promise.await?;
    }
    Ok(())
}
