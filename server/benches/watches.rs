//! How long it takes until watchers know of a store, and what the store costs its caller, by how many
//! watch the cell.
//!
//! `cargo bench -p killick-server --bench watches -- --help` says how. Run by `cargo test`, it makes a few
//! calls and measures nothing.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use capnp::capability::FromClientHook;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::io::{BufReader, BufWriter};
use futures::{AsyncReadExt, StreamExt};
use hdrhistogram::Histogram;
use killick_schema::api::anchor_capnp::anchor::{self, storer, watch};
use killick_schema::api::host_capnp::host;
use killick_server::{Address, Config, Server};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

const HELP: &str = "\
A server on a Unix socket and its clients, all in this process. One stores into a cell, by one store after
the other, and others watch it. Shown, in microseconds, are
  told   from just before a store is sent until its watcher, or the last of them, knows
  store  from then until the store is answered
The first rows are of one thread with two connections, one that stores and one that watches. In the
others the watchers have a thread and connections of their own, and each store waits until all of them
wait again.

Usage: cargo bench -p killick-server --bench watches -- [OPTIONS]

      --watchers N[,N]    watchers of one cell [default: 0,1,10000]
      --connections N     of which they are [default: 8]
      --stores N          stores for each row [default: 300]
      --threads N         threads of the server [default: 2]
      --check             store a few times (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

struct Options {
    watchers: Vec<usize>,
    connections: usize,
    stores: usize,
    threads: NonZeroUsize,
}

/// Enough to see that it works.
fn check() -> Options {
    let threads = NonZeroUsize::MIN.saturating_add(1);
    Options { watchers: vec![0, 1, 20], connections: 3, stores: 3, threads }
}

fn options() -> Result<Option<Options>, String> {
    let mut options =
        Options { watchers: vec![0, 1, 10_000], connections: 8, stores: 300, ..check() };
    let mut measures = false;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|error| format!("{argument}: {error}"));
        match argument.as_str() {
            "--watchers" => {
                let counts = value()?;
                let counts = counts.split(',').map(|count| number(count.to_owned()));
                options.watchers = counts.collect::<Result<_, _>>()?;
            }
            "--connections" => options.connections = number(value()?)?.max(1),
            "--stores" => options.stores = number(value()?)?,
            "--threads" => {
                let threads = NonZeroUsize::new(number(value()?)?);
                options.threads = threads.ok_or("--threads: at least one")?;
            }
            "--bench" => measures = true,
            "--check" => return Ok(Some(check())),
            "-h" | "--help" => return Ok(None),
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    Ok(Some(if measures { options } else { check() }))
}

fn main() -> ExitCode {
    match options() {
        Ok(Some(options)) => {
            let Options { watchers, connections, stores, threads } = options;
            println!("{:>9}  {:>6}  {:>9}  {:>9}  {:>9}", "watchers", "", "p50", "p99", "max");
            let server = Running::start(threads, watchers.iter().copied().max().unwrap_or(0));
            let [told, stored] = beside_each_other(server.socket(), 10 * stores);
            show("1, alone", "told", &told);
            show("", "store", &stored);
            for &watchers in &watchers {
                let [told, stored] = crowd(server.socket(), watchers, connections, stores);
                let label = watchers.to_string();
                if watchers > 0 {
                    show(&label, "told", &told);
                }
                show(if watchers > 0 { "" } else { &label }, "store", &stored);
            }
            ExitCode::SUCCESS
        }
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Nanoseconds.
type Times = Histogram<u64>;

fn times() -> Times {
    Times::new(3).expect("a precision that there is")
}

fn record(times: &mut Times, since: Instant) {
    times.record(since.elapsed().as_nanos() as u64).expect("a size that grows");
}

fn show(watchers: &str, what: &str, times: &Times) {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let [p50, p99] = [0.5, 0.99].map(|quantile| micros(times.value_at_quantile(quantile)));
    let max = micros(times.max());
    println!("{watchers:>9}  {what:>6}  {p50:>9.1}  {p99:>9.1}  {max:>9.1}");
}

struct Running {
    server: Option<Server>,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(threads: NonZeroUsize, watchers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = vec![Address::Unix(folder.path().join("socket"))];
        let mut config = Config { listen, threads, ..Config::default() };
        // However few connections they are asked for on, and calls beside.
        config.max_watches = config.max_watches.max(watchers);
        config.max_calls = config.max_calls.max(2 * watchers);
        let server = Some(Server::start(config).expect("started"));
        Running { server, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.take().expect("one").stop();
    }
}

async fn connect(socket: &Path) -> host::Client {
    let stream = UnixStream::connect(socket).await.expect("connected");
    let (read, write) = stream.compat().split();
    let network = twoparty::VatNetwork::new(
        BufReader::new(read),
        BufWriter::new(write),
        Side::Client,
        Default::default(),
    );
    let mut rpc = RpcSystem::new(Box::new(network), None);
    let host: host::Client = rpc.bootstrap(Side::Server);
    tokio::task::spawn_local(rpc);
    host
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), future)
}

/// The anchor that is watched.
fn watched(host: &host::Client) -> anchor::Client {
    let anchor: anchor::Client = host.clone().cast_to();
    let mut walk = anchor.walk_request();
    walk.get().set_path("watched");
    walk.send().pipeline.get_anchor()
}

fn storer(host: &host::Client) -> storer::Client {
    watched(host).cell_request().send().pipeline.get_storer()
}

async fn store(storer: &storer::Client, number: usize) {
    let mut request = storer.store_request();
    request.get().set_overwrite(true);
    let text = format!("value {number}");
    request.get().init_value().set_as(text.as_str()).expect("room in the message");
    let stored = request.send().promise.await.expect("answered");
    assert!(stored.get().expect("results").get_succeeded());
}

/// The number of the next change, when it is told.
async fn next(watch: &watch::Client, after: u64) -> capnp::Result<u64> {
    let mut request = watch.next_request();
    request.get().set_after(after);
    Ok(request.send().promise.await?.get()?.get_change()?.get_sequence())
}

/// One thread with a connection that stores and one that watches: until the watcher is told, and until
/// the store is answered.
fn beside_each_other(socket: PathBuf, stores: usize) -> [Times; 2] {
    block_on(async {
        let storer = storer(&connect(&socket).await);
        let watcher = connect(&socket).await;
        let watch = watched(&watcher).watch_request().send().pipeline.get_watch();
        let mut after = next(&watch, 0).await.expect("told");
        let (mut told, mut stored) = (times(), times());
        let warm_up = stores / 10 + 1;
        for number in 0..warm_up + stores {
            let waiting = next(&watch, after);
            let start = Instant::now();
            let (next, ()) = tokio::join!(
                async {
                    let next = waiting.await.expect("told");
                    if number >= warm_up {
                        record(&mut told, start);
                    }
                    next
                },
                async {
                    store(&storer, number).await;
                    if number >= warm_up {
                        record(&mut stored, start);
                    }
                }
            );
            after = next;
        }
        [told, stored]
    })
}

/// The watchers, in a thread of their own.
struct Crowd {
    count: usize,
    told: Arc<AtomicUsize>,
    /// When the last was told.
    all: mpsc::Receiver<Instant>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Crowd {
    fn start(socket: PathBuf, count: usize, connections: usize) -> Self {
        let told = Arc::new(AtomicUsize::new(0));
        let (tell, all) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let counted = told.clone();
        let thread = thread::spawn(move || {
            block_on(async {
                let mut watches = futures::stream::FuturesUnordered::new();
                for number in 0..count.min(connections) {
                    let host = connect(&socket).await;
                    let anchor = watched(&host);
                    for _ in (number..count).step_by(connections) {
                        let watch = anchor.watch_request().send().pipeline.get_watch();
                        let (told, tell) = (counted.clone(), tell.clone());
                        watches.push(async move {
                            let mut after = 0;
                            loop {
                                after = next(&watch, after).await.expect("told");
                                if (told.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(count)
                                {
                                    tell.send(Instant::now()).expect("waited for");
                                }
                            }
                        });
                    }
                }
                tokio::select! {
                    Some(()) = watches.next() => {}
                    _ = stopped => {}
                }
            });
        });
        Crowd { count, told, all, stop, thread }
    }

    /// When all know of what was stored last.
    fn all_told(&self) -> Instant {
        self.all.recv().expect("told")
    }

    fn end(self) {
        self.stop.send(()).expect("waited for");
        self.thread.join().expect("ended");
        assert!(self.told.load(Ordering::Relaxed).is_multiple_of(self.count));
    }
}

/// Waits until as many calls wait at the server, besides the one that asks.
async fn all_wait(host: &host::Client, count: usize) {
    loop {
        let answer = host.clients_request().send().promise.await.expect("answered");
        let clients = answer.get().and_then(|results| results.get_clients()).expect("told");
        if clients.iter().map(|client| client.get_running() as usize).sum::<usize>() == count + 1 {
            return;
        }
    }
}

/// Many watchers: until the last is told, and until the store is answered.
fn crowd(socket: PathBuf, watchers: usize, connections: usize, stores: usize) -> [Times; 2] {
    let crowd = (watchers > 0).then(|| Crowd::start(socket.clone(), watchers, connections));
    let times = block_on(async {
        let host = connect(&socket).await;
        let storer = storer(&host);
        let (mut told, mut stored) = (times(), times());
        if let Some(crowd) = &crowd {
            crowd.all_told();
        }
        for number in 0..=stores {
            all_wait(&host, watchers).await;
            let start = Instant::now();
            store(&storer, number).await;
            if number > 0 {
                record(&mut stored, start);
            }
            if let Some(crowd) = &crowd {
                let nanos = crowd.all_told().duration_since(start).as_nanos() as u64;
                if number > 0 {
                    told.record(nanos).expect("a size that grows");
                }
            }
        }
        [told, stored]
    });
    if let Some(crowd) = crowd {
        crowd.end();
    }
    times
}
