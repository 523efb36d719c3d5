//! One run: the simulated hosts and their network, what goes wrong, and what is looked at meanwhile.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use killick_server::Held;
use tracing::subscriber::with_default;
use tracing::{Level, Subscriber};
use turmoil::Sim;

use crate::plan::{Event, Fault, Plan, WORK};
use crate::record::{Lines, Phase, Record, Time};
use crate::{check, client, server};

/// How long a server may take to let go of a client that has gone.
pub(crate) const GONE: Time = Duration::from_millis(2500);
/// How long what dies with a connection may outlive it.
pub(crate) const GRACE: Time = Duration::from_millis(50);
/// How long what is broken has to be noticed.
const SETTLE: Time = Duration::from_millis(3500);
/// How long anything may take when nothing is broken.
const SOON: Time = Duration::from_secs(2);

/// How far each host goes before the others do. No message takes less: what one host does is seen by
/// another only when that one's clock says that it is later.
const TICK: Time = Duration::from_millis(2);

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) trace: String,
    pub(crate) wrong: Vec<String>,
    pub(crate) operations: usize,
    pub(crate) connections: usize,
}

impl Ran {
    /// One that did not come to its end.
    pub(crate) fn panicked() -> Self {
        let wrong = vec!["it panicked".to_owned()];
        Ran { trace: String::new(), wrong, operations: 0, connections: 0 }
    }
}

struct World<'a> {
    sim: Sim<'a>,
    record: Rc<Record>,
    /// Values of the dead, when they were looked for last.
    orphans: BTreeSet<String>,
    /// Whether the server was told to start again.
    restart: bool,
}

fn name(client: usize) -> String {
    format!("client{client}")
}

/// Runs what `seed` says.
pub(crate) fn run(seed: u64) -> Ran {
    // What an earlier run has left to be freed would be freed in this one.
    for _ in 0..64 {
        killick::reclaim();
    }
    let plan = Plan::new(seed);
    let record = Rc::new(Record::default());
    record.segment.set(plan.segment);
    record.trace(Time::ZERO, "plan", format_args!("{plan:?}"));
    with_default(log_to(&record.log), || {
        let mut world = World::new(seed, &plan, record.clone());
        if let Err(error) = world.run(&plan) {
            record.wrong(format_args!("{:?} {error}", world.sim.elapsed()));
        }
    });
    check::check(&record);
    let operations = record.ops.borrow().len();
    let connections = record.connections.borrow().len();
    Ran { trace: record.trace.take(), wrong: record.wrong.take(), operations, connections }
}

/// A log of what the server warns of.
fn log_to(lines: &Lines) -> impl Subscriber + Send + Sync + use<> {
    let lines = lines.clone();
    let log = tracing_subscriber::fmt().with_max_level(Level::WARN);
    log.with_ansi(false).without_time().with_writer(move || lines.clone()).finish()
}

