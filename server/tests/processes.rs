//! Processes that a server starts, over real sockets: how they begin, what they have, and their ends.

mod support;

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use capnp::capability::FromClientHook;
use killick_client::{
    Address, Allowance, Anchor, Bounds, Client, Command, Denied, Error, Lifetime, Limit, Options,
    Process, ProcessState, Resource, Right, Rights, Stdio,
};
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::process_capnp::command;
use killick_server::Allowed;
use support::{Harness, eventually, run};

/// Tests that count what this process has open, or has for children, run alone.
static TURNS: RwLock<()> = RwLock::new(());

fn among_others() -> impl Drop {
    TURNS.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> impl Drop {
    TURNS.write().unwrap_or_else(PoisonError::into_inner)
}

/// A server that starts every program.
fn harness() -> Harness {
    with(|_| {})
}

fn with(change: impl FnOnce(&mut killick_server::Config)) -> Harness {
    Harness::with(|config| {
        config.allow_exec = vec![Allowed::ALL];
        config.launcher = Some(env!("CARGO_BIN_EXE_killick").into());
        change(config);
    })
}

async fn client(harness: &Harness) -> Client {
    Client::connect(harness.unix(), Options::default()).await.expect("connected")
}

/// A shell that runs `script`.
fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env("PATH", "/usr/bin:/bin");
    command
}

async fn started(client: &Client, command: &Command) -> Process {
    let anchor = client.walk("its").await.expect("an anchor");
    client.exec(command, &anchor).await.expect("started")
}

async fn not_started(client: &Client, command: &Command) -> String {
    let anchor = client.walk("its").await.expect("an anchor");
    match client.exec(command, &anchor).await {
        Err(Error::NotStarted { message }) => message,
        other => panic!("{other:?}"),
    }
}

/// All that a process writes to stdout.
async fn output(process: &Process) -> String {
    let (stdout, mut all) = (process.stdout().await.expect("piped"), Vec::new());
    loop {
        let more = stdout.read(0).await.expect("read");
        if more.is_empty() {
            return String::from_utf8(all).expect("text");
        }
        all.extend(more);
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that nobody has reaped is dead.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
        && !stat.is_empty()
}

/// What this process, of which the server is a part, has open and has for children.
fn open_and_children() -> (usize, usize) {
    let own = std::process::id();
    let open = std::fs::read_dir("/proc/self/fd").expect("listed").count();
    let is_child = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        parent == Some(&own.to_string())
    };
    let all = std::fs::read_dir("/proc").expect("listed").flatten();
    (open, all.filter(is_child).count())
}

#[test]
fn a_process_has_its_arguments_environment_folder_and_streams_and_nothing_else() {
    let _turn = among_others();
    let harness = harness();
    // What the server has open and did not mean to hand on.
    let left_open = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    run(async {
        let client = client(&harness).await;
        let mut command = Command::new("/bin/sh");
        let script = "echo \"$0 $1\"; env | sort; pwd; cat; echo no >&2; ls /proc/self/fd; exit 3";
        command.args(["-c", script, "zero", "a b"]).env("PATH", "/usr/bin:/bin").env("X", "y=z");
        command.current_dir("/usr").stdin(Stdio::Piped).stdout(Stdio::Piped).stderr(Stdio::Piped);
        let process = started(&client, &command).await;
        let status = process.status().await.unwrap();
        assert_eq!((status.state, &*status.program), (ProcessState::Running, "/bin/sh"));
        assert!(is_alive(status.pid));
        let stdin = process.stdin().await.unwrap();
        stdin.write(b"hello\n").await.unwrap();
        stdin.close().await.unwrap();
        let twice = stdin.close().await.unwrap_err();
        assert!(twice.to_string().contains("closed already"), "{twice}");
        let lines = output(&process).await;
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[0], "zero a b");
        let descriptor = lines.iter().find_map(|line| line.strip_prefix("KILLICK_FD="));
        let descriptor = descriptor.expect("a connection");
        // The shell itself sets PWD and its like.
        let folder = lines.iter().position(|line| *line == "/usr").expect("its folder");
        for line in &lines[1..folder] {
            let name = line.split('=').next().unwrap();
            let known = ["KILLICK_FD", "PATH", "X", "PWD", "OLDPWD", "SHLVL", "_"];
            assert!(known.contains(&name), "{line}");
        }
        assert!(lines.contains(&"X=y=z") && lines.contains(&"/usr") && lines.contains(&"hello"));
        // Its three streams, its connection, and the folder that 'ls' itself reads.
        let open = &lines[lines.iter().position(|line| *line == "hello").unwrap() + 1..];
        assert_eq!(open.len(), 5, "{open:?}");
        assert!(open.contains(&descriptor));
        assert_eq!(process.stderr().await.unwrap().read(0).await.unwrap(), b"no\n");
        assert_eq!(process.wait().await.unwrap(), 3);
        assert_eq!(process.wait().await.unwrap(), 3, "and again");
        assert_eq!(process.status().await.unwrap().state, ProcessState::Exited(3));
        let ended = process.kill().await.unwrap_err();
        assert!(matches!(&ended, Error::Ended { message } if message.ends_with("with code 3")));
        assert!(matches!(process.signal(15).await.unwrap_err(), Error::Ended { .. }));

        let process = started(&client, &sh("sleep 60")).await;
        let null = process.stdout().await.unwrap_err();
        assert_eq!(null.to_string(), "stdout of the process is not piped");
        for number in [0, 32, 12345] {
            let error = process.signal(number).await.unwrap_err();
            assert_eq!(error.to_string(), format!("{number} is no signal"));
        }
        process.signal(15).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 128 + 15);
        assert_eq!(process.status().await.unwrap().state, ProcessState::Signalled(15));

        // One for real time.
        let process = started(&client, &sh("sleep 60")).await;
        process.signal(35).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 128 + 35);
        assert_eq!(process.status().await.unwrap().state, ProcessState::Signalled(35));
    });
}

