//! The clients of the demonstration. Each checks what it tells; those of the first part are here.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use capnp::capability::{FromClientHook, Promise};
use clap::Args;
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use tokio::sync::mpsc;

use super::super::Context;
use super::super::connection::as_anchor;
use super::super::error::{CliError, reason};
use super::super::text::duration;
use super::super::value::Value;
#[cfg(feature = "cluster")]
use super::reaching;
use super::story::Who;
use super::{MARK, PATH, PATIENCE, granting, working};

/// How often bob calls alice.
const CALLS: u32 = 3;

/// Play one of the clients of 'killick demo'.
#[derive(Args)]
pub(in super::super) struct DemoClient {
    /// Which one.
    role: Who,

    /// What it has to know.
    knows: Vec<String>,
}

impl DemoClient {
    pub(in super::super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        let cues = cues()?;
        let client = granting::client(context.connection.address());
        match self.role {
            Who::Alice => Stage { context, cues }.alice().await,
            Who::Bob => Stage { context, cues }.bob().await,
            Who::Carol => granting::carol(client, cues).await,
            Who::Dave => granting::dave(client, cues).await,
            Who::Erin => working::erin(client).await,
            #[cfg(feature = "cluster")]
            Who::Frank => reaching::frank(client, cues).await,
            #[cfg(feature = "cluster")]
            Who::Grace => reaching::grace(client, &self.knows).await,
            #[cfg(feature = "cluster")]
            Who::Heidi => reaching::heidi(client, cues, &self.knows).await,
            _ => Err(wrong("a server is no client")),
        }
    }
}

/// A line each time that whoever plays is to go on; the end of them when the play is over.
pub(super) type Cues = mpsc::Receiver<String>;

/// What a client has at hand.
struct Stage<'a> {
    context: &'a mut Context,
    cues: Cues,
}

