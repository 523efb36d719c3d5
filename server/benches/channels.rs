//! Messages through many channels between two clients: throughput and latency, beside lists of Redis and
//! channels within one process.
//!
//! `cargo bench -p killick-server --bench channels -- --help` says how. Run by `cargo test`, it sends a few
//! messages and measures nothing.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use killick_client::{Address, Client, Options as ClientOptions, Recver, Sender};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

const HELP: &str = "\
One client sends into many channels in turn, another one receives from them, each on a thread of its own and
over a connection of its own to a server of one thread. A message is 8 bytes: when it was sent. No more than
--in-flight are sent and not received at a time.

  killick    send and recv, of channels that hold 16 values
  redis      LPUSH and BRPOP, one list for each channel; left out if there is no redis-server
  crossbeam  crossbeam-channel, bounded to 16, between two threads of this process: no server, no wire

Shown are messages a second, the time from before the send to after the receive in microseconds, and the
server's processor time for one message.

Usage: cargo bench -p killick-server --bench channels -- [OPTIONS] [NAME]...

      --channels N        how many channels [default: 1000]
      --messages N        how many messages [default: 1000000]
      --in-flight N[,N]   messages under way at a time [default: 1,64]
      --check             a few of each (also what happens without --bench, which cargo bench passes)
  -h, --help              this text
";

const NAMES: [&str; 3] = ["killick", "redis", "crossbeam"];

/// How many values a channel holds.
const CAPACITY: u32 = 16;

struct Options {
    names: Vec<String>,
    channels: u64,
    messages: u64,
    in_flight: Vec<u64>,
}