#[test]
fn what_cannot_be_started_is_told_with_the_reason() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "text").unwrap();
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        let spelled = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let large = "x".repeat(100_000);
        let mut argument = sh("true");
        argument.arg("a\0b");
        let mut name = sh("true");
        name.env("A=B", "");
        let mut value = sh("true");
        value.env("A", "\0");
        let mut ours = sh("true");
        ours.env("KILLICK_FD", "7");
        let mut relative = sh("true");
        relative.current_dir("x");
        let mut nowhere = sh("true");
        nowhere.current_dir("/no/such/folder");
        let mut much = sh("true");
        for number in 0..30 {
            much.env(format!("V{number}"), &large);
        }
        // With the first one come the server's means to start others.
        started(&client, &sh("true")).await.wait().await.unwrap();
        let gone = async || client.info().await.unwrap().connections == 1;
        eventually("the first to go", gone).await;
        let before = open_and_children();
        for (command, words) in [
            (Command::new("/no/such/program"), "no such file"),
            (Command::new("no-such-program"), "in the server's PATH"),
            (Command::new("bin/sh"), "neither an absolute path"),
            (Command::new("/usr"), "is a folder"),
            (Command::new(spelled(&text)), "not executable"),
            (Command::new(spelled(&broken)), "interpreter"),
            (argument, "argument 3 has a zero byte"),
            (name, "'A=B' is no name of a variable"),
            (value, "variable A has a zero byte"),
            (ours, "KILLICK_FD is the server's to set"),
            (relative, "'x' is no absolute path"),
            (nowhere, "/no/such/folder: No such file"),
            (much, "larger than the system takes"),
        ] {
            let message = not_started(&client, &command).await;
            assert!(message.starts_with("cannot start '") && message.contains(words), "{message}");
        }
        eventually("nothing to be left", async || open_and_children() == before).await;
        assert_eq!(client.info().await.unwrap().processes, 0);
    });
}

