//! Hosts of one cluster: real processes, each with a socket, a key, a log and metrics of its own, and clients
//! of them.
//!
//! Each cluster is at addresses of its own among those of the loopback device, so that neither other tests
//! nor whatever else runs here has them, and a host that starts again finds its own free.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use killick_client::{Client, Member, MemberState, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tempfile::TempDir;

/// The longest that anything here takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The cluster of all tests.
pub(crate) const CLUSTER: &str = "c1";

/// Where each host listens for the others, at an address of its own.
const PORT: u16 = 7300;

/// Held by each test that runs: by all of them together, or by one that wants the machine to itself.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs the body of a test.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    block_on(test)
}

/// Runs the body of a test that takes so much of the machine that no other one runs meanwhile.
pub(crate) fn run_alone<T>(test: impl Future<Output = T>) -> T {
    let _whole = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    block_on(test)
}

/// Runs a future on a runtime of its own.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime.block_on(test)
}

/// Waits until something is the case, not for ever: how long that took.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

/// Tells what was measured, and checks that it is no more than a busy machine may make of what it should be.
pub(crate) fn measured(what: &str, took: Duration, goal: Duration) {
    println!("measured: {what}: {:.2} s", took.as_secs_f64());
    assert!(took <= goal * 3, "{what}: {took:?}, and not {goal:?}");
}

/// The program, without anything of the environment that it reads.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KILLICK_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

/// Runs the program in `folder`, to its end: what it says, if it succeeds, and what it complains of if not.
pub(crate) fn cli<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Result<String, String> {
    let arguments = arguments.iter().map(AsRef::as_ref);
    let ran = program().current_dir(folder).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.expect("to run the program");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    match ran.status.success() {
        true => Ok(text(ran.stdout)),
        false => Err(text(ran.stderr)),
    }
}

/// A process that serves.
struct Running {
    process: Child,
    /// Open for as long as it runs: it may say more.
    _said: BufReader<std::process::ChildStdout>,
    metrics: SocketAddr,
    /// Where it listens with TLS, if it does.
    tls: Option<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A host, which runs or does not.
pub(crate) struct Host {
    /// Its key, its socket and its log are there.
    pub(crate) folder: PathBuf,
    /// Where the others reach it.
    pub(crate) at: SocketAddr,
    /// What it is started with, besides its own addresses.
    pub(crate) arguments: Vec<String>,
    /// What its environment has besides that of the test.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    /// The cluster that it takes part in.
    pub(crate) cluster: &'static str,
    /// What it shows the others.
    pub(crate) proof: Vec<String>,
    /// The network namespace that it lives in, if not that of the test.
    pub(crate) space: Option<String>,
    /// Where its log goes, if not into its folder.
    pub(crate) log: Option<PathBuf>,
    /// How much goes there.
    pub(crate) level: &'static str,
    /// What paths call it; known when it has been started.
    name: String,
    running: Option<Running>,
}

impl Host {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn runs(&self) -> bool {
        self.running.is_some()
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("k.sock")
    }

    /// A path at this host.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("/{}/{path}", self.name)
    }

