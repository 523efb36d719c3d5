//! A pool of workers: processes that the server starts, each with an anchor of its own and an inbox below it.
//! One is killed, and a supervisor that watches starts another in its place.
//!
//! ```text
//!  supervisor                        the tree                 worker 2
//!    exec; stores the process ─────▶ workers/2
//!    sends jobs ◀─────────────────── workers/2/inbox ◀─────── makes a channel, stores the end that sends
//!    watches: 2 has gone ◀────────── ·                        ✗ SIGKILL
//!    exec; stores the process ─────▶ workers/4
//! ```
//!
//! `cargo run -p killick-server --example pool [ADDRESS]`. A server at another address has to allow this program:
//! `killick serve --allow-exec $PWD/target/debug/examples/`.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use killick_client::{
    Address, Allowance, Anchor, Change, Client, Command, IntoValue, Lifetime, Options, Process,
    Received, Right, SendCloser, Sender, Value, What,
};
use killick_server::{Config, Server};
use rustix::process::{Pid, Signal, kill_process};

/// How many work at a time.
pub const WORKERS: usize = 3;

/// How many numbers are to be squared.
pub const JOBS: usize = 40;

/// What the first argument of a worker says.
const WORK: &str = "--work";

/// The variable that tells a worker its name.
const NAME: &str = "WORKER";

/// What a pool has done.
pub struct Outcome {
    /// Of each number, its square.
    pub squares: BTreeMap<u64, u64>,
    /// The workers, by name, in the order in which they were seen to go before the work was done.
    pub lost: Vec<String>,
    /// How many were started.
    pub started: usize,
    /// The exit codes of those that were left when the work was done.
    pub codes: Vec<u32>,
    /// How many nodes and processes there are more than before.
    pub left: (u64, u32),
}

/// Has `program`, which is to call [`work`], started `WORKERS` times, and has them do `JOBS` jobs.
pub async fn run(address: &Address, program: &Command) -> Result<Outcome, Box<dyn Error>> {
    let client = Client::connect(address, Options::default()).await?;
    let before = client.info().await?;
    let answers = client.new_chan(JOBS.try_into()?).await?;
    let received = answers.recver().with_timeout(None);
    let workers = client.walk("workers").await?;
    // A value that was received is told even if at that moment something else is, too: nothing is given up.
    let received = stream::unfold(received, async |received| {
        Some((received.recv().await.map(Event::Answer), received))
    });
    let seen = workers.watch(What::Children).map(|seen| seen.map(Event::Workers));
    let mut pool = Pool {
        client: client.clone(),
        workers,
        program: program.clone(),
        answers: answers.sender(),
        jobs: (1..=JOBS as u64).collect(),
        crew: BTreeMap::new(),
        squares: BTreeMap::new(),
        lost: Vec::new(),
        started: 0,
    };
    drop(answers);
    for _ in 0..WORKERS {
        pool.start().await?;
    }
    {
        let mut events = pin!(stream::select(seen, received));
        while pool.squares.len() < JOBS || pool.started == WORKERS {
            match events.next().await.ok_or("nothing more happens")?? {
                Event::Workers(change) => pool.saw(&change).await?,
                Event::Answer(answer) => pool.answered(answer.text().unwrap_or_default()).await?,
            }
        }
    }
    let mut outcome = pool.end().await?;
    outcome.left = left(&client, (before.nodes, before.processes)).await?;
    println!("{} nodes and {} processes are left", outcome.left.0, outcome.left.1);
    Ok(outcome)
}

/// What the supervisor waits for.
enum Event {
    Workers(Change),
    Answer(Received),
}

struct Pool {
    client: Client,
    /// The anchor whose children are the workers.
    workers: Anchor,
    program: Command,
    /// Where workers send their answers.
    answers: Sender,
    /// The jobs that nobody has.
    jobs: VecDeque<u64>,
    crew: BTreeMap<String, Worker>,
    squares: BTreeMap<u64, u64>,
    lost: Vec<String>,
    started: usize,
}

struct Worker {
    process: Process,
    inbox: SendCloser,
    job: Option<u64>,
    /// Its node, kept until the watch has shown it: then the watch shows its end as well, however soon it
    /// comes.
    unseen: Option<Anchor>,
}

impl Pool {
    /// Starts one more worker. No name is used twice, so what is seen of a name is of one process.
    async fn start(&mut self) -> Result<(), Box<dyn Error>> {
        self.started += 1;
        let name = self.started.to_string();
        let place = self.workers.walk(&name).await?;
        // What it needs: a channel, and a node to store its end in.
        let rights = [Right::Walk, Right::Store].into_iter().collect();
        let allowance = Allowance { nodes: 1, depth: 1, channels: 1, ..Allowance::default() };
        let (part, _) = place.attenuate(rights, allowance).await?;
        let mut command = self.program.clone();
        command.env(NAME, &name).lifetime(Lifetime::Connection);
        let process = self.client.exec(&command, &part).await?;
        place.store(&process, false).await?;
        println!("worker {name} is process {}", process.status().await?.pid);

        let inbox = place.at("inbox")?;
        let found = tokio::select! {
            found = inbox.wait() => found?.value.and_then(|value| value.capability()),
            code = process.wait() => {
                return Err(format!("worker {name} has ended with {} and had no inbox", code?).into());
            }
        };
        let inbox = SendCloser::adopt(&place, found.ok_or("no end of a channel")?);
        tell(&inbox, &self.answers).await?;
        let worker = Worker { process, inbox, job: None, unseen: Some(place) };
        self.crew.insert(name.clone(), worker);
        Ok(self.give(&name).await?)
    }