impl Stage<'_> {
    /// Offers an object of this process at the path, and stays.
    async fn alice(mut self) -> Result<(), CliError> {
        tell(&format!("connects (process {})", std::process::id()))?;
        let before = self.lookup().await?;
        check(before.is_none(), "the path is there before anybody has walked to it")?;
        let (anchor, took) = self.walk().await?;
        tell(&format!("walks to {PATH}: nobody had been there, now it exists ({took})"))?;

        let asked = Instant::now();
        let greeter: loader::Client = capnp_rpc::new_client(Greeter::default());
        let storer = anchor.cell_request().send().pipeline.get_storer();
        let mut request = storer.store_request();
        request.get().init_value().set_as_capability(greeter.client.hook);
        let stored = self.answer("store", request.send().promise).await?;
        let stored = stored.get().map_err(broken)?.get_succeeded();
        check(stored, "the empty cell did not take the value")?;
        let took = duration(asked.elapsed());
        tell(&format!("stores a capability there: an object inside her process ({took})"))?;
        mark("ready")?;

        // Calls are served until the other end of stdin closes, or a signal comes.
        self.cues.recv().await;
        Ok(())
    }

    /// Finds the object by its path, calls it, and sees both go.
    async fn bob(mut self) -> Result<(), CliError> {
        tell(&format!("connects (process {})", std::process::id()))?;
        let (anchor, took) = self.walk().await?;
        tell(&format!("walks to {PATH}: the same anchor, found by its name alone ({took})"))?;
        let greeter = self.load(anchor).await?;
        for _ in 0..CALLS {
            let asked = Instant::now();
            let greeting = self.call(&greeter).await?;
            tell(&format!("calls it: \"{greeting}\" ({})", duration(asked.elapsed())))?;
        }
        tell("lets go of the anchor, keeps the capability")?;
        mark("met")?;
        self.cues.recv().await;

        self.vanished().await?;
        tell(&format!("looks up {PATH}: nothing there"))?;
        let names = self.list().await?;
        check(names == 0, "something is left in the tree")?;
        tell("lists the tree: empty, 'demo' went with what was below it")?;
        match self.call(&greeter).await {
            Ok(_) => return Err(wrong("an object of a process that is gone answered")),
            Err(CliError::Failed { why, .. }) => tell(&format!("calls it again: {why}"))?,
            Err(error) => return Err(error),
        }
        mark("gone")
    }

    async fn answer<T>(
        &self,
        what: &str,
        call: impl Future<Output = capnp::Result<T>>,
    ) -> Result<T, CliError> {
        self.context.connection.answer(&format!("demo: {what}"), call).await
    }

    fn root(&self) -> anchor::Client {
        as_anchor(self.context.connection.host())
    }

    async fn lookup(&self) -> Result<Option<anchor::Client>, CliError> {
        let mut request = self.root().lookup_request();
        request.get().set_path(PATH);
        let response = self.answer("lookup", request.send().promise).await?;
        let results = response.get().map_err(broken)?;
        results.has_anchor().then(|| results.get_anchor().map_err(broken)).transpose()
    }

    /// The anchor at the path, and how long it took to get there.
    async fn walk(&self) -> Result<(anchor::Client, String), CliError> {
        let asked = Instant::now();
        let mut request = self.root().walk_request();
        request.get().set_path(PATH);
        let response = self.answer("walk", request.send().promise).await?;
        let anchor = response.get().and_then(|results| results.get_anchor()).map_err(broken)?;
        Ok((anchor, duration(asked.elapsed())))
    }

    /// The capability in the cell of `anchor`, which is let go of.
    async fn load(&self, anchor: anchor::Client) -> Result<loader::Client, CliError> {
        let asked = Instant::now();
        let loader = anchor.cell_request().send().pipeline.get_loader();
        let response = self.answer("load", loader.load_request().send().promise).await?;
        let value = response.get().map_err(broken)?.get_value();
        let Value::Capability(capability) = Value::read(value, false).map_err(broken)? else {
            return Err(wrong("the cell does not hold a capability"));
        };
        tell(&format!("loads its value: a capability ({})", duration(asked.elapsed())))?;
        Ok(loader::Client::new(capability.hook))
    }

    /// What the greeter says.
    async fn call(&self, greeter: &loader::Client) -> Result<String, CliError> {
        let response = self.answer("call", greeter.load_request().send().promise).await?;
        let value = response.get().map_err(broken)?.get_value();
        match Value::read(value, false).map_err(broken)? {
            Value::Text(greeting) => Ok(greeting),
            _ => Err(wrong("the greeter did not answer with text")),
        }
    }

    async fn list(&self) -> Result<u32, CliError> {
        let response = self.answer("ls", self.root().ls_request().send().promise).await?;
        Ok(response.get().and_then(|results| results.get_children()).map_err(broken)?.len())
    }

    /// Waits until nothing is at the path any more.
    async fn vanished(&self) -> Result<(), CliError> {
        let deadline = Instant::now() + PATIENCE / 2;
        while self.lookup().await?.is_some() {
            check(Instant::now() < deadline, "the path outlives its holder")?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// Alice's object: the interface of a loader is all it takes to be asked for something.
#[derive(Default)]
struct Greeter {
    calls: Cell<u32>,
}

impl loader::Server for Greeter {
    fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> impl Future<Output = capnp::Result<()>> + 'static {
        self.calls.set(self.calls.get() + 1);
        let (calls, process) = (self.calls.get(), std::process::id());
        let greeting = format!("hello from process {process}, caller number {calls}");
        let value = results.get().init_value();
        Promise::from_future(std::future::ready(set_text(value, &greeting)))
    }
}

fn set_text(mut value: capnp::any_pointer::Builder<'_>, text: &str) -> capnp::Result<()> {
    value.set_as::<capnp::text::Owned>(text)
}

/// The lines on stdin, and the end of them with the end of it.
pub(super) fn cues() -> Result<Cues, CliError> {
    let (cue, cues) = mpsc::channel(1);
    thread::Builder::new()
        .name("cues".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if cue.blocking_send(line).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| CliError::failed("demo: start a thread", error))?;
    Ok(cues)
}

/// Tells the audience a step.
pub(super) fn tell(step: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{step}").and_then(|()| stdout.flush()).map_err(CliError::output)
}

/// Tells the director how far this client is.
pub(super) fn mark(name: &str) -> Result<(), CliError> {
    tell(&format!("{MARK}{name}"))
}

pub(super) fn check(holds: bool, otherwise: &str) -> Result<(), CliError> {
    if holds { Ok(()) } else { Err(wrong(otherwise)) }
}

pub(super) fn wrong(what: &str) -> CliError {
    CliError::failed("demo: not as told", what)
}

fn broken(error: capnp::Error) -> CliError {
    CliError::failed("demo: an answer", reason(&error))
}