#[test]
fn only_who_may_starts_what_is_allowed() {
    let _turn = among_others();
    let harness = with(|config| config.allow_exec = vec!["/usr/bin/".parse().unwrap()]);
    run(async {
        let client = client(&harness).await;
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        std::fs::copy("/bin/true", &mine).unwrap();
        let refused = not_started(&client, &Command::new(mine.to_str().unwrap())).await;
        assert!(refused.contains("does not start") && refused.ends_with("(allow-exec)"));
        started(&client, &Command::new("true")).await.wait().await.unwrap();

        let anchor = client.walk("its").await.unwrap();
        let exec = async |by: &Anchor| by.exec(&Command::new("true"), &anchor).await;
        let missing = |refused: Result<Process, Error>| {
            matches!(refused, Err(Error::Denied(Denied::Right(Right::Exec))))
        };
        assert!(missing(exec(&anchor).await), "no anchor has it by itself");
        let all = Rights::ALL | Right::Exec.into();
        let (not_given, _grant) = anchor.attenuate(all, Allowance::default()).await.unwrap();
        assert!(missing(exec(&not_given).await), "nor can give it");
        assert!(client.root().await.unwrap().exec(&Command::new("true"), &anchor).await.is_err());

        let host = client.host().await.unwrap();
        let one = Allowance { processes: 1, ..Allowance::default() };
        let (without, _grant) = host.attenuate(Rights::ALL, one).await.unwrap();
        assert!(missing(exec(&without).await));
        let (given, grant) = host.attenuate(all, one).await.unwrap();
        let below = given.walk("its").await.unwrap();
        let process = below.exec(&sh("sleep 60"), &below).await.unwrap();
        assert_eq!(grant.info().await.unwrap().used.processes, 1);
        let (resource, limit) = (Resource::Processes, 1);
        let refused = exec(&given).await.unwrap_err();
        let expected = Denied::Exhausted { resource, limit };
        assert!(matches!(refused, Error::Denied(denied) if denied == expected), "{refused}");
        let pid = process.status().await.unwrap().pid;
        client.store_at("kept", &process, false).await.unwrap();
        grant.revoke().await.unwrap();
        let refused = process.status().await.unwrap_err();
        assert!(matches!(refused, Error::Denied(Denied::Revoked)), "{refused}");
        eventually("its end", async || !is_alive(pid)).await;
        eventually("the cell to be emptied", async || {
            client.lookup("kept").await.unwrap().is_none()
        })
        .await;
        assert_eq!(grant.info().await.unwrap().used.processes, 0);
    });
}

#[test]
fn a_cell_is_emptied_when_its_process_ends_unless_it_is_kept() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        let mut watch = client.watch_at("workers", killick_client::What::Children).unwrap();
        watch.next().await.unwrap();
        let process = started(&client, &sh("sleep 60")).await;
        client.store_at("workers/42", &process, false).await.unwrap();
        let change = watch.next().await.unwrap();
        assert_eq!(change.children.added.len(), 1);
        process.kill().await.unwrap();
        let change = watch.next().await.unwrap();
        assert_eq!(change.children.removed, ["42"]);
        let late = client.store_at("late", &process, false).await;
        assert!(late.unwrap_err().to_string().contains("the process has ended by signal 9"));

        let mut command = sh("exit 5");
        let process = started(&client, command.keep(true)).await;
        client.store_at("kept", &process, false).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 5);
        drop(process);
        let value = client.load_at("kept").await.unwrap().value.expect("kept");
        let host = client.host().await.unwrap();
        let process = Process::adopt(&host, value.capability().expect("a process"));
        assert_eq!(process.status().await.unwrap().state, ProcessState::Exited(5));
        assert_eq!(process.wait().await.unwrap(), 5);
    });
}

#[test]
fn a_process_that_is_stored_in_the_same_round_trip_stays() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let peer = support::Peer::connect(harness.unix()).await;
        let anchor = support::walk(&peer.anchor(), "its").await.unwrap();
        let (_, storer) = support::cell(&support::walk(&peer.anchor(), "at").await.unwrap()).await;
        let mut request = peer.host.client.clone().cast_to::<anchor::Client>().exec_request();
        let mut command = request.get().init_command();
        command.set_program("sleep");
        command.init_args(1).set(0, b"60");
        request.get().set_anchor(anchor);
        // Not waited for.
        let process = request.send().pipeline.get_process();
        let stored = support::store(&storer, support::Put::cap(process), false).await.unwrap();
        assert_eq!(stored, (true, 1));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let client = client(&harness).await;
        assert_eq!(client.load_at("at").await.unwrap().revision, 1);
    });
}

#[test]
fn each_lifetime_is_as_long_as_it_says() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let observer = client(&harness).await;
        for (lifetime, released, closed) in [
            (Lifetime::Own, true, true),
            (Lifetime::Reference, false, false),
            (Lifetime::Connection, true, false),
        ] {
            let starter = client(&harness).await;
            let mut command = sh("sleep 60");
            let process = started(&starter, command.lifetime(lifetime)).await;
            let pid = process.status().await.unwrap().pid;
            observer.store_at("other", "reference", true).await.unwrap();
            starter.store_at("other", &process, true).await.unwrap();
            drop(process);
            starter.info().await.unwrap();
            assert!(is_alive(pid), "{lifetime:?}: a value holds it");
            observer.store_at("other", None::<killick_client::Value>, true).await.unwrap();
            match released {
                true => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    assert!(is_alive(pid), "{lifetime:?}: released");
                }
                false => eventually("its end", async || !is_alive(pid)).await,
            }
            drop(starter);
            match closed {
                true => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    assert!(is_alive(pid), "{lifetime:?}: closed");
                    rustix::process::kill_process(
                        rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
                        rustix::process::Signal::KILL,
                    )
                    .unwrap();
                }
                false => eventually("its end", async || !is_alive(pid)).await,
            }
            eventually("all to end", async || observer.info().await.unwrap().processes == 0).await;
        }
    });
}

