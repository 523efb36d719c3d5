//! exec, ps, logs, attach, kill, wait: programs that the server starts.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use super::support::{Ran, Server, eventually, program, run, serving, signal, wait};

/// A server that starts every program.
fn server() -> Server {
    Server::with(&["--allow-exec", "*"])
}

/// Runs `sh` on the server's machine, with these arguments of `exec` before it.
fn sh(server: &Server, arguments: &[&str], script: &str) -> Ran {
    server.run(&[&["exec"], arguments, &["--", "sh", "-c", script]].concat())
}

/// Starts a command whose standard streams are pipes.
fn piped(server: &Server, arguments: &[&str]) -> Child {
    let mut command = server.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("to start")
}

/// How many processes the server has.
fn processes(server: &Server) -> u64 {
    server.run(&["info", "--json"]).json()[0]["processes"].as_u64().expect("a number")
}

/// Nothing is left of any process: neither it nor its place.
#[track_caller]
fn nothing_is_left(server: &Server, nodes: u64) {
    eventually("all processes end", || processes(server) == 0);
    eventually("all nodes go", || server.nodes() == nodes);
}

#[test]
fn a_program_reads_what_comes_in_writes_what_comes_out_and_its_exit_code_is_told() {
    let server = server();
    let copied = vec![b'x'; 1 << 20];
    let ran = server.run_with(&["exec", "--", "cat"], &copied);
    assert_eq!((ran.code, ran.stdout == copied), (Some(0), true));
    let ran = sh(&server, &[], "echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, ran.text(), ran.stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(sh(&server, &[], "kill -9 $$").code, Some(137));
    // It does not read what comes in.
    let ran = server.run_with(&["exec", "--", "true"], &copied);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    nothing_is_left(&server, 1);
}

#[test]
fn a_program_has_the_environment_the_folder_and_the_bounds_that_are_said_and_no_other() {
    let server = server();
    let mut command = server.command(&["exec", "--env", "HERE", "--env", "A=b=c", "--", "env"]);
    let ran = super::support::run(command.env("HERE", "as here"), b"");
    let mut lines: Vec<_> = ran.ok().lines().collect();
    lines.sort_unstable();
    assert_eq!(&lines[..2], ["A=b=c", "HERE=as here"]);
    assert!(lines.len() == 3 && lines[2].starts_with("KILLICK_FD="), "{lines:?}");
    assert_eq!(sh(&server, &["--cwd", "/usr"], "pwd").ok(), "/usr\n");
    assert_eq!(sh(&server, &[], "pwd").ok(), "/\n");
    let bounds = ["--open-files", "20", "--cpu-seconds", "30", "--file-bytes", "5120"];
    assert_eq!(sh(&server, &bounds, "ulimit -n; ulimit -t; ulimit -f").ok(), "20\n30\n10\n");
    let unset = sh(&server, &["--env", "NOT_SET_ANYWHERE"], "true");
    let line = "killick: exec --env: NOT_SET_ANYWHERE is not in the environment";
    assert_eq!(unset.error(2), line);
}

#[test]
fn a_program_has_no_signal_ignored_that_the_server_ignores() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("unix:{}", folder.path().join("k.sock").display());
    let mut shell = Command::new("sh");
    // As 'nohup' does, and a shell for what it runs in the background.
    let serve = "trap '' HUP INT QUIT USR1; exec \"$0\" serve --allow-exec '*' --listen \"$1\"";
    shell.args(["-c", serve, env!("CARGO_BIN_EXE_killick"), &address]);
    let (mut server, _, _log) = serving(&mut shell);
    // Two that are the C library's own it has ignored whenever it starts a program.
    let of = |file: &str, mask: &str| {
        let hex = file.lines().find_map(|line| line.strip_prefix(mask)).expect("a line").trim();
        u64::from_str_radix(hex, 16).expect("a mask") & !(0b11 << 31)
    };
    let own = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("read");
    let ran =
        run(program().args(["--connect", &address, "exec", "--", "cat", "/proc/self/status"]), b"");
    let theirs = ran.ok();
    signal(&server, Signal::KILL);
    wait(&mut server);
    assert_ne!(of(&own, "SigIgn:"), 0, "{own}");
    assert_eq!((of(theirs, "SigIgn:"), of(theirs, "SigBlk:")), (0, 0), "{theirs}");
}