impl World<'_> {
    fn new(seed: u64, plan: &Plan, record: Rc<Record>) -> Self {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(TICK)
            .min_message_latency(TICK)
            .max_message_latency(Duration::from_millis(plan.latency))
            .tcp_capacity(plan.capacity);
        if plan.random_order {
            builder.enable_random_order();
        }
        let mut sim = builder.build();
        let at = record.clone();
        sim.host("server", move || server::run(at.clone()));
        let at = record.clone();
        sim.host("keeper", move || client::keep(at.clone()));
        for client in 0..plan.clients {
            let (at, name) = (record.clone(), name(client));
            sim.host(name.clone(), move || client::run(at.clone(), name.clone(), seed));
        }
        World { sim, record, orphans: BTreeSet::new(), restart: false }
    }

    fn run(&mut self, plan: &Plan) -> turmoil::Result {
        let mut events = plan.events.iter().peekable();
        while self.sim.elapsed() < WORK || events.peek().is_some() {
            while let Some((_, event)) = events.next_if(|(time, _)| *time <= self.sim.elapsed()) {
                self.happens(*event);
            }
            self.step()?;
        }
        self.enter(Phase::Settle);
        let until = self.sim.elapsed() + SETTLE;
        while self.sim.elapsed() < until {
            self.step()?;
        }
        self.enter(Phase::Clean);
        // Every client is connected and holds nothing but its host.
        let all = plan.clients + 1;
        let clean = Held { connections: all, sessions: all, handles: all as u64, ..Held::NOTHING };
        self.soon("the tree empty and every client connected", |world| {
            world.record.cleaned.get() && world.held() == Some(clean)
        })?;
        self.enter(Phase::Leave);
        self.soon("everybody gone", |world| world.held() == Some(Held::NOTHING))?;
        let running = |world: &mut Self, host: &str| world.sim.is_host_running(host);
        self.soon("every client at its end", |world| {
            !running(world, "keeper") && !(0..all - 1).any(|client| running(world, &name(client)))
        })
    }

    fn enter(&mut self, phase: Phase) {
        self.record.phase.set(Some(phase));
        self.record.trace(self.sim.elapsed(), "world", format_args!("{phase:?}"));
    }

    fn held(&self) -> Option<Held> {
        self.record.server().map(|server| server.held())
    }

    /// Goes on until `holds` does.
    fn soon(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> turmoil::Result {
        let until = self.sim.elapsed() + SOON;
        while !holds(self) {
            if self.sim.elapsed() > until {
                return Err(format!("waited in vain for {what}: {:?}", self.held()).into());
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> turmoil::Result {
        self.sim.step()?;
        if self.restart && !self.sim.is_host_running("server") {
            self.restart = false;
            self.sim.bounce("server");
        }
        if self.record.server().is_some() && !self.sim.is_host_running("server") {
            self.record.server_gone(self.sim.elapsed());
        }
        if self.sim.elapsed().as_millis().is_multiple_of(GRACE.as_millis()) {
            self.look();
        }
        Ok(())
    }

    /// Looks for what should be there no more, and for what the server says of itself.
    fn look(&mut self) {
        let now = self.sim.elapsed();
        for line in self.record.logged() {
            if line.contains("internal error") || line.contains("panic") {
                self.record.wrong(format_args!("{now:?} the server says: {line}"));
            }
        }
        let Some(server) = self.record.server() else { return self.orphans.clear() };
        let orphans = server.filled().into_iter().filter(|value| value.orphaned);
        let orphans: BTreeSet<_> = orphans.map(|value| value.path).collect();
        for path in orphans.intersection(&self.orphans) {
            self.record.wrong(format_args!("{now:?} {path} holds a value of the dead"));
        }
        self.orphans = orphans;
        for (number, connection) in self.record.connections.borrow().iter().enumerate() {
            let here = connection.server == self.record.starts.get();
            let ended = connection.closed.is_some_and(|closed| closed + GRACE < now);
            if here && ended && server.exists(&format!("private/{number}")) {
                self.record.wrong(format_args!("{now:?} private/{number} outlives its holder"));
            }
        }
    }

    fn happens(&mut self, event: Event) {
        let now = self.sim.elapsed();
        self.record.trace(now, "world", format_args!("{event:?}"));
        match event {
            Event::Begins(client, fault) => self.begins(&name(client), fault),
            Event::Ends(client, fault) => self.ends(&name(client), fault),
            Event::ServerKilled => {
                self.sim.crash("server");
                self.record.server_gone(now);
            }
            Event::ServerStops => self.record.stop.notify_one(),
            Event::ServerStarts => self.restart = true,
        }
    }

    fn begins(&mut self, client: &str, fault: Fault) {
        let now = self.sim.elapsed();
        match fault {
            Fault::Partition | Fault::Deaf | Fault::Mute => self.record.loses(client),
            Fault::Held | Fault::Slow => self.record.waits(client),
            Fault::Killed | Fault::PowerLoss => self.record.dies(client, now),
        }
        match fault {
            Fault::Partition => self.sim.partition(client, "server"),
            Fault::Deaf => self.sim.partition_oneway("server", client),
            Fault::Mute => self.sim.partition_oneway(client, "server"),
            Fault::Held => self.sim.hold(client, "server"),
            Fault::Slow => self.record.valve(client).set(true),
            Fault::Killed => self.sim.crash(client),
            Fault::PowerLoss => {
                self.sim.partition(client, "server");
                self.sim.crash(client);
            }
        }
    }

    fn ends(&mut self, client: &str, fault: Fault) {
        match fault {
            // Connections that were begun meanwhile have lost something too.
            Fault::Partition | Fault::Deaf | Fault::Mute => self.record.loses(client),
            Fault::Held | Fault::Slow => self.record.well(client, self.sim.elapsed()),
            Fault::Killed | Fault::PowerLoss => {}
        }
        match fault {
            Fault::Partition => self.sim.repair(client, "server"),
            Fault::Deaf => self.sim.repair_oneway("server", client),
            Fault::Mute => self.sim.repair_oneway(client, "server"),
            Fault::Held => self.sim.release(client, "server"),
            Fault::Slow => self.record.valve(client).set(false),
            Fault::Killed => self.sim.bounce(client),
            Fault::PowerLoss => {
                self.sim.repair(client, "server");
                self.sim.bounce(client);
            }
        }
    }
}