#[test]
fn what_a_process_leaves_in_its_group_ends_with_it() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        let mut command = sh("sleep 61 & echo $!; read line");
        let process = started(&client, command.stdin(Stdio::Piped).stdout(Stdio::Piped)).await;
        let line = process.stdout().await.unwrap().read(0).await.unwrap();
        let child: u32 = String::from_utf8(line).unwrap().trim().parse().unwrap();
        assert!(is_alive(child));
        process.stdin().await.unwrap().write(b"\n").await.unwrap();
        assert_eq!(process.wait().await.unwrap(), 0);
        eventually("its child to end", async || !is_alive(child)).await;
    });
}

#[test]
fn output_that_nobody_reads_makes_the_process_wait_and_takes_no_memory() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        let before = client.info().await.unwrap().resident_bytes;
        let mut command = sh("head -c 1000000000 /dev/zero; echo done >&2");
        let process = started(&client, command.stdout(Stdio::Piped).stderr(Stdio::Piped)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(process.status().await.unwrap().state, ProcessState::Running);
        let stdout = process.stdout().await.unwrap();
        let mut total = 0;
        for _ in 0..100 {
            total += stdout.read(0).await.unwrap().len();
        }
        assert!(total > 100_000, "{total} bytes");
        let grown = client.info().await.unwrap().resident_bytes.saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
        process.kill().await.unwrap();
        // A stdin that nobody reads.
        let mut command = sh("sleep 60");
        let process = started(&client, command.stdin(Stdio::Piped)).await;
        let stdin = process.stdin().await.unwrap();
        let much = vec![b'x'; 1 << 20];
        let written = tokio::time::timeout(Duration::from_millis(200), stdin.write(&much)).await;
        assert!(written.is_err(), "it waits");
        process.kill().await.unwrap();
        let error = stdin.write(&much).await.unwrap_err();
        assert!(error.to_string().contains("the process has ended by signal 9"), "{error}");
    });
}

#[test]
fn processes_that_have_ended_keep_nothing_open_but_what_is_to_be_read_of_them() {
    let _turn = alone();
    let harness = with(|config| config.max_processes = 8);
    run(async {
        let client = client(&harness).await;
        started(&client, &sh("true")).await.wait().await.unwrap();
        let gone = async || client.info().await.unwrap().connections == 1;
        eventually("the first to go", gone).await;
        let (before, _) = open_and_children();
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut command = sh("read line; true");
            command.stdin(Stdio::Piped).stdout(Stdio::Piped).stderr(Stdio::Piped);
            let process = started(&client, &command).await;
            process.stdin().await.unwrap().write(b"go\n").await.unwrap();
            assert_eq!(process.wait().await.unwrap(), 0);
            held.push(process);
            let none = async || client.info().await.unwrap().processes == 0;
            eventually("it to be given back", none).await;
        }
        eventually("all to be closed", async || open_and_children().0 <= before && gone().await)
            .await;
        assert_eq!(output(&held[0]).await, "");

        // What nobody has read takes a place.
        let mut held = Vec::new();
        for _ in 0..8 {
            let process = started(&client, sh("echo unread").stdout(Stdio::Piped)).await;
            process.wait().await.unwrap();
            held.push(process);
        }
        let anchor = client.walk("its").await.unwrap();
        let refused = client.exec(&sh("true"), &anchor).await.unwrap_err();
        assert!(matches!(refused, Error::Limit { limit: Limit::Processes, .. }), "{refused}");
        assert_eq!(output(&held[0]).await, "unread\n");
        client.exec(&sh("true"), &anchor).await.unwrap().wait().await.unwrap();
        drop(held);
        let none = async || client.info().await.unwrap().processes == 0;
        eventually("all to be given back", none).await;
        eventually("all to be closed", async || open_and_children().0 <= before && gone().await)
            .await;
    });
}