#[test]
fn a_process_at_a_path_is_shown_waited_for_and_killed_and_its_place_goes_with_it() {
    let server = server();
    let ran = server.run(&["exec", "--detach", "--at", "workers/1", "--", "sleep", "1000"]);
    let (pid, path) = ran.ok().trim_end().split_once(' ').expect("a number and a path");
    assert_eq!(path, "workers/1");
    server.run(&["store", "workers/text", "no process"]).ok();
    server.run(&["chan", "make", "workers/chan"]).ok();
    let shown = server.run(&["ps"]);
    let lines: Vec<Vec<&str>> =
        shown.ok().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["pid", "state", "age", "program", "path"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((lines[1][0], lines[1][1]), (pid, "running"));
    assert_eq!(lines[1][lines[1].len() - 2..], ["sleep", "workers/1"]);
    for path in ["", "workers", "workers/1", "/", "/self/workers"] {
        let shown = server.run(&["ps", "--json", path]).json();
        assert!(
            shown.iter().any(|line| line["pid"].as_u64() == pid.parse().ok()),
            "{path}: {shown:?}"
        );
        assert!(shown.iter().all(|line| line["state"] == "running"), "{shown:?}");
    }
    assert_eq!(server.run(&["ps", "--json", "workers/text"]).ok(), "");
    assert!(server.run(&["ps", "nowhere"]).error(3).ends_with("nothing there"));
    assert_eq!(server.run(&["load", "workers/1"]).ok(), "capability: process\n");
    let loaded = server.run(&["load", "--json", "workers/1"]).json();
    assert_eq!(loaded[0]["value"]["interface"], "process");

    let late = server.run(&["wait", "--timeout", "50ms", "workers/1"]);
    let line = "killick: wait workers/1: it has not ended within 50.0 ms";
    assert_eq!(late.error(3), line);
    let mut waiting = piped(&server, &["wait", "--json", "workers/1"]);
    eventually("it waits", || {
        let clients = server.run(&["clients", "--json"]).json();
        clients.iter().any(|client| client["running"] == 1 && client["calls"].as_u64() > Some(3))
    });
    assert_eq!(server.run(&["kill", "workers/1"]).ok(), "");
    assert_eq!(wait(&mut waiting).code(), Some(137));
    let told = std::io::read_to_string(waiting.stdout.take().expect("a pipe")).expect("text");
    assert_eq!(told, "{\"exitCode\":137,\"path\":\"workers/1\"}\n");
    assert!(server.run(&["kill", "workers/1"]).error(3).ends_with("nothing there"));
    nothing_is_left(&server, 4);
}

#[test]
fn a_process_that_is_kept_can_be_asked_how_it_ended() {
    let server = server();
    for round in 0..3 {
        let path = format!("kept/{round}");
        server.run(&["exec", "--detach", "--keep", "--at", &path, "--", "sh", "-c", "exit 5"]).ok();
        assert_eq!(server.run(&["wait", &path]).code, Some(5));
    }
    let shown = server.run(&["ps", "--json", "kept/0"]).json();
    assert_eq!((&shown[0]["state"], &shown[0]["code"]), (&Json::from("exited"), &Json::from(5)));
    let late = server.run(&["kill", "kept/0"]);
    assert_eq!(late.error(1), "killick: kill kept/0: the process has ended with code 5");
    server.run(&["exec", "--detach", "--keep", "--at", "x", "--", "sleep", "1000"]).ok();
    let sent = server.run(&["kill", "--signal", "TERM", "--json", "x"]);
    assert_eq!(sent.ok(), "{\"path\":\"x\",\"signal\":15}\n");
    assert_eq!(server.run(&["wait", "x"]).code, Some(143));
    let shown = server.run(&["ps", "--json", "x"]).json();
    assert_eq!((&shown[0]["state"], &shown[0]["signal"]), (&"signalled".into(), &15.into()));
    let unknown = server.run(&["kill", "--signal", "NEVER", "x"]);
    assert!(unknown.error(2).contains("no signal 'NEVER'; there are HUP, INT"), "{unknown:?}");
}

#[test]
fn what_a_detached_process_writes_is_shown_once_on_both_streams_to_its_end() {
    let server = server();
    let script = "echo one; echo two >&2; read line; echo \"$line\"; exit 3";
    let exec = ["exec", "--detach", "--piped", "--at", "job", "--", "sh", "-c", script];
    server.run(&exec).ok();
    let mut following = piped(&server, &["logs", "job"]);
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "one");
    // Who attaches gives it the line that it waits for, and has what is not read yet, or the other has.
    let attached = server.run_with(&["attach", "job"], b"three\n");
    assert_eq!(attached.code, Some(3), "{attached:?}");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(wait(&mut following).code(), Some(0));
    let mut errors = String::new();
    following.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    assert_eq!(rest.join("") + attached.text().trim_end(), "three");
    assert_eq!(errors + &attached.stderr, "two\n");

    server.run(&["exec", "--detach", "--at", "silent", "--", "sleep", "1000"]).ok();
    let none = server.run(&["logs", "silent"]);
    assert!(none.error(1).contains("neither stdout nor stderr of the process is piped"));
    server.run(&["kill", "silent"]).ok();
    nothing_is_left(&server, 1);
}

