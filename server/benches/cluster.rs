//! What it costs that a host is another one: calls at this host and at another, directly and through this one;
//! small calls beside large ones; how soon hosts know of each other; and what each other host takes.
//!
//! `cargo bench -p killick-server --bench cluster -- --help` says how. Run by `cargo test`, it tries each for a
//! moment.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use killick_client::{Address, Client, Options as ClientOptions};
use tokio::runtime::{Builder, LocalOptions};

const HELP: &str = "\
Servers of one thread in processes of their own, on loopback, and clients over Unix sockets:

  calls  a value of 64 bytes, loaded by a client of one thread: from the near host, from the far one
         directly, and from the far one through the near one; 1 and 64 calls at a time. 'load' has the
         cell already, 'walk+load' goes by the path
  beside such a load every 2 ms, through the near host, whether or not others are answered: with nothing
         else, and while another client stores values of 1 MiB at the far host through the near one, and
         loads them
  hosts  two are there, the others of --hosts join at once, one more joins, and one is killed: the time until
         each knows; and what each host more takes of the seed, with a connection for calls to each

Times are in microseconds, but where it says milliseconds.

Usage: cargo bench -p killick-server --bench cluster -- [OPTIONS] [NAME]...

      --seconds S         how long each is tried [default: 3]
      --hosts N           how many join at once [default: 20]
      --large N           how many large calls at a time [default: 1]
      --quick             some seconds for everything
      --check             a moment of each (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const NAMES: [&str; 3] = ["calls", "beside", "hosts"];

/// How often a small call is made beside large ones.
const PERIOD: Duration = Duration::from_millis(2);
const LARGE: usize = 1 << 20;
/// How often a host is asked whom it knows.
const LOOK: Duration = Duration::from_millis(10);
/// How long hosts may take to know.
const PATIENCE: Duration = Duration::from_secs(60);

type Done<T = ()> = Result<T, Box<dyn Error>>;

struct Options {
    names: Vec<String>,
    seconds: f64,
    hosts: usize,
    large: usize,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { names: Vec::new(), seconds: 3.0, hosts: 20, large: 1 };
    let (mut measures, mut arguments) = (false, env::args().skip(1));
    while let Some(argument) = arguments.next() {
        let mut number = || match arguments.next().map(|value| value.parse::<f64>()) {
            Some(Ok(value)) if value > 0.0 => Ok(value),
            _ => Err(format!("{argument} needs a number above 0")),
        };
        match argument.as_str() {
            "--seconds" => options.seconds = number()?,
            "--hosts" => options.hosts = (number()? as usize).max(3),
            "--large" => options.large = (number()? as usize).max(1),
            "--quick" => options = Options { seconds: 0.3, hosts: 5, ..options },
            "--bench" => measures = true,
            "--check" => {
                measures = false;
                break;
            }
            "-h" | "--help" => return Ok(None),
            name if NAMES.contains(&name) => options.names.push(name.to_owned()),
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    if !measures {
        options = Options { seconds: 0.02, hosts: 3, ..options };
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match block_on(measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(future)
}

async fn measure(options: &Options) -> Done {
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|n| n == name);
    let time = Duration::from_secs_f64(options.seconds);
    if wanted("calls") || wanted("beside") {
        let pair = Pair::start().await?;
        if wanted("calls") {
            calls(&pair, time).await?;
        }
        if wanted("beside") {
            beside(&pair, time, options.large).await?;
        }
    }
    if wanted("hosts") {
        hosts(options.hosts).await?;
    }
    Ok(())
}

/// A folder with the secret of a cluster.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn new() -> Done<Self> {
        let folder = tempfile::tempdir()?;
        let made = Command::new(env!("CARGO_BIN_EXE_killick"))
            .args(["secret", "--out"])
            .arg(folder.path().join("secret"))
            .stdout(Stdio::null())
            .status()?;
        match made.success() {
            true => Ok(Cluster(folder)),
            false => Err("no secret was made".into()),
        }
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A host of this cluster, which joins whoever is at `seed`. It may not have begun to listen.
    fn start(&self, number: usize, seed: Option<&str>) -> Done<Host> {
        let address = Address::Unix(self.folder().join(format!("{number}.socket")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
        command
            .args(["serve", "--threads", "1", "--log", "off", "--cluster", "bench"])
            .args(["--max-value-bytes", "2000000"])
            .args(["--listen", &address.to_string(), "--listen-cluster", "127.0.0.1:0"])
            .arg("--cluster-secret")
            .arg(self.folder().join("secret"))
            .stdout(Stdio::piped());
        if let Some(seed) = seed {
            command.args(["--join", seed]);
        }
        Ok(Host { process: command.spawn()?, address })
    }
}

/// A host in a process of its own, which is killed when this is dropped.
struct Host {
    process: Child,
    address: Address,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Host {
    /// A client, as soon as the host listens.
    async fn client(&mut self) -> Done<Client> {
        if let Some(output) = self.process.stdout.take() {
            BufReader::new(output).read_line(&mut String::new())?;
        }
        connect(&self.address).await
    }

    fn resident(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.process.id()));
        let text = text.unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
        pages.unwrap_or(f64::NAN) * rustix::param::page_size() as f64
    }

    fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        open.map_or(0, Iterator::count)
    }
}

async fn connect(address: &Address) -> Done<Client> {
    Ok(Client::connect(address, ClientOptions::default()).await?)
}

/// Where other hosts reach the one that `client` is connected to, and its name, as soon as it knows.
async fn place(client: &Client) -> Done<(String, String)> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let hosts = client.hosts().await?;
        match hosts.iter().find(|host| host.is_self && !host.cluster.is_empty()) {
            Some(this) => return Ok((this.cluster.clone(), this.name())),
            None => tokio::time::sleep(LOOK).await,
        }
    }
    Err(format!("a host does not know itself within {PATIENCE:?}").into())
}

/// How many hosts the one that `client` is connected to knows to be there.
async fn there(client: &Client) -> Done<usize> {
    Ok(client.hosts().await?.iter().filter(|host| host.state.is_there()).count())
}

/// Waits until a host knows of so many: how long that took.
async fn until_there(client: &Client, count: usize, since: Instant) -> Done<Duration> {
    while there(client).await? != count {
        if since.elapsed() > PATIENCE {
            return Err(format!("a host does not know of {count} within {PATIENCE:?}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(since.elapsed())
}

/// Two hosts, each with a value of 64 bytes at the path `a/value`.
struct Pair {
    near: Address,
    far: Address,
    /// The far host's.
    name: String,
    _hosts: [Host; 2],
    _cluster: Cluster,
}

impl Pair {
    async fn start() -> Done<Self> {
        let cluster = Cluster::new()?;
        let mut near = cluster.start(0, None)?;
        let client = near.client().await?;
        let (seed, _) = place(&client).await?;
        let mut far = cluster.start(1, Some(&seed))?;
        let its = far.client().await?;
        let (_, name) = place(&its).await?;
        let begin = Instant::now();
        for one in [&client, &its] {
            until_there(one, 2, begin).await?;
            one.store_at("a/value", &[7; 64][..], true).await?;
        }
        let addresses = (near.address.clone(), far.address.clone());
        let _hosts = [near, far];
        Ok(Pair { near: addresses.0, far: addresses.1, name, _hosts, _cluster: cluster })
    }

    fn far_path(&self, path: &str) -> String {
        format!("/{}/{path}", self.name)
    }
}

/// How long calls took, in microseconds.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        Times(Histogram::new_with_max(60_000_000, 3).expect("valid bounds"))
    }

    fn add(&mut self, time: Duration) {
        self.0.saturating_record(time.as_micros().try_into().unwrap_or(u64::MAX));
    }

    fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }
}

fn row(cells: &[&dyn Display]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.to_string()).collect();
    let (first, rest) = cells.split_first().expect("a cell");
    let rest: String = rest.iter().map(|cell| format!(" {cell:>11}")).collect();
    println!("{first:<34}{rest}");
}

async fn calls(pair: &Pair, time: Duration) -> Done {
    row(&[&"a value of 64 bytes", &"p50", &"p99", &"1: a second", &"64: a second"]);
    let (near, far) = (connect(&pair.near).await?, connect(&pair.far).await?);
    let ways = [
        ("near", &near, "a/value".to_owned()),
        ("far, directly", &far, "a/value".to_owned()),
        ("far, through near", &near, pair.far_path("a/value")),
    ];
    for what in ["load", "walk+load"] {
        for (way, client, path) in &ways {
            let (loader, _) = client.walk(path).await?.cell();
            let call = async || match what {
                "load" => loader.load().await,
                _ => client.load_at(path).await,
            };
            let mut rates = Vec::new();
            let mut times = Times::new();
            for at_a_time in [1, 64] {
                let one = async || {
                    let begin = Instant::now();
                    call().await.map(|_| begin.elapsed())
                };
                let (begin, mut count) = (Instant::now(), 0_u32);
                let mut running: FuturesUnordered<_> = (0..at_a_time).map(|_| one()).collect();
                while let Some(took) = running.next().await {
                    let took = took?;
                    count += 1;
                    if at_a_time == 1 {
                        times.add(took);
                    }
                    if begin.elapsed() < time {
                        running.push(one());
                    }
                }
                rates.push(format!("{:.0}", f64::from(count) / begin.elapsed().as_secs_f64()));
            }
            let name = format!("{what}: {way}");
            row(&[&name, &times.at(0.5), &times.at(0.99), &rates[0], &rates[1]]);
        }
    }
    Ok(())
}

async fn beside(pair: &Pair, time: Duration, large: usize) -> Done {
    println!();
    row(&[&"a small load every 2 ms", &"p50", &"p99", &"max", &"large MiB/s"]);
    let near = connect(&pair.near).await?;
    let (loader, _) = near.walk(pair.far_path("a/value")).await?.cell();
    for beside in ["nothing", "stores of 1 MiB", "loads of 1 MiB"] {
        let crowd = match beside {
            "nothing" => None,
            _ => Some(Crowd::start(pair, beside.starts_with("stores"), large)),
        };
        // Its connections and its first calls do not count.
        tokio::time::sleep(time / 5).await;
        let (begin, before) = (Instant::now(), crowd.as_ref().map_or(0, Crowd::count));
        let mut times = Times::new();
        let load = async |begin: Instant| loader.load().await.map(|_| begin.elapsed());
        let mut running = FuturesUnordered::new();
        let mut due = tokio::time::interval(PERIOD);
        while begin.elapsed() < time {
            tokio::select! {
                _ = due.tick() => running.push(load(Instant::now())),
                Some(took) = running.next() => times.add(took?),
            }
        }
        let count = crowd.as_ref().map_or(0, Crowd::count) - before;
        let rate =
            (count * LARGE as u64) as f64 / f64::from(1 << 20) / begin.elapsed().as_secs_f64();
        while let Some(took) = running.next().await {
            times.add(took?);
        }
        if let Some(crowd) = crowd {
            crowd.stop()?;
        }
        let (rate, max) = (format!("{rate:.0}"), times.0.max());
        row(&[&beside, &times.at(0.5), &times.at(0.99), &max, &rate]);
    }
    Ok(())
}

/// A client that makes large calls, on a thread of its own.
struct Crowd {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<(), String>>,
}

impl Crowd {
    fn start(pair: &Pair, stores: bool, at_a_time: usize) -> Self {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (count.clone(), stop.clone());
        let (near, path) = (pair.near.clone(), pair.far_path("a/large"));
        let thread = thread::spawn(move || {
            let work = async {
                let client = connect(&near).await?;
                let (loader, storer) = client.walk(&path).await?.cell();
                let value = vec![7; LARGE];
                storer.store(&value[..], true).await?;
                let one = async || {
                    while !stopped.load(Ordering::Relaxed) {
                        match stores {
                            true => drop(storer.store(&value[..], true).await?),
                            false => drop(loader.load().await?),
                        }
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Done::Ok(())
                };
                join_all((0..at_a_time).map(|_| one())).await.into_iter().collect::<Done>()
            };
            block_on(work).map_err(|error| error.to_string())
        });
        Crowd { count, stop, thread }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "a panic")??)
    }
}