#[test]
fn what_is_wrong_with_an_anchor_is_told_when_a_process_is_to_have_it() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let peer = support::Peer::connect(harness.unix()).await;
        let exec = async |anchor: anchor::Client| {
            let mut request = peer.anchor().exec_request();
            request.get().init_command().set_program("true");
            request.get().set_anchor(anchor);
            request.send().promise.await.err().expect("refused").to_string()
        };
        let mut walk = peer.anchor().walk_request();
        walk.get().set_path("a/..");
        let error = exec(walk.send().pipeline.get_anchor()).await;
        assert!(error.contains("there is no way up"), "{error}");
        let (loader, _) = support::cell(&support::walk(&peer.anchor(), "a").await.unwrap()).await;
        let error = exec(loader.client.clone().cast_to()).await;
        assert!(error.contains("is no anchor of this host's"), "{error}");
    });
}

#[test]
fn a_thousand_short_processes_leave_nothing() {
    let _turn = alone();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        started(&client, &Command::new("/bin/true")).await.wait().await.unwrap();
        eventually("the first to go", async || client.info().await.unwrap().connections == 1).await;
        let before = open_and_children();
        let anchor = client.walk("its").await.unwrap();
        for _ in 0..if cfg!(debug_assertions) { 200 } else { 1000 } {
            let process = client.exec(&Command::new("/bin/true"), &anchor).await.unwrap();
            client.store_at("at/it", &process, true).await.ok();
            assert_eq!(process.wait().await.unwrap(), 0);
        }
        eventually("nothing to be left", async || {
            let info = client.info().await.unwrap();
            open_and_children() == before
                && (info.processes, info.connections, info.nodes) == (0, 1, 2)
        })
        .await;
    });
}

#[test]
fn bounds_hold_and_so_does_the_number_of_processes() {
    let _turn = among_others();
    let harness = with(|config| config.max_processes = 2);
    run(async {
        let client = client(&harness).await;
        let mut command = sh("ulimit -n; ulimit -f; ulimit -v; ulimit -t");
        let bounds = Bounds {
            open_files: 32,
            file_bytes: 1 << 20,
            memory_bytes: 1 << 30,
            cpu_seconds: 7,
            ..Bounds::default()
        };
        let process = started(&client, command.bounds(bounds).stdout(Stdio::Piped)).await;
        assert_eq!(output(&process).await, "32\n2048\n1048576\n7\n");
        process.wait().await.unwrap();
        let processes =
            [started(&client, &sh("sleep 60")).await, started(&client, &sh("sleep 60")).await];
        let anchor = client.walk("its").await.unwrap();
        let refused = client.exec(&sh("true"), &anchor).await.unwrap_err();
        assert!(matches!(refused, Error::Limit { limit: Limit::Processes, .. }), "{refused}");
        for process in processes {
            process.kill().await.unwrap();
        }
        // A fork bomb in bounds of its own.
        let mut bomb = sh("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait");
        let bounds = Bounds { processes: 1, ..Bounds::default() };
        let process = started(&client, bomb.bounds(bounds)).await;
        process.kill().await.unwrap();
        let none = async || client.info().await.unwrap().processes == 0;
        eventually("all to be given back", none).await;
    });
}

#[test]
fn a_launcher_whose_server_has_just_gone_starts_nothing() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    let folder = tempfile::tempdir().unwrap();
    let launched = |goes: bool| {
        let started = folder.path().join(if goes { "gone" } else { "there" });
        let (control, theirs) = UnixStream::pair().unwrap();
        let (_connection, its) = UnixStream::pair().unwrap();
        let stdin = std::fs::File::open("/dev/null").unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let sent = [stdin.as_fd(), its.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sent)));
        let byte = [std::io::IoSlice::new(&[0])];
        sendmsg(&control, &byte, &mut ancillary, SendFlags::empty()).unwrap();
        let mut message = killick_client::capnp::message::Builder::new_default();
        let mut order = message.init_root::<command::Builder<'_>>();
        order.set_program("touch");
        order.init_args(1).set(0, started.to_str().unwrap().as_bytes());
        killick_client::capnp::serialize::write_message(&control, &message).unwrap();
        // All has been said; what is left of the server is this end.
        let stays = (!goes).then_some(control);
        let mut launcher = std::process::Command::new(env!("CARGO_BIN_EXE_killick"));
        launcher.args(["--launch-process", "/usr/bin/touch"]).stdin(OwnedFd::from(theirs));
        let ended = launcher.status().unwrap();
        drop(stays);
        (ended.code(), started.exists())
    };
    assert_eq!(launched(false), (Some(0), true));
    assert_eq!(launched(true), (Some(1), false));
}