#[test]
fn a_process_that_writes_more_than_anybody_reads_is_ended_with_its_reader() {
    let server = server();
    let mut running = piped(&server, &["exec", "--", "yes"]);
    let mut lines = BufReader::new(running.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "y");
    drop(lines);
    assert_eq!(wait(&mut running).code(), Some(0));
    // Also one that writes nothing.
    let mut running = piped(&server, &["exec", "--", "sleep", "1000"]);
    eventually("it runs", || processes(&server) == 1);
    drop(running.stdout.take());
    assert_eq!(wait(&mut running).code(), Some(0));
    nothing_is_left(&server, 1);
}

#[test]
fn signals_are_passed_on_and_the_end_of_the_command_ends_the_process() {
    let server = server();
    let mut running = piped(&server, &["exec", "--", "sleep", "1000"]);
    eventually("it runs", || processes(&server) == 1);
    signal(&running, Signal::INT);
    assert_eq!(wait(&mut running).code(), Some(130));

    let script = "trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = piped(&server, &["exec", "--", "sh", "-c", script]);
    let mut lines = BufReader::new(running.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    signal(&running, Signal::TERM);
    assert_eq!(lines.next().expect("a line").expect("text"), "asked");
    assert_eq!(wait(&mut running).code(), Some(9));

    let mut running = piped(&server, &["exec", "--at", "a", "--", "sleep", "1000"]);
    eventually("it is there", || server.run(&["load", "a"]).code == Some(0));
    signal(&running, Signal::KILL);
    wait(&mut running);
    nothing_is_left(&server, 1);
    // Unless it is to have a life of its own.
    let own = ["exec", "--at", "a", "--lifetime", "own", "--", "sleep", "1000"];
    let mut running = piped(&server, &own);
    eventually("it is there", || server.run(&["load", "a"]).code == Some(0));
    signal(&running, Signal::KILL);
    wait(&mut running);
    eventually("its connection has gone", || server.run(&["clients", "--json"]).json().len() == 2);
    server.run(&["kill", "a"]).ok();
    nothing_is_left(&server, 1);
}

#[test]
fn who_has_left_the_group_of_a_process_and_keeps_its_streams_open_is_not_waited_for() {
    let server = server();
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & read line; exit 4";
    let mut running = piped(&server, &["exec", "--", "sh", "-c", script]);
    let mut lines = BufReader::new(running.stdout.take().expect("a pipe")).lines();
    let escaped = lines.next().expect("a line").expect("text").parse().expect("a number");
    writeln!(running.stdin.take().expect("a pipe"), "go on").expect("written");
    assert_eq!(wait(&mut running).code(), Some(4));
    kill_process(Pid::from_raw(escaped).expect("a number"), Signal::KILL).expect("it has escaped");
    nothing_is_left(&server, 1);
}

#[test]
fn what_cannot_be_started_is_told_and_leaves_nothing() {
    let server = Server::with(&["--allow-exec", "/bin/"]);
    for (arguments, words) in [
        (&["no-such-program"][..], "cannot start 'no-such-program': there is no such program"),
        (&["/bin/no-such-program"], "there is no such file"),
        (&["/no/such/program"], "this server does not start /no/such/program (allow-exec)"),
        (&["/bin/"], "it is a folder"),
        (&["/etc/passwd"], "this server does not start /etc/passwd (allow-exec)"),
        (&["--cwd", "/no/such", "--", "sh"], "its folder /no/such: "),
        (&["--env", "KILLICK_FD=3", "--", "sh"], "is the server's to set"),
        (&["--anchor", "/nowhere/a", "--", "sh"], "starts with a host"),
    ] {
        let ran = server.run(&[&["exec", "--at", "at/a"], arguments].concat());
        assert!(ran.error(1).contains(words), "{ran:?}");
    }
    for (arguments, words) in [
        (&["--detach", "--lifetime", "connection"][..], "would end it at once"),
        (&["--detach", "--lifetime", "reference"], "take --at"),
        (&["--anchor", "/self/a", "--rights", "exec"], "is relative"),
    ] {
        let ran = server.run(&[&["exec"], arguments, &["--", "sh"]].concat());
        assert!(ran.error(2).contains(words), "{ran:?}");
    }
    nothing_is_left(&server, 1);
    let closed = Server::start();
    assert!(closed.run(&["exec", "--", "true"]).error(1).contains("(allow-exec)"));
}

#[test]
fn a_process_whose_place_is_taken_is_killed() {
    let server = server();
    server.run(&["store", "taken", "x"]).ok();
    for more in [&[][..], &["--detach"], &["--keep"]] {
        let ran = sh(&server, &[&["--at", "taken"], more].concat(), "sleep 1000");
        let line = "killick: exec --at taken: not stored: the cell holds a value (revision 1)";
        assert_eq!(ran.error(3), line);
        nothing_is_left(&server, 2);
    }
    assert_eq!(server.run(&["load", "taken"]).ok(), "x\n");
}

#[test]
fn a_process_that_ends_at_once_has_come_and_gone() {
    let server = server();
    for _ in 0..20 {
        assert_eq!(sh(&server, &["--at", "short"], "exit 4").code, Some(4));
        sh(&server, &["--at", "short", "--detach"], "exit 4").ok();
        eventually("it has gone", || server.run(&["lookup", "short"]).code == Some(3));
    }
    nothing_is_left(&server, 1);
}

#[test]
fn json_tells_the_number_what_is_written_and_the_end() {
    let server = server();
    let ran = sh(&server, &["--json", "--at", "a/b"], "echo ü; sleep 0.2; printf '\\377'; exit 2");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""));
    let documents = ran.json();
    assert!(documents[0]["pid"].is_u64() && documents[0]["path"] == "a/b", "{documents:?}");
    assert_eq!(
        documents[1..],
        [
            serde_json::json!({"stream": "stdout", "text": "ü\n"}),
            serde_json::json!({"stream": "stdout", "hex": "ff"}),
            serde_json::json!({"exitCode": 2}),
        ]
    );
    let ran = server.run(&["exec", "--json", "--detach", "--", "true"]);
    assert_eq!(ran.json()[0].as_object().expect("an object").len(), 1);
    server.run(&["exec", "--detach", "--at", "k", "--", "sleep", "1000"]).ok();
    assert_eq!(server.run(&["kill", "--json", "k"]).ok(), "{\"killed\":true,\"path\":\"k\"}\n");
}