    /// What starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        if let Some(space) = &self.space {
            let program = command.get_program().to_owned();
            command = Command::new("ip");
            command.args(["netns", "exec", space]).arg(program);
        }
        let listen = format!("unix:{}", self.socket().display());
        command.args(["serve", "--threads", "2", "--log", self.level, "--cluster", self.cluster]);
        command.args(["--listen", &listen, "--metrics", "127.0.0.1:0"]);
        command.args(["--listen-cluster", &self.at.to_string()]);
        command.args(&self.proof).args(&self.arguments);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn launch(&mut self) {
        assert!(!self.runs(), "it runs already");
        let log = self.log.clone().unwrap_or_else(|| self.folder.join("log"));
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().expect("to start a host");
        let mut said = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines: Vec<String> = Vec::new();
        // The last line is that of the cluster.
        while lines.last().is_none_or(|line| !line.is_empty() && !line.starts_with("host ")) {
            let mut line = String::new();
            let _ = said.read_line(&mut line);
            lines.push(line);
        }
        let find = |start: &str| lines.iter().find_map(|line| line.strip_prefix(start));
        let name = find("host ").and_then(|rest| rest.split(' ').next());
        let metrics = find("metrics at http://").and_then(|rest| rest.split('/').next());
        let metrics = metrics.and_then(|at| at.parse().ok());
        let tls = find("listening on tls:").map(|at| format!("tls:{}", at.trim()));
        let (Some(name), Some(metrics)) = (name, metrics) else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("it does not serve: {lines:?}, {}", self.tail());
        };
        self.name = name.to_owned();
        self.running = Some(Running { process, _said: said, metrics, tls });
    }

    /// Starts it where it cannot: what it complains of.
    pub(crate) fn refuses(&self) -> String {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().expect("to start a host");
        let mut running = Stopped(process);
        let mut said = String::new();
        running.0.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
        let mut complained = String::new();
        running.0.stderr.take().expect("a pipe").read_to_string(&mut complained).expect("text");
        let status = running.0.wait().expect("its end");
        assert!(!status.success() && said.is_empty(), "it serves: {said} {complained}");
        complained
    }

    fn process(&self) -> &Child {
        &self.running.as_ref().expect("it runs").process
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process()), signal).expect("to send a signal");
    }

    /// Ends it at once: it can tell nobody.
    pub(crate) fn kill(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// The memory that it takes, in bytes, and its share of what all of them have together.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process().id()));
        let text = text.expect("a process");
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = pss.and_then(|pss| pss.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("a number of KiB") * 1024.0
    }

    /// How many sockets it has open: all together, and of those the ones for UDP.
    pub(crate) fn sockets(&self) -> (usize, usize) {
        let process = format!("/proc/{}", self.process().id());
        let files = fs::read_dir(format!("{process}/fd")).expect("a process");
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let inode = |link: PathBuf| {
            let link = link.to_str()?;
            link.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        };
        let all: Vec<_> = links.filter_map(inode).collect();
        let tables =
            ["udp", "udp6"].map(|name| fs::read_to_string(format!("{process}/net/{name}")));
        let udp: String = tables.into_iter().flatten().collect();
        let of_udp: BTreeSet<_> =
            udp.lines().filter_map(|line| line.split_whitespace().nth(9)).collect();
        let count = all.iter().filter(|inode| of_udp.contains(inode.as_str())).count();
        (all.len(), count)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("it runs");
        let mut status = None;
        eventually("its end", async || {
            status = running.process.try_wait().expect("to wait for it");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// A client of it, with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let address = format!("unix:{}", self.socket().display());
        let options = Options { timeout: Some(PATIENCE), ..Options::default() };
        Client::connect(&address.parse().expect("an address"), options).await.expect("a client")
    }

    /// Where clients with a key reach it, if it listens for them.
    pub(crate) fn tls(&self) -> &str {
        let running = self.running.as_ref().expect("it runs");
        running.tls.as_deref().expect("it listens with TLS")
    }

    /// Runs a command as one of its clients: what it says, or complains of.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let address = format!("unix:{}", self.socket().display());
        let all = [&["--connect", &address, "--timeout", "60s"][..], arguments].concat();
        cli(&self.folder, &all)
    }

    /// Starts a command as one of its clients.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let address = format!("unix:{}", self.socket().display());
        let mut command = program();
        command.args(["--connect", &address, "--timeout", "60s"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("to run the program")
    }

    /// Runs a command to its end: its exit code, what it says, and what it complains of.
    pub(crate) fn ran(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let ran = self.begin(arguments).wait_with_output().expect("its end");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    }

    /// What a command says that is to succeed, a document for each line.
    pub(crate) fn told(&self, arguments: &[&str]) -> Vec<Json> {
        let said = self.run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().map(|line| format!("\n    {line}")).collect()
    }

    /// What it counts, by name and labels.
    pub(crate) fn samples(&self) -> HashMap<String, f64> {
        let at = self.running.as_ref().expect("it runs").metrics;
        let space = self.space.clone();
        // In a thread of its own, as that goes into the namespace.
        let read = std::thread::spawn(move || {
            if let Some(space) = space {
                super::namespaces::enter(&space);
            }
            let mut stream = TcpStream::connect(at).expect("connected");
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").expect("written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("read");
            answer
        });
        let answer = read.join().expect("metrics");
        let lines = answer.lines().filter_map(|line| line.rsplit_once(' '));
        lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }
}

/// A process that is killed when it is forgotten.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hosts of one cluster. They are killed when this is dropped.
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<Host>,
    folder: TempDir,
}

impl std::ops::Deref for Hosts {
    type Target = [Host];

    fn deref(&self) -> &[Host] {
        &self.hosts
    }
}

impl std::ops::DerefMut for Hosts {
    fn deref_mut(&mut self) -> &mut [Host] {
        &mut self.hosts
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in &self.hosts {
                eprintln!("log of {} {}:{}", host.name, host.at, host.tail());
            }
        }
    }
}

/// Addresses that nobody else has, most likely.
fn addresses(count: usize) -> Vec<SocketAddr> {
    let random = RandomState::new().hash_one(());
    let [one, two, ..] = random.to_le_bytes();
    let address = |number| Ipv4Addr::new(127, one | 1, two, number);
    (1..=count as u8).map(|number| SocketAddr::new(address(number).into(), PORT)).collect()
}

impl Hosts {
    /// As many hosts with one secret, each of which knows where the others are. None is started.
    pub(crate) fn new(count: usize) -> Self {
        Hosts::at(&addresses(count))
    }