#[test]
fn processes_end_with_the_server() {
    let _turn = among_others();
    let harness = harness();
    let pid = run(async {
        let client = client(&harness).await;
        started(&client, &sh("sleep 60")).await.status().await.unwrap().pid
    });
    assert!(is_alive(pid));
    drop(harness);
    assert!(!is_alive(pid));
}

#[test]
fn what_is_given_up_on_its_way_is_not_started() {
    let _turn = alone();
    let harness = harness();
    run(async {
        let other = client(&harness).await;
        let before = open_and_children();
        for round in 0..40 {
            let client = client(&harness).await;
            let anchor = client.walk("its").await.unwrap();
            let command = sh("sleep 62");
            let exec = client.exec(&command, &anchor);
            let wait = Duration::from_micros(200 * round);
            if let Ok(process) = tokio::time::timeout(wait, exec).await {
                process.unwrap().kill().await.unwrap();
            }
        }
        // What was answered before it was given up runs on, as nothing else was asked for.
        eventually("all to end or to be there", async || {
            let (_, children) = open_and_children();
            children - before.1 == other.info().await.unwrap().processes as usize
        })
        .await;
    });
}

#[test]
fn no_process_without_permission_or_a_launcher() {
    let _turn = among_others();
    let harness = Harness::start();
    run(async {
        let client = client(&harness).await;
        let refused = not_started(&client, &Command::new("/bin/true")).await;
        assert!(refused.contains("(allow-exec)"), "{refused}");
    });
    let harness = with(|config| config.launcher = None);
    run(async {
        let client = client(&harness).await;
        let refused = not_started(&client, &Command::new("/bin/true")).await;
        assert!(refused.ends_with("has no launcher"), "{refused}");
        let nowhere = Client::connect(&Address::Inherited, Options::default()).await;
        assert!(nowhere.unwrap_err().to_string().contains("KILLICK_FD is not set"));
    });
}

/// What a process does that the next test starts: this program again.
#[test]
#[ignore = "the body of a process that another test starts"]
fn body_of_a_process_that_starts_another() {
    run(async {
        let client = Client::from_env(Options::default(), None).await.expect("a connection");
        let own = client.host().await.unwrap();
        match client.exec(&sh("sleep 60"), &own).await {
            Ok(process) => client.store_at("child", &process, true).await.unwrap(),
            Err(error) => client.store_at("child", error.to_string(), true).await.unwrap(),
        };
        own.disconnected().await;
    });
}

#[test]
fn a_process_starts_others_if_it_is_granted_and_they_end_with_it() {
    let _turn = among_others();
    let harness = harness();
    run(async {
        let client = client(&harness).await;
        let host = client.host().await.unwrap();
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own.to_str().unwrap());
        command.args(["body_of_a_process_that_starts_another", "--exact", "--ignored"]);

        let all = Rights::ALL | Right::Exec.into();
        let (granted, _grant) = host.attenuate(all, Allowance::default()).await.unwrap();
        let process = client.exec(&command, &granted.walk("its").await.unwrap()).await.unwrap();
        let value = client.wait_at("its/child").await.unwrap().value.unwrap();
        let child = Process::adopt(&host, value.capability().expect("a process"));
        let pid = child.status().await.unwrap().pid;
        assert!(is_alive(pid));
        process.kill().await.unwrap();
        assert_eq!(child.wait().await.unwrap(), 128 + 9);
        assert!(!is_alive(pid));
        eventually("its cell to be emptied", async || {
            client.lookup("its/child").await.unwrap().is_none()
        })
        .await;

        // Without the right, and with an anchor that is not narrowed at all.
        let (without, _grant) = host.attenuate(Rights::ALL, Allowance::default()).await.unwrap();
        for anchor in [without.walk("its").await.unwrap(), client.walk("its").await.unwrap()] {
            let process = client.exec(&command, &anchor).await.unwrap();
            let told = client.wait_at("its/child").await.unwrap();
            assert_eq!(told.text(), Some("the right 'exec' is not granted"));
            process.kill().await.unwrap();
            client.store_at("its/child", None::<killick_client::Value>, true).await.unwrap();
        }
    });
}