#[test]
fn what_is_no_process_is_told_by_what_it_is() {
    let server = server();
    server.run(&["store", "text", "a text"]).ok();
    server.run(&["chan", "make", "chan"]).ok();
    server.run(&["grant", "make", "docs", "--at", "anchor", "--revoker", "grant"]).ok();
    server.run(&["exec", "--detach", "--at", "process", "--", "sleep", "1000"]).ok();
    for command in ["wait", "kill", "logs", "attach"] {
        for (path, found) in
            [("text", "text"), ("chan", "a channel"), ("anchor", "an anchor"), ("grant", "a grant")]
        {
            let line = format!("killick: {command} {path}: the cell holds {found}, and no process");
            assert_eq!(server.run(&[command, path]).error(1), line);
        }
        assert!(server.run(&[command, "nowhere"]).error(3).ends_with("nothing there"));
        assert!(server.run(&[command, "docs"]).code == Some(3));
    }
    let shown = server.run(&["chan", "show", "process"]);
    let line = "killick: chan show process: the cell holds a process, and no channel";
    assert_eq!(shown.error(1), line);
    let through = server.run(&["--through", "process", "ls"]);
    assert!(through.error(1).ends_with("the cell holds a process, and no anchor"));
}

#[test]
fn who_was_granted_the_right_starts_as_many_programs_as_that_allows_until_it_is_taken_back() {
    let server = server();
    let make = |rights: &str, at: &str| {
        let at = format!("for/{at}");
        let revoker = format!("admin/{at}");
        let limits = ["--processes", "1"];
        let make =
            ["grant", "make", "jobs", "--rights", rights, "--at", &at, "--revoker", &revoker];
        server.run(&[&make[..], &limits].concat()).ok();
    };
    make("walk,lookup,load,store,ls,exec", "bob");
    make("all", "eve");
    let denied = server.run(&["--through", "for/eve", "exec", "--", "true"]);
    assert_eq!(denied.error(1), "killick: exec: the right 'exec' is not granted");
    let exec = ["--through", "for/bob", "exec", "--detach", "--at", "one", "--", "sleep", "1000"];
    server.run(&exec).ok();
    assert_eq!(server.run(&["ps", "--json"]).json()[0]["path"], "jobs/one");
    let another = server.run(&["--through", "for/bob", "exec", "--anchor", "one", "--", "true"]);
    assert!(another.error(1).contains("limit of 1 process"), "{another:?}");
    let shown = server.run(&["grant", "show", "admin/for/bob"]);
    assert!(shown.ok().contains("processes    1 of 1 used"), "{shown:?}");
    server.run(&["grant", "revoke", "admin/for/bob"]).ok();
    eventually("it has ended", || processes(&server) == 0);
}
