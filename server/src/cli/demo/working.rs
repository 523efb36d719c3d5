//! The third part of the demonstration: a client has the server start a process at a path, and sees it come and
//! go. Both check what they tell.

use std::env;
use std::time::Instant;

use clap::Args;
use killick_client::{
    Chan, Client, Command, Error, IntoValue, Options, Source, Stdio, Value, Watch, What,
};

use super::super::error::CliError;
use super::super::text::duration;
use super::client::{check, mark, tell, wrong};

/// What is watched, and where in it the process is.
const WORKERS: &str = "demo/workers";
const NAME: &str = "1";
/// Where the process has a channel, below its own place.
const INBOX: &str = "inbox";

fn failed(error: Error) -> CliError {
    CliError::failed("demo: not as told", error)
}

/// Has a process started, gives it a job, kills it, and sees its place go.
pub(super) async fn erin(client: Client) -> Result<(), CliError> {
    tell(&format!("connects (process {}), and watches {WORKERS}", std::process::id()))?;
    let mut watch = client.watch_at(WORKERS, What::Children).map_err(failed)?;
    let own = env::current_exe().map_err(|error| CliError::failed("demo: start erin", error))?;
    let own = own.to_str().ok_or_else(|| wrong("this program's path is no text"))?;
    let place = format!("{WORKERS}/{NAME}");
    let asked = Instant::now();
    let anchor = client.walk(&place).await.map_err(failed)?;
    let mut command = Command::new(own);
    command.arg("demo-worker").stdout(Stdio::Piped);
    let process = client.exec(&command, &anchor).await.map_err(failed)?;
    client.store_at(&place, &process, false).await.map_err(failed)?;
    drop(anchor);
    let (pid, took) = (process.status().await.map_err(failed)?.pid, duration(asked.elapsed()));
    tell(&format!("has the server start process {pid}, and stores it at {place} ({took})"))?;
    seen(&mut watch, true).await?;
    tell("sees it come")?;

    let stdout = process.stdout().await.map_err(failed)?;
    tell(&format!("reads what it writes: \"{}\"", line(&stdout).await?))?;
    let inbox = format!("{place}/{INBOX}");
    let loaded = client.load_at(&inbox).await.map_err(failed)?;
    let inbox = loaded.value.as_ref().and_then(Value::capability);
    let host = client.host().await.map_err(failed)?;
    let inbox = Chan::adopt(&host, inbox.ok_or_else(|| wrong("the worker has no inbox"))?);
    inbox.send("a job").await.map_err(failed)?;
    let answer = line(&stdout).await?;
    check(answer == "done: a job", "the worker did something else")?;
    tell(&format!("sends a job to its inbox, and reads: \"{answer}\""))?;
    drop((inbox, loaded));

    process.kill().await.map_err(failed)?;
    let killed = Instant::now();
    seen(&mut watch, false).await?;
    let took = duration(killed.elapsed());
    tell(&format!("kills it, and sees its place go, with the inbox below it ({took})"))?;
    mark("left")
}

/// Waits until the process is there, or its place is not.
async fn seen(watch: &mut Watch, there: bool) -> Result<(), CliError> {
    loop {
        let change = watch.next().await.map_err(failed)?;
        let children = &change.children;
        let came = children.filled.iter().any(|name| name == NAME)
            || children.added.iter().any(|(name, filled)| name == NAME && *filled);
        let went = children.removed.iter().any(|name| name == NAME);
        if if there { came } else { went } {
            return Ok(());
        }
    }
}

/// The next line that a process writes, which writes one at a time.
async fn line(stdout: &Source) -> Result<String, CliError> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let more = stdout.read(0).await.map_err(failed)?;
        check(!more.is_empty(), "the process ended before")?;
        line.extend(more);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Play the process that the server of 'killick demo' starts.
#[derive(Args)]
pub(in super::super) struct DemoWorker {}

impl DemoWorker {
    pub(in super::super) fn run(self) -> Result<(), CliError> {
        super::super::runtime()?.block_on(work())
    }
}

/// Makes an inbox in what it was given, and does the jobs that come.
async fn work() -> Result<(), CliError> {
    let client = Client::from_env(Options::default(), None).await.map_err(failed)?;
    let inbox: Chan = client.new_chan(1).await.map_err(failed)?;
    // With this process goes its connection, and with that the inbox.
    let bound = (&inbox).into_value().map(Value::bound);
    client.store_at(INBOX, bound, false).await.map_err(failed)?;
    let names = client.names_at("").await.map_err(failed)?.join(", ");
    tell(&format!("all that I see of the tree is: {names}"))?;
    let jobs = inbox.recver();
    loop {
        let job = jobs.recv().await.map_err(failed)?;
        tell(&format!("done: {}", job.text().unwrap_or_default()))?;
    }
}