fn options() -> Result<Option<Options>, String> {
    let in_flight = vec![1, 64];
    let mut options =
        Options { names: Vec::new(), channels: 1_000, messages: 1_000_000, in_flight };
    let (mut measures, mut arguments) = (false, env::args().skip(1));
    while let Some(argument) = arguments.next() {
        let mut numbers = || -> Result<Vec<u64>, String> {
            let value = arguments.next().ok_or(format!("{argument} needs a value"))?;
            let numbers: Result<Vec<u64>, _> = value.split(',').map(str::parse).collect();
            match numbers {
                Ok(numbers) if !numbers.contains(&0) => Ok(numbers),
                _ => Err(format!("{argument}: numbers above 0, not {value}")),
            }
        };
        match argument.as_str() {
            "--channels" => options.channels = numbers()?[0],
            "--messages" => options.messages = numbers()?[0],
            "--in-flight" => options.in_flight = numbers()?,
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
        options = Options { channels: 10, messages: 500, in_flight: vec![4], ..options };
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
    let titles = ["in flight", "", "messages/s", "p50", "p99", "max", "cpu µs"];
    println!("{}", titles.map(|title| format!("{title:>10}")).join("  "));
    for &in_flight in &options.in_flight {
        for name in NAMES {
            if !options.names.is_empty() && !options.names.iter().any(|wanted| wanted == name) {
                continue;
            }
            let load = Load { channels: options.channels, messages: options.messages, in_flight };
            let measured = match name {
                "killick" => killick(load),
                "redis" => match redis(load) {
                    Some(measured) => measured,
                    None => {
                        println!("{in_flight:>10}  {name:>10}  (no redis-server here)");
                        continue;
                    }
                },
                _ => crossbeam(load),
            };
            show(load, name, &measured);
        }
    }
    ExitCode::SUCCESS
}

/// What is sent: message `n` goes through channel `n % channels`.
#[derive(Clone, Copy)]
struct Load {
    channels: u64,
    messages: u64,
    in_flight: u64,
}

struct Measured {
    wall: Duration,
    /// In nanoseconds, of each message.
    times: Histogram<u64>,
    /// Of the server.
    cpu: Option<Duration>,
}

fn show(load: Load, name: &str, measured: &Measured) {
    let rate = load.messages as f64 / measured.wall.as_secs_f64();
    let micros = |nanos: u64| format!("{:>10.1}", nanos as f64 / 1e3);
    let times = &measured.times;
    let times =
        [times.value_at_quantile(0.5), times.value_at_quantile(0.99), times.max()].map(micros);
    let cpu = match measured.cpu {
        Some(cpu) => format!("{:>10.2}", cpu.as_secs_f64() * 1e6 / load.messages as f64),
        None => format!("{:>10}", "–"),
    };
    let in_flight = load.in_flight;
    println!("{in_flight:>10}  {name:>10}  {rate:>10.0}  {}  {cpu}", times.join("  "));
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

/// When a message was sent, by the clock of both threads.
fn stamp(epoch: Instant) -> [u8; 8] {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).to_le_bytes()
}

/// How long ago that was, in nanoseconds.
fn age(epoch: Instant, stamp: &[u8]) -> u64 {
    let sent = u64::from_le_bytes(stamp.try_into().expect("a stamp of ours"));
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX) - sent
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), future)
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn killick(load: Load) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let address = Address::Unix(folder.path().join("socket"));
    let mut server = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(["serve", "--threads", "1", "--log", "warn", "--listen", &address.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut line = String::new();
    let said = server.stdout.take().expect("piped");
    let _server = Process(server);
    BufReader::new(said).read_line(&mut line).expect("a line");
    let epoch = Instant::now();
    let window = Arc::new(Semaphore::new(load.in_flight as usize));
    let (ready, made) = std::sync::mpsc::channel();
    let (there, wide) = (address.clone(), window.clone());
    let receiving =
        thread::spawn(move || block_on(killick_receives(load, &there, epoch, wide, ready)));
    made.recv().expect("made");
    let wall = Instant::now();
    let sending = thread::spawn(move || block_on(killick_sends(load, &address, epoch, window)));
    let (times, cpu) = receiving.join().expect("received");
    let wall = wall.elapsed();
    sending.join().expect("sent");
    Measured { wall, times, cpu: Some(cpu) }
}

async fn killick_cpu(client: &Client) -> Duration {
    client.info().await.expect("info").cpu_time
}

async fn killick_receives(
    load: Load,
    address: &Address,
    epoch: Instant,
    window: Arc<Semaphore>,
    ready: std::sync::mpsc::Sender<()>,
) -> (Histogram<u64>, Duration) {
    let client = Client::connect(address, ClientOptions::default()).await.expect("connected");
    let mut recvers: Vec<Recver> = Vec::new();
    for number in 0..load.channels {
        let chan = client.new_chan(CAPACITY).await.expect("made");
        let path = format!("channels/{number}");
        client.store_at(path, &chan.sender(), true).await.expect("stored");
        recvers.push(chan.recver().with_timeout(None));
    }
    let before = killick_cpu(&client).await;
    ready.send(()).expect("waited for");
    let mut times = histogram();
    let mut waiting = JoinSet::new();
    let mut next = 0;
    while next < load.messages || !waiting.is_empty() {
        while next < load.messages && (waiting.len() as u64) < load.in_flight {
            let recver = recvers[(next % load.channels) as usize].clone();
            waiting.spawn_local(async move { recver.recv().await });
            next += 1;
        }
        let received = waiting.join_next().await.expect("some").expect("no panic");
        let value = received.expect("received").value.expect("a stamp");
        times.record(age(epoch, value.data().expect("data"))).expect("in range");
        window.add_permits(1);
    }
    (times, killick_cpu(&client).await - before)
}

async fn killick_sends(load: Load, address: &Address, epoch: Instant, window: Arc<Semaphore>) {
    let client = Client::connect(address, ClientOptions::default()).await.expect("connected");
    let host = client.host().await.expect("connected");
    let mut senders = Vec::new();
    for number in 0..load.channels {
        let loaded = client.load_at(format!("channels/{number}")).await.expect("loaded");
        let end = loaded.value.and_then(|value| value.capability()).expect("an end");
        senders.push(Rc::new(Sender::adopt(&host, end).with_timeout(None)));
    }
    let mut waiting = JoinSet::new();
    for number in 0..load.messages {
        window.acquire().await.expect("open").forget();
        let sender = senders[(number % load.channels) as usize].clone();
        waiting.spawn_local(async move { sender.send(&stamp(epoch)[..]).await });
        while let Some(sent) = waiting.try_join_next() {
            sent.expect("no panic").expect("sent");
        }
    }
    while let Some(sent) = waiting.join_next().await {
        sent.expect("no panic").expect("sent");
    }
}

/// `None` if there is no Redis.
fn redis(load: Load) -> Option<Measured> {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--io-threads", "1"])
        .arg("--unixsocket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let _server = Process(server);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    let epoch = Instant::now();
    let window = Arc::new(Semaphore::new(load.in_flight as usize));
    let before = block_on(redis_cpu(&socket));
    let wall = Instant::now();
    let (there, wide) = (socket.clone(), window.clone());
    let receiving = thread::spawn(move || block_on(redis_receives(load, &there, epoch, wide)));
    let there = socket.clone();
    let sending = thread::spawn(move || block_on(redis_sends(load, &there, epoch, window)));
    let times = receiving.join().expect("received");
    let wall = wall.elapsed();
    sending.join().expect("sent");
    Some(Measured { wall, times, cpu: Some(block_on(redis_cpu(&socket)) - before) })
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

async fn redis_cpu(socket: &Path) -> Duration {
    let stream = UnixStream::connect(socket).await.expect("connected");
    let mut stream = tokio::io::BufReader::new(stream);
    stream.write_all(&command(&[b"INFO", b"cpu"])).await.expect("written");
    let (mut seconds, mut found) = (0.0, 0);
    while found < 2 {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a line");
        for name in ["used_cpu_sys:", "used_cpu_user:"] {
            if let Some(number) = line.trim().strip_prefix(name) {
                seconds += number.parse::<f64>().expect("a number");
                found += 1;
            }
        }
    }
    Duration::from_secs_f64(seconds)
}

async fn redis_receives(
    load: Load,
    socket: &Path,
    epoch: Instant,
    window: Arc<Semaphore>,
) -> Histogram<u64> {
    let (answers, mut asks) = UnixStream::connect(socket).await.expect("connected").into_split();
    let mut answers = tokio::io::BufReader::new(answers);
    let ask = |number: u64| {
        command(&[b"BRPOP", format!("list{}", number % load.channels).as_bytes(), b"0"])
    };
    let first = (0..load.in_flight.min(load.messages)).flat_map(ask).collect::<Vec<_>>();
    asks.write_all(&first).await.expect("written");
    let mut times = histogram();
    for number in 0..load.messages {
        // *2, the name of the list in two lines, the length of the value, the value.
        let mut line = Vec::new();
        for _ in 0..4 {
            line.clear();
            answers.read_until(b'\n', &mut line).await.expect("a line");
        }
        let mut value = [0; 10];
        answers.read_exact(&mut value).await.expect("a value");
        times.record(age(epoch, &value[..8])).expect("in range");
        window.add_permits(1);
        if number + load.in_flight < load.messages {
            asks.write_all(&ask(number + load.in_flight)).await.expect("written");
        }
    }
    times
}

async fn redis_sends(load: Load, socket: &Path, epoch: Instant, window: Arc<Semaphore>) {
    let (answers, mut asks) = UnixStream::connect(socket).await.expect("connected").into_split();
    let answered = tokio::task::spawn_local(async move {
        let mut answers = tokio::io::BufReader::new(answers);
        let mut line = String::new();
        for _ in 0..load.messages {
            line.clear();
            answers.read_line(&mut line).await.expect("a line");
            assert!(line.starts_with(':'), "{line}");
        }
    });
    let mut bytes = Vec::new();
    let mut number = 0;
    while number < load.messages {
        window.acquire().await.expect("open").forget();
        // As many as there is room for, in one write.
        loop {
            let list = format!("list{}", number % load.channels);
            bytes.extend(command(&[b"LPUSH", list.as_bytes(), &stamp(epoch)]));
            number += 1;
            match window.try_acquire() {
                Ok(room) if number < load.messages => room.forget(),
                _ => break,
            }
        }
        asks.write_all(&bytes).await.expect("written");
        bytes.clear();
    }
    answered.await.expect("answered");
}

fn crossbeam(load: Load) -> Measured {
    let epoch = Instant::now();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..load.channels)
        .map(|_| crossbeam_channel::bounded::<[u8; 8]>(CAPACITY as usize))
        .unzip();
    let received = Arc::new(AtomicU64::new(0));
    let so_far = received.clone();
    let sending = thread::spawn(move || {
        for number in 0..load.messages {
            while number - so_far.load(Ordering::Acquire) >= load.in_flight {
                thread::yield_now();
            }
            senders[(number % load.channels) as usize].send(stamp(epoch)).expect("sent");
        }
    });
    let (wall, mut times) = (Instant::now(), histogram());
    for number in 0..load.messages {
        let stamp = receivers[(number % load.channels) as usize].recv().expect("received");
        times.record(age(epoch, &stamp)).expect("in range");
        received.store(number + 1, Ordering::Release);
    }
    let wall = wall.elapsed();
    sending.join().expect("sent");
    Measured { wall, times, cpu: None }
}