/// When the first and the last of them knew.
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let millis = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
    row(&[
        &what,
        &millis(times.first()),
        &millis(times.get(times.len() / 2)),
        &millis(times.last()),
    ]);
}

async fn hosts(count: usize) -> Done {
    println!();
    row(&[&format!("{count} hosts, milliseconds"), &"first", &"median", &"last"]);
    let cluster = Cluster::new()?;
    let mut seed = cluster.start(0, None)?;
    let first = seed.client().await?;
    let (address, _) = place(&first).await?;
    // What the first other host takes is what any takes.
    let mut second = cluster.start(1, Some(&address))?;
    let its = second.client().await?;
    until_there(&first, 2, Instant::now()).await?;
    first.load_at(format!("/{}/a", place(&its).await?.1)).await?;
    let before = (seed.resident(), seed.descriptors());

    let begin = Instant::now();
    let mut hosts = vec![seed, second];
    for number in 2..count {
        hosts.push(cluster.start(number, Some(&address))?);
    }
    let mut clients = vec![first, its];
    let mut listening = Vec::new();
    for host in &mut hosts[2..] {
        clients.push(host.client().await?);
        listening.push(begin.elapsed());
    }
    show("processes started, listening", listening);
    let all = join_all(clients.iter().map(|client| until_there(client, count, begin))).await;
    show("all started: each knows all", all.into_iter().collect::<Done<_>>()?);

    let mut more = cluster.start(count, Some(&address))?;
    let its = more.client().await?;
    let begin = Instant::now();
    let asks = || clients.iter().chain([&its]);
    let all = join_all(asks().map(|client| until_there(client, count + 1, begin))).await;
    show("one more listens: each knows it", all.into_iter().collect::<Done<_>>()?);

    let known = (hosts[0].resident(), hosts[0].descriptors());
    for host in clients[0].hosts().await? {
        clients[0].load_at(format!("/{}/a", host.name())).await?;
    }
    let called = (hosts[0].resident(), hosts[0].descriptors());

    let begin = Instant::now();
    drop(more);
    let all = join_all(clients.iter().map(|client| until_there(client, count, begin))).await;
    show("one killed: each knows", all.into_iter().collect::<Done<_>>()?);

    println!();
    row(&[&"the seed, for each host more", &"KiB", &"descriptors"]);
    let each = |now: (f64, usize)| {
        let others = (count - 1) as f64;
        let kib = format!("{:.0}", (now.0 - before.0) / 1024.0 / others);
        (kib, format!("{:.2}", (now.1 as f64 - before.1 as f64) / others))
    };
    for (what, now) in [("known", known), ("and with a connection for calls", called)] {
        let (kib, descriptors) = each(now);
        row(&[&what, &kib, &descriptors]);
    }
    Ok(())
}