    /// Gives a worker its next job, if there is one.
    async fn give(&mut self, name: &str) -> Result<(), killick_client::Error> {
        let Some(worker) = self.crew.get_mut(name) else { return Ok(()) };
        worker.job = self.jobs.pop_front();
        match worker.job {
            Some(job) => tell(&worker.inbox, job.to_string()).await,
            None => Ok(()),
        }
    }

    /// Which workers there are is different.
    async fn saw(&mut self, change: &Change) -> Result<(), Box<dyn Error>> {
        let children = &change.children;
        for (name, _) in &children.added {
            if let Some(worker) = self.crew.get_mut(name) {
                worker.unseen.take();
            }
        }
        for name in children.emptied.iter().chain(&children.removed) {
            if let Some(worker) = self.crew.remove(name) {
                println!("worker {name} has gone, with its inbox; somebody else gets its job");
                self.lost.push(name.clone());
                self.jobs.extend(worker.job);
                self.start().await?;
            }
        }
        Ok(())
    }

    /// A worker has done a job. Whoever does the middle one is killed while it does the next.
    async fn answered(&mut self, answer: &str) -> Result<(), Box<dyn Error>> {
        let mut words = answer.split(' ');
        let name = words.next().ok_or("no name")?;
        let job = words.next().ok_or("no job")?.parse()?;
        let is_first = self.squares.insert(job, words.next().ok_or("no square")?.parse()?);
        self.give(name).await?;
        if is_first.is_none()
            && self.squares.len() == JOBS / 2
            && let Some(worker) = self.crew.get(name)
        {
            let pid = worker.process.status().await?.pid;
            println!("worker {name} is killed (SIGKILL), and the server is not told");
            kill_process(Pid::from_raw(pid.cast_signed()).ok_or("no process")?, Signal::KILL)?;
        }
        Ok(())
    }

    /// Closes the inboxes, at which the workers end.
    async fn end(self) -> Result<Outcome, killick_client::Error> {
        let Pool { crew, squares, lost, started, .. } = self;
        let mut codes = Vec::new();
        for (name, worker) in crew {
            worker.inbox.close().await?;
            codes.push(worker.process.wait().await?);
            println!("worker {name} has read the end, and ends");
        }
        Ok(Outcome { squares, lost, started, codes, left: (0, 0) })
    }
}

/// Sends to a worker that may have died: the watch tells of that.
async fn tell(inbox: &SendCloser, what: impl IntoValue) -> Result<(), killick_client::Error> {
    match inbox.send(what).await {
        Err(killick_client::Error::NoReceivers { .. }) => Ok(()),
        sent => sent,
    }
}

/// How many nodes and processes there are more than `before`. Nodes go a moment after the connections that
/// kept them.
async fn left(client: &Client, before: (u64, u32)) -> Result<(u64, u32), killick_client::Error> {
    let mut left = (0, 0);
    for _ in 0..500 {
        let now = client.info().await?;
        left = (now.nodes.saturating_sub(before.0), now.processes.saturating_sub(before.1));
        if left == (0, 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(left)
}

/// What a worker does: in its process, on the connection that it was given.
pub async fn work() -> Result<(), Box<dyn Error>> {
    let name = std::env::var(NAME)?;
    let client = Client::from_env(Options::default(), None).await?;
    let chan = client.new_chan(4).await?;
    let inbox = chan.recver().with_timeout(None);
    // Bound: it goes with this process, however that ends.
    let end = chan.send_closer().into_value().map(Value::bound);
    client.store_at("inbox", end, false).await?;
    drop(chan);

    let answers = inbox.recv().await?.value.and_then(|value| value.capability());
    let answers = Sender::adopt(&client.host().await?, answers.ok_or("no end of a channel")?);
    loop {
        let job = match inbox.recv().await {
            Err(killick_client::Error::Closed { .. }) => return Ok(()),
            received => received?,
        };
        let number: u64 = job.text().ok_or("no text")?.parse()?;
        tokio::time::sleep(Duration::from_millis(5)).await; // hard work
        answers.send(format!("{name} {number} {}", number * number)).await?;
    }
}

fn main() -> ExitCode {
    // This program is the launcher of its own server, too.
    if let Some(code) = killick_server::launch() {
        return code;
    }
    match run_here() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pool: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "local")]
async fn run_here() -> Result<(), Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(WORK) {
        return work().await;
    }
    let name = this.to_str().ok_or("this program's path is no text")?;
    let mut program = Command::new(name);
    program.arg(WORK);
    if let Some(address) = argument {
        return run(&address.parse()?, &program).await.map(drop);
    }
    let folder = tempfile::tempdir()?;
    let address = Address::Unix(folder.path().join("killick.sock"));
    let allow_exec = vec![name.parse()?];
    let (listen, launcher) = (vec![address.clone()], Some(this.clone()));
    let server = Server::start(Config { listen, allow_exec, launcher, ..Config::default() })?;
    let ran = run(&address, &program).await;
    server.stop();
    ran.map(drop)
}