    /// The same at these addresses.
    pub(crate) fn at(addresses: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        cli(folder.path(), &["secret", "--out", "secret"]).expect("a secret");
        let seeds: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let host = |(number, at): (usize, &SocketAddr)| {
            let own = folder.path().join(number.to_string());
            fs::create_dir(&own).expect("a folder");
            let file = |path: PathBuf| path.display().to_string();
            let secret = file(folder.path().join("secret"));
            let key = file(own.join("key"));
            let proof = ["--cluster-secret", &secret, "--host-key", &key].map(str::to_owned);
            Host {
                folder: own,
                at: *at,
                arguments: ["--join".to_owned(), seeds.join(",")].into(),
                environment: Vec::new(),
                cluster: CLUSTER,
                proof: proof.into(),
                space: None,
                log: None,
                level: "debug",
                name: String::new(),
                running: None,
            }
        };
        let hosts = addresses.iter().enumerate().map(host).collect();
        Hosts { hosts, folder }
    }

    /// As many that have been started, and know each other.
    pub(crate) async fn start(count: usize) -> Self {
        let mut hosts = Hosts::new(count);
        hosts.launch();
        hosts.whole().await;
        hosts
    }

    /// Starts them all.
    pub(crate) fn launch(&mut self) {
        self.hosts.iter_mut().for_each(Host::launch);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The names of those that run, as `ls /` has them.
    pub(crate) fn names(&self) -> Vec<String> {
        let running = self.iter().filter(|host| host.runs());
        running.map(|host| host.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Waits until each that runs sees those and no others, and knows what they tell of themselves: how long that
    /// took.
    pub(crate) async fn whole(&self) -> Duration {
        let names = self.names();
        let start = Instant::now();
        for host in self.iter().filter(|host| host.runs()) {
            let client = host.client().await;
            eventually("the membership is whole", async || sees(&client, &names).await).await;
        }
        start.elapsed()
    }

    /// Waits until no host keeps anything that nobody has any more: no nodes but the root, no more than one
    /// connection to another host, nothing held over those, and nothing kept for others.
    pub(crate) async fn calm(&self) {
        for host in self.iter().filter(|host| host.runs()) {
            let client = host.client().await;
            let mut left = String::new();
            let calm = async {
                eventually("nothing is left", async || {
                    left = remains(host, &client).await;
                    left.is_empty()
                })
                .await
            };
            let calm = tokio::time::timeout(PATIENCE / 2, calm).await;
            assert!(calm.is_ok(), "{} keeps {left}", host.name);
        }
    }
}

/// What a host has that it should not have without clients; nothing if all is well.
async fn remains(host: &Host, client: &Client) -> String {
    let mut left = Vec::new();
    let samples = host.samples();
    let clients = client.clients().await.expect("clients");
    let peers: Vec<_> = clients.iter().filter(|client| is_host(&client.peer)).collect();
    let of: BTreeSet<_> = peers.iter().map(|peer| &peer.peer).collect();
    if of.len() != peers.len() || clients.len() != peers.len() + 1 {
        left.push(format!("connections {:?}", clients.iter().map(|client| &client.peer)));
    }
    for (name, most) in [
        ("killick_nodes", 1),
        ("killick_values", 0),
        ("killick_channels", 0),
        ("killick_watches", 0),
        ("killick_connections", clients.len()),
        // What each connection between hosts begins with, and what this client has.
        ("killick_handles", peers.len() + 1),
        ("killick_hosted", 0),
    ] {
        if samples[name] > most as f64 {
            left.push(format!("{name} {}", samples[name]));
        }
    }
    let slots: f64 = samples
        .iter()
        .filter(|(name, _)| name.starts_with("killick_bridge_slots"))
        .map(|(_, n)| n)
        .sum();
    if slots > peers.len() as f64 {
        left.push(format!("slots {slots}"));
    }
    left.join(", ")
}

/// Whether a connection is one to another host, by what it is called.
pub(crate) fn is_host(peer: &str) -> bool {
    peer.starts_with("host ")
}

/// What a host knows of the others and of itself.
pub(crate) async fn members(client: &Client) -> BTreeMap<String, Member> {
    let members = client.hosts().await.expect("hosts");
    members.into_iter().map(|member| (member.name(), member)).collect()
}

/// What a host knows of the presence of another.
pub(crate) async fn state(client: &Client, name: &str) -> Option<MemberState> {
    members(client).await.get(name).map(|member| member.state)
}

/// Whether a host sees these others and no more, and knows what they tell of themselves.
pub(crate) async fn sees(client: &Client, names: &[String]) -> bool {
    let listed = client.names_at("/").await.expect("ls /");
    let members = members(client).await;
    let there = members.values().filter(|member| member.state.is_there());
    let known = |member: &Member| !member.hostname.is_empty() && member.state == MemberState::Up;
    listed == names
        && there.clone().map(Member::name).eq(names.iter().cloned())
        && there.clone().all(known)
}

/// Writes a file that only its user reads.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}
