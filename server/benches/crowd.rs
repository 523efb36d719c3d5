//! What a client feels of others that take much: the times of its calls while they come, stay and go, and
//! the memory of the server.
//!
//! `cargo bench -p killick-server --bench crowd -- --help` says how. Run by `cargo test`, it tries each for a
//! moment.

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use capnp::traits::HasTypeId;
use hdrhistogram::Histogram;
use killick_client::Address;
use killick_schema::api::anchor_capnp::anchor;
use support::{Peer, Put, put};

const HELP: &str = "\
A server of one thread in a process of its own, and a witness: one call at a time, a value read by its path.
Meanwhile others come, stay and go:

  unread    one client asks 20,000 times for a value of 1 KB, and never reads
  idle      5,000 connections that have asked for their anchor, and for nothing since
  children  one client holds 1,000,000 children of one node
  paths     one client walks 1,000 times to a path of 1,000,000 components, and is refused

Shown are the times of the witness's calls, in microseconds, and the server's resident memory; '× quiet' is
the 99th percentile beside that of the time before anybody came.

Usage: cargo bench -p killick-server --bench crowd -- [OPTIONS] [NAME]...

      --seconds S         how long each state lasts [default: 2]
      --scale F           as many of everything times F [default: 1]
      --check             a moment of each (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const NAMES: [&str; 4] = ["unread", "idle", "children", "paths"];

struct Options {
    names: Vec<String>,
    seconds: f64,
    scale: f64,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { names: Vec::new(), seconds: 2.0, scale: 1.0 };
    let (mut measures, mut arguments) = (false, env::args().skip(1));
    while let Some(argument) = arguments.next() {
        let mut number = || match arguments.next().map(|value| value.parse::<f64>()) {
            Some(Ok(value)) if value > 0.0 => Ok(value),
            _ => Err(format!("{argument} needs a number above 0")),
        };
        match argument.as_str() {
            "--seconds" => options.seconds = number()?,
            "--scale" => options.scale = number()?,
            "--bench" => measures = true,
            "--check" => measures = false,
            "-h" | "--help" => return Ok(None),
            name if NAMES.contains(&name) => options.names.push(name.to_owned()),
            _ => return Err(format!("unknown option {argument}")),
        }
        if argument == "--check" {
            break;
        }
    }
    if !measures {
        options = Options { seconds: 0.02, scale: 0.002, ..options };
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    match options() {
        Ok(Some(options)) => {
            println!(
                "{:>9}  {:>6}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
                "others", "", "count", "p50", "p99", "× quiet", "max", "MiB"
            );
            let wanted =
                |name: &&str| options.names.is_empty() || options.names.iter().any(|n| n == name);
            NAMES.iter().filter(|name| wanted(name)).for_each(|name| measure(&options, name));
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

/// A server in a process of its own.
struct Server {
    process: Child,
    socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let mut process = Command::new(env!("CARGO_BIN_EXE_killick"))
            .args(["serve", "--threads", "1", "--log", "off", "--max-connections", "10000"])
            .args(["--max-children", "2000000", "--max-nodes", "2000000"])
            .args(["--max-capabilities", "2000000", "--max-connection-nodes", "4000000"])
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
        Server { process, socket, _folder: folder }
    }

    fn resident(&self) -> f64 {
        let path = format!("/proc/{}/statm", self.process.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
        pages.unwrap_or(f64::NAN) * rustix::param::page_size() as f64
    }

    fn address(&self) -> Address {
        Address::Unix(self.socket.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What goes on, in the order in which it does.
const STATES: [&str; 4] = ["quiet", "come", "stay", "go"];

/// The times of the witness's calls in each state, which `state` tells; ends after the last.
fn witness(address: &Address, state: &AtomicUsize) -> Vec<Histogram<u64>> {
    block_on(async {
        let peer = Peer::connect(address).await;
        put(&peer, "value/of/the/witness", Put::text(&"x".repeat(1000))).await;
        let mut times: Vec<_> =
            STATES.iter().map(|_| Histogram::new(3).expect("a histogram")).collect();
        loop {
            let now = state.load(Ordering::Relaxed);
            let Some(times) = times.get_mut(now) else { break };
            let start = Instant::now();
            let mut walk = peer.anchor().walk_request();
            walk.get().set_path("value/of/the/witness");
            let loader = walk.send().pipeline.get_anchor().cell_request().send();
            let load = loader.pipeline.get_loader().load_request().send();
            load.promise.await.expect("an answer");
            times.record(start.elapsed().as_nanos() as u64).expect("a time");
        }
        times
    })
}

fn block_on<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), body)
}

fn measure(options: &Options, name: &str) {
    let (server, state) = (Server::start(), AtomicUsize::new(0));
    let span = Duration::from_secs_f64(options.seconds);
    let mut memory = Vec::new();
    let count = count(name, options.scale);
    let traffic = traffic(name, count);
    let times = thread::scope(|scope| {
        let watching = scope.spawn(|| witness(&server.address(), &state));
        let mut next = |at: usize| {
            memory.push(server.resident());
            state.store(at, Ordering::Relaxed);
        };
        thread::sleep(span);
        next(1);
        let others = come(name, &server, count, &traffic);
        next(2);
        thread::sleep(span);
        next(3);
        drop(others);
        thread::sleep(span);
        next(4);
        watching.join().expect("the witness")
    });
    let quiet = times[0].value_at_quantile(0.99) as f64;
    for ((state, times), memory) in STATES.iter().zip(&times).zip(&memory) {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let p99 = times.value_at_quantile(0.99);
        println!(
            "{name:>9}  {state:>6}  {:>9}  {:>9.1}  {:>9.1}  {:>9.2}  {:>9.1}  {:>9.1}",
            times.len(),
            micros(times.value_at_quantile(0.5)),
            micros(p99),
            p99 as f64 / quiet,
            micros(times.max()),
            memory / f64::from(1 << 20),
        );
    }
    let each = (memory[1] - memory[0]) / f64::from(count);
    println!("{name:>9}  {count} of them: {each:.0} bytes each");
}

/// How many come.
fn count(name: &str, scale: f64) -> u32 {
    let all = match name {
        "unread" => 20_000,
        "idle" => 5_000,
        "children" => 1_000_000,
        _ => 1_000,
    };
    ((f64::from(all) * scale) as u32).max(1)
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket).expect("connected")
}

/// Walks from the bootstrap capability, whose question is 0.
fn walk(question: u32, path: &str) -> Vec<u8> {
    support::pipelined_call(question, (0, None), (anchor::Client::TYPE_ID, 1), |payload| {
        payload.init_content().init_as::<anchor::walk_params::Builder<'_>>().set_path(path);
    })
}

/// Says of a question that its answer is not needed, but what came in it is.
fn keep(question: u32) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
    let mut finish = root.init_finish();
    finish.set_question_id(question);
    finish.set_release_result_caps(false);
    capnp::serialize::write_message_to_words(&message)
}

/// What one of the others sends, in parts, and for how many answers it waits after each.
type Traffic = Vec<(Rc<[u8]>, u32)>;

/// What the others send that are one: made before they come, so that they take no more of the processor than
/// they must.
fn traffic(name: &str, count: u32) -> Traffic {
    match name {
        "unread" => vec![(support::load_messages("value/of/the/witness", count).into(), 0)],
        "children" => {
            let first = [support::bootstrap_messages(1), walk(1, "crowd")].concat();
            let mut traffic = vec![(first.into(), 2)];
            let numbers: Vec<_> = (0..count).collect();
            let mut before = 0..0;
            for numbers in numbers.chunks(64) {
                // Only here: a call that is done with before it is answered is given up.
                let mut messages: Vec<u8> = before.flat_map(keep).collect();
                let asks = |number: &u32| walk(number + 2, &format!("crowd/{number}"));
                messages.extend(numbers.iter().flat_map(asks));
                traffic.push((messages.into(), numbers.len() as u32));
                before = numbers[0] + 2..numbers[0] + 2 + numbers.len() as u32;
            }
            traffic.push((before.flat_map(keep).collect(), 0));
            traffic
        }
        "paths" => {
            let path = "a/".repeat(1_000_000);
            let first = [support::bootstrap_messages(1), walk(1, &path)].concat();
            let next: Rc<[u8]> = [keep(1), walk(1, &path)].concat().into();
            let rest = (1..count).map(|_| (next.clone(), 1));
            iter::once((first.into(), 2)).chain(rest).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads an answer, and does not look at it but for the lengths of its segments.
fn pass(reader: &mut impl Read) {
    let mut number = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).expect("an answer");
        u32::from_le_bytes(bytes)
    };
    let segments = number() + 1;
    let words: u32 = (0..segments).map(|_| number()).sum();
    // The table ends with a word.
    let rest = 8 * u64::from(words) + 4 * u64::from((segments + 1) % 2);
    assert_eq!(io::copy(&mut reader.take(rest), &mut io::sink()).expect("an answer"), rest);
}

/// Brings the others in, until they have what they want.
fn come(name: &str, server: &Server, count: u32, traffic: &Traffic) -> Vec<UnixStream> {
    if name == "idle" {
        return (0..count).map(|_| idle(&server.socket)).collect();
    }
    let mut stream = connect(&server.socket);
    if name == "unread" {
        // The server stops to read.
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("an option");
    }
    let reading = stream.try_clone().expect("the same socket");
    let mut reader = BufReader::with_capacity(1 << 16, reading);
    for (messages, answers) in traffic {
        if stream.write_all(messages).is_err() {
            break;
        }
        (0..*answers).for_each(|_| pass(&mut reader));
    }
    vec![stream]
}

/// A connection that has asked for its anchor.
fn idle(socket: &Path) -> UnixStream {
    let mut stream = connect(socket);
    stream.write_all(&support::bootstrap_messages(1)).expect("written");
    let mut answer = [0; 64];
    assert!(stream.read(&mut answer).expect("read") > 0);
    stream.write_all(&keep(0)).expect("written");
    stream
}
