//! What a call costs that one client makes on what another one hosts, with both on one thread of the
//! server and on two.
//!
//! `cargo bench -p killick-server --bench forward -- --help` says how. Run by `cargo test`, it makes a
//! few calls and measures nothing.

use std::env;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use capnp::capability::FromClientHook;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::io::{BufReader, BufWriter};
use futures::{AsyncReadExt, StreamExt};
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use killick_schema::api::host_capnp::host;
use killick_server::{Address, Config, Server};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

const HELP: &str = "\
Two clients of a server, all in this process. One hosts a capability, the other calls it through the
server, --in-flight at a time. Shown are the time of a call, and the processor time of all three for it:
the clients do the same in both rows, so the difference is the server's.

Usage: cargo bench -p killick-server --bench forward -- [OPTIONS]

      --in-flight N[,N]   calls under way at a time [default: 1,16,64]
      --rounds N          how often one and two threads take turns [default: 5]
      --seconds S         how long each is measured [default: 1]
      --check             make a few calls (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

struct Options {
    in_flight: Vec<usize>,
    rounds: usize,
    seconds: f64,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { in_flight: vec![1, 16, 64], rounds: 5, seconds: 1.0 };
    let mut measures = false;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let bad = |what| move |error| format!("{what}: {error}");
        match argument.as_str() {
            "--in-flight" => {
                let counts = value()?;
                let counts = counts.split(',').map(str::parse);
                options.in_flight =
                    counts.collect::<Result<_, _>>().map_err(|error| format!("{error}"))?;
            }
            "--rounds" => options.rounds = value()?.parse().map_err(bad("--rounds"))?,
            "--seconds" => {
                options.seconds =
                    value()?.parse().map_err(|error| format!("--seconds: {error}"))?;
            }
            "--bench" => measures = true,
            "--check" => {
                return Ok(Some(Options { in_flight: vec![4], rounds: 1, seconds: 0.01 }));
            }
            "-h" | "--help" => return Ok(None),
            _ => return Err(format!("unknown option {argument}")),
        }
    }
    if !measures {
        options = Options { in_flight: vec![4], rounds: 1, seconds: 0.01 };
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    match options() {
        Ok(Some(options)) => {
            println!("{:>9}  {:>7}  {:>9}  {:>9}", "in flight", "threads", "µs", "cpu µs");
            for &in_flight in &options.in_flight {
                compare(&options, in_flight);
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

/// Shows the medians of both, and what lies between them.
fn compare(options: &Options, in_flight: usize) {
    let mut both = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for (threads, costs) in (1..).zip(&mut both) {
            costs.push(measure(threads, in_flight, Duration::from_secs_f64(options.seconds)));
        }
    }
    let medians = both.map(|costs| {
        let median = |of: fn(&Cost) -> f64| {
            let mut values: Vec<_> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Cost { wall: median(|cost| cost.wall), cpu: median(|cost| cost.cpu) }
    });
    for (threads, cost) in (1..).zip(&medians) {
        let Cost { wall, cpu } = cost;
        println!("{in_flight:>9}  {threads:>7}  {wall:>9.2}  {cpu:>9.2}");
    }
    let [one, two] = medians;
    let (wall, cpu) = (two.wall - one.wall, two.cpu - one.cpu);
    println!("{in_flight:>9}  {:>7}  {wall:>+9.2}  {cpu:>+9.2}", "differ");
}

/// Of one call, in microseconds.
struct Cost {
    wall: f64,
    cpu: f64,
}

struct Answers;

impl loader::Server for Answers {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        results.get().set_revision(1);
        Ok(())
    }
}

fn connect(stream: UnixStream) -> anchor::Client {
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
    host.cast_to()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), future)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure(threads: usize, in_flight: usize, duration: Duration) -> Cost {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let mut config = Config::for_test([Address::Unix(path.clone())]);
    config.threads = NonZeroUsize::new(threads).expect("some");
    let server = Server::start(config).expect("started");
    let (ready, hosting) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let host_path = path.clone();
    let hosting_thread = thread::spawn(move || {
        block_on(async {
            let host = connect(UnixStream::connect(host_path).await.expect("connected"));
            let mut walk = host.walk_request();
            walk.get().set_path("hosted");
            let storer = walk.send().pipeline.get_anchor().cell_request().send();
            let mut store = storer.pipeline.get_storer().store_request();
            let answers: loader::Client = capnp_rpc::new_client(Answers);
            store.get().init_value().set_as_capability(answers.into_client_hook());
            store.send().promise.await.expect("stored");
            ready.send(()).expect("waited for");
            let _ = stopped.await;
        });
    });
    let cost = block_on(async {
        hosting.await.expect("hosted");
        let host = connect(UnixStream::connect(path).await.expect("connected"));
        let mut walk = host.walk_request();
        walk.get().set_path("hosted");
        let anchor: anchor::Client = walk.send().pipeline.get_anchor();
        let held = anchor.cell_request().send().pipeline.get_loader();
        let loaded = held.load_request().send().promise.await.expect("loaded");
        let value = loaded.get().expect("results").get_value();
        let hosted: loader::Client = value.get_as_capability().expect("a capability");
        let calls = async |until: Instant| {
            let mut done = 0_u64;
            let mut calls = futures::stream::FuturesUnordered::new();
            loop {
                while calls.len() < in_flight && Instant::now() < until {
                    calls.push(hosted.load_request().send().promise);
                }
                match calls.next().await {
                    Some(answer) => {
                        answer.expect("answered");
                        done += 1;
                    }
                    None => return done,
                }
            }
        };
        calls(Instant::now() + duration / 5).await;
        let (start, before) = (Instant::now(), cpu());
        let done = calls(start + duration).await as f64;
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / done;
        Cost { wall: micros(start.elapsed()), cpu: micros(cpu() - before) }
    });
    stop.send(()).expect("waited for");
    hosting_thread.join().expect("ended");
    server.stop();
    cost
}
