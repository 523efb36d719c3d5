//! What processes cost: from the call that starts one to its answer, to the first call of the process itself, and
//! to its end; how many a second; and the memory of the server for one that does nothing.
//!
//! `cargo bench -p killick-server --bench processes`, with `--seconds S` for how long each is tried. Run by
//! `cargo test`, it tries each for a moment.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use killick_client::{Address, Client, Command, Lifetime, Options};
use tokio::runtime::{Builder, LocalOptions};

/// The argument of a process that makes one call and waits for its end.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = seconds.and_then(|at| arguments.get(at + 1)?.parse().ok());
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let time = seconds.unwrap_or(if measures { 2.0 } else { 0.05 });
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default()).expect("a runtime");
    let done = match arguments.first().is_some_and(|argument| argument == CHILD) {
        true => runtime.block_on(child()),
        false => runtime.block_on(measure(Duration::from_secs_f64(time), measures)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

async fn child() -> Done {
    let client = Client::from_env(Options::default(), None).await?;
    client.store_at("ready", "yes", true).await?;
    client.host().await?.disconnected().await;
    Ok(())
}

/// A server in a process of its own.
struct Server {
    process: Child,
    address: Address,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let address = Address::Unix(folder.path().join("socket"));
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_killick"))
            .args(["serve", "--log", "off", "--allow-exec", "*", "--max-processes", "10000"])
            .args(["--listen", &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
        Ok(Server { process, address, _folder: folder })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Times(&'static str, Histogram<u64>);

impl Times {
    fn new(name: &'static str) -> Self {
        Times(name, Histogram::new_with_max(60_000_000, 3).expect("valid bounds"))
    }

    fn add(&mut self, since: Instant) {
        self.1.saturating_record(since.elapsed().as_micros().try_into().unwrap_or(u64::MAX));
    }

    fn show(&self) {
        let at = |quantile| self.1.value_at_quantile(quantile);
        println!("{:<28} {:>9} {:>9} {:>9}", self.0, at(0.5), at(0.99), self.1.len());
    }
}

async fn measure(time: Duration, measures: bool) -> Done {
    let server = Server::start()?;
    let client = Client::connect(&server.address, Options::default()).await?;
    let own = env::current_exe()?.to_str().ok_or("a path in UTF-8")?.to_owned();
    let mut calls = Command::new(own);
    calls.arg(CHILD).lifetime(Lifetime::Connection);
    let nothing = Command::new("/bin/true");

    println!("{:<28} {:>9} {:>9} {:>9}", "microseconds", "p50", "p99", "count");
    let (mut started, mut called) = (Times::new("exec answered"), Times::new("its first call"));
    let (mut ended, until) = (Times::new("/bin/true has ended"), Instant::now() + time);
    let anchor = client.walk("its").await?;
    while Instant::now() < until {
        let begin = Instant::now();
        let process = client.exec(&calls, &anchor).await?;
        started.add(begin);
        client.wait_at("its/ready").await?;
        called.add(begin);
        process.kill().await?;
        let begin = Instant::now();
        client.exec(&nothing, &anchor).await?.wait().await?;
        ended.add(begin);
    }
    [started, called, ended].iter().for_each(Times::show);

    println!("\n{:<28} {:>9}", "at a time", "a second");
    for at_a_time in [1, 8] {
        let one =
            async || Ok::<_, Box<dyn Error>>(client.exec(&nothing, &anchor).await?.wait().await?);
        let (begin, mut count) = (Instant::now(), 0_u32);
        let mut running: FuturesUnordered<_> = (0..at_a_time).map(|_| one()).collect();
        while let Some(ended) = running.next().await {
            ended?;
            count += 1;
            if begin.elapsed() < time {
                running.push(one());
            }
        }
        println!("{at_a_time:<28} {:>9.0}", f64::from(count) / begin.elapsed().as_secs_f64());
    }

    let many = if measures { 200 } else { 5 };
    let before = client.info().await?.resident_bytes;
    let mut processes = Vec::new();
    for number in 0..many {
        let anchor = client.walk(format!("idle/{number}")).await?;
        processes.push(client.exec(&calls, &anchor).await?);
        client.wait_at(format!("idle/{number}/ready")).await?;
    }
    let grown = client.info().await?.resident_bytes.saturating_sub(before);
    println!("\nserver's memory for an idle process: {} bytes of {many}", grown / many);
    for process in processes {
        process.kill().await?;
    }
    Ok(())
}
