//! serve: its settings as flags, in the environment and in a file; read again on SIGHUP.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::support::{Server, at, eventually, program, run, serving, signal};

fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> super::support::Ran {
    let mut command = program();
    command.args(["serve", "--check-config"]).args(arguments).envs(environment.iter().copied());
    run(&mut command, b"")
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    fs::write(&file, "max-nodes = 1\nmax-children = 1\nmax-depth = 1\nlog = \"off\"\n").unwrap();
    let path = file.to_str().unwrap();
    let environment = [
        ("KILLICK_MAX_NODES", "2"),
        ("KILLICK_MAX_CHILDREN", "2"),
        ("KILLICK_MAX_HANDSHAKES", "7"),
        ("KILLICK_MAX_MESSAGE_BYTES", "9000"),
    ];
    let ran = checked(&["--config", path, "--max-nodes", "3"], &environment);
    for line in [
        "max-nodes = 3",
        "max-children = 2",
        "max-depth = 1",
        "log = \"off\"",
        "max-handshakes = 7",
        "max-message-bytes = 9000",
    ] {
        assert!(ran.ok().lines().any(|told| told == line), "{line}: {ran:?}");
    }
    // What is shown is a file that says the same.
    fs::write(&file, ran.ok()).unwrap();
    assert_eq!(checked(&[], &[("KILLICK_CONFIG", path)]).ok(), ran.ok());
    for (flag, level) in [("-v", "debug"), ("-q", "off")] {
        for environment in [&[][..], &[("KILLICK_LOG", "warn")]] {
            let ran = checked(&[flag], environment);
            assert!(ran.ok().contains(&format!("log = \"{level}\"")), "{flag}: {ran:?}");
        }
        let ran = checked(&["--log", "debug", flag], &[]);
        assert!(ran.code == Some(2) && ran.stderr.contains("use one of them"), "{ran:?}");
    }
}

#[test]
fn a_bad_setting_is_told_with_its_file_line_and_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    let path = file.to_str().unwrap();
    for (text, place, words) in [
        ("# one\nmax-nodes = \"many\"\n", "2: max-nodes:", "invalid type"),
        ("max-nodes = -1\n", "1: max-nodes:", "-1"),
        ("threads = 0\n", "1: threads:", "a whole number above 0"),
        ("\n\nmax-knots = 1\n", "3: max-knots:", "expected one of `listen`, `tls-identity`"),
        ("max-node = 1\n", "1: max-node:", "no such setting; did you mean 'max-nodes'?"),
        ("read-timeout = \"1e9\"\n", "1: read-timeout:", "no unit of time"),
        ("write-timeout = \"soon\"\n", "1: write-timeout:", "'soon' is no time"),
        ("write-timeout = \"5h\"\n", "1: write-timeout:", "no unit of time"),
        ("write-timeout = true\n", "1: write-timeout:", "\"500ms\""),
        ("max-nodes = 1.5\n", "1: max-nodes:", "expected a whole number of 0 or more"),
        ("listen = 5\n", "1: listen:", "begins with none of"),
        ("listen = true\n", "1: listen:", "a list"),
        ("metrics = \"here\"\n", "1: metrics:", "127.0.0.1:9102"),
        ("listen-cluster = \"here\"\n", "1: listen-cluster:", "as in 192.0.2.7:7300"),
        ("advertise = true\n", "1: advertise:", "\"192.0.2.7:7300\""),
        ("join = [\n  \"a:7300\",\n  \"127.0.0.1:0\",\n]\n", "3: join:", "nobody is at port 0"),
        ("log = \"loud\"\n", "1: log:", "unknown word `loud`"),
        ("max-nodes = 1\nmax-connections = 0\n", "2: max-connections:", "nobody in"),
        ("max-calls = 0\n", "1: max-calls:", "nobody call"),
        ("threads = 100000\n", "1: threads:", "1024"),
        ("max-message-bytes = 1\n", "1: max-message-bytes:", "1024"),
        ("\nmetrics = \"0.0.0.0:1\"\n", "2: metrics:", "loopback"),
        ("\nlisten = \"tcp:0.0.0.0:1\"\n", "2: listen:", "not a loopback address"),
        ("\nauthorized = \"/nowhere/at/all\"\n", "2: authorized:", "/nowhere/at/all"),
        ("\ntls-identity = \"/nowhere\"\n", "2: tls-identity:", "/nowhere/key.pem"),
        ("listen = [\"nowhere\"]\n", "1: listen:", "nowhere"),
        ("listen = [\n  \"unix:/a\",\n  \"nowhere\",\n]\n", "3: listen:", "nowhere"),
        ("threads = 1\nallow-uid = [\n  1,\n  -2,\n]\n", "4: allow-uid:", "-2"),
        ("allow-gid = [\n  1,\n  \"a=b\",\n]\n", "3: allow-gid:", "invalid type"),
        ("\"max-nodes\" = true\n", "1: max-nodes:", "invalid type"),
        ("threads = 2\nmax-nodes = = 1\n", "2: max-nodes:", ""),
        ("max-nodes 1\n", "1:", ""),
        ("max-nodes = 1\nthreads = 1\nmax-nodes = 2\n", "3: max-nodes:", "duplicate key"),
    ] {
        fs::write(&file, text).unwrap();
        let ran = checked(&["--config", path], &[]);
        // What another file says, or that it is not there, is no fault of this one.
        let line = ran.error(if text.contains("/nowhere") { 1 } else { 2 });
        assert!(line.starts_with(&format!("killick: {path}:{place}")), "{text:?}: {line}");
        assert!(line.contains(words), "{text:?}: {line}");
    }
    let ran = checked(&["--config", "/nowhere/killick.toml"], &[]);
    let line = "killick: --config /nowhere/killick.toml: No such file or directory";
    assert_eq!(ran.error(1), line);
    let ran = checked(&[], &[("KILLICK_MAX_NODES", "many")]);
    let error = "invalid value 'many' for KILLICK_MAX_NODES in the environment: a whole number";
    assert!(ran.error(2).contains(error), "{ran:?}");
    for (variable, value) in [
        ("KILLICK_LISTEN", "unix:/a,nowhere"),
        ("KILLICK_LOG", "loud"),
        ("KILLICK_IDLE_TIMEOUT", "0"),
    ] {
        let ran = checked(&[], &[(variable, value)]);
        let said = ran.stderr.contains(&format!(" for {variable} in the environment"));
        assert!(said && ran.code == Some(2), "{ran:?}");
    }
    let mut serve = program();
    serve.args(["serve", "--check-config"]);
    let ran = run(serve.env("KILLICK_THREADS", OsStr::from_bytes(b"\xff")), b"");
    assert_eq!(ran.error(2), "killick: KILLICK_THREADS in the environment is not UTF-8");
    let mut serve = program();
    let ran = run(serve.args(["serve", "--threads"]).arg(OsStr::from_bytes(b"\xff")), b"");
    assert_eq!(ran.error(2), "killick: '\\xff' among the arguments is not UTF-8");
    // The flag goes first, so that the fault is its own.
    for flag in [&["--max-nodes", "few"][..], &["--max-nodes=few"]] {
        let ran = checked(flag, &[("KILLICK_MAX_NODES", "many")]);
        assert!(ran.error(2).contains("invalid value 'few' for '--max-nodes <N>'"), "{ran:?}");
    }
    assert_eq!(checked(&["-v", "-q"], &[]).code, Some(2));
}

#[test]
fn a_variable_that_is_no_setting_is_told_with_the_nearest_that_is() {
    let others = [("KILLICK_CONNECT", "x"), ("KILLICK_FD", "3"), ("KILLICK_PYTHON", "x")];
    checked(&[], &others).ok();
    let ran = checked(&[], &[("KILLICK_MAX_NODE", "5")]);
    let line =
        "killick: warning: KILLICK_MAX_NODE is no setting: did you mean KILLICK_MAX_NODES?\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), line));
}

#[test]
fn a_file_may_say_what_a_flag_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    fs::write(
        &file,
        "listen = \"unix:/a\"\nallow-uid = 7\ndrain-timeout = 5\nread-timeout = 0.5\n",
    )
    .unwrap();
    let ran = checked(&["--config", file.to_str().unwrap()], &[]);
    for line in [
        "listen = [\"unix:/a\"]",
        "allow-uid = [7]",
        "drain-timeout = \"5s\"",
        "read-timeout = \"500ms\"",
        "# metrics = \"127.0.0.1:9102\"",
    ] {
        assert!(ran.ok().lines().any(|told| told == line), "{line}: {ran:?}");
    }
}

#[test]
fn a_certificate_of_a_client_is_none_for_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    at(folder.path(), &["ca", "new", "--out", "ca"]).ok();
    at(folder.path(), &["cert", "client", "alice", "--ca", "ca", "--out", "alice"]).ok();
    let ran = at(folder.path(), &["serve", "--check-config", "--tls-identity", "alice"]);
    assert!(ran.error(1).contains("alice: the certificate is one of a client"), "{ran:?}");
}

#[test]
fn a_path_that_no_file_of_settings_can_hold_is_told_with_its_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    fs::write(&file, "max-nodes = 1\n").unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"a\xff"));
    fs::write(&path, "").unwrap();
    let mut serve = program();
    serve.args(["serve", "--max-nodes", "2", "--listen", "tcp:127.0.0.1:0", "--config"]);
    serve.arg(&file).arg("--authorized").arg(&path).arg("--check-config");
    let ran = run(&mut serve, b"");
    let line = ran.error(2);
    assert!(
        line.starts_with("killick: --authorized: ") && line.ends_with("is not UTF-8"),
        "{line}"
    );
    let mut serve = program();
    serve.args(["serve", "--check-config"]).env("KILLICK_TLS_IDENTITY", &path);
    fs::remove_file(&path).unwrap();
    let ran = run(serve.env("KILLICK_CONFIG", &file), b"");
    assert!(
        ran.error(2).starts_with("killick: KILLICK_TLS_IDENTITY in the environment: "),
        "{ran:?}"
    );
}

#[test]
fn a_configuration_is_checked_for_what_no_server_can_do() {
    for (arguments, expected) in [
        (["--listen", "tcp:0.0.0.0:1"], "is not a loopback address"),
        (["--listen", "tls:127.0.0.1:1"], "--tls-identity"),
        (["--metrics", "0.0.0.0:1"], "metrics are for loopback addresses only"),
        (["--max-capabilities", "0"], "0 would let nobody have an anchor"),
        (["--max-connection-nodes", "0"], "0 would let nobody have an anchor"),
        (["--max-nodes", "1"], "1 would leave the root alone: at least 2"),
        (["--max-call-bytes", "4095"], "4095 bytes have no room for a call: at least 4096"),
        (["--max-name-bytes", "0"], "0 would let no node have a name"),
        (["--max-path-bytes", "0"], "0 would let no path lead anywhere: at least 1"),
    ] {
        let ran = checked(&arguments, &[]);
        let line = ran.error(2);
        assert!(line.starts_with(&format!("killick: {}: ", arguments[0])), "{line}");
        assert!(line.contains(expected), "{line}");
    }
    let ran = checked(&[], &[("KILLICK_MAX_CALLS", "0")]);
    let line = "killick: KILLICK_MAX_CALLS in the environment: 0 would let nobody call anything: at least 1";
    assert_eq!(ran.error(2), line);
    let ran = checked(&["--max-calls", "0"], &[("KILLICK_MAX_CALLS", "5")]);
    assert_eq!(ran.error(2), "killick: --max-calls: 0 would let nobody call anything: at least 1");
}

#[test]
fn what_settings_come_to_is_told_in_json_as_well() {
    let arguments = ["--json", "--max-nodes", "5", "--allow-uid", "7", "--read-timeout", "0.5"];
    let ran = checked(&arguments, &[("KILLICK_LOG", "warn"), ("XDG_RUNTIME_DIR", "/run/mine")]);
    let all = ran.json().remove(0);
    for (key, value) in [
        ("max-nodes", 5.into()),
        ("allow-uid", json!([7])),
        ("read-timeout", "500ms".into()),
        ("log", "warn".into()),
        ("write-timeout", "30s".into()),
        ("listen", json!(["unix:/run/mine/killick.sock"])),
        ("idle-timeout", Json::Null),
    ] {
        assert_eq!(all[key], value, "{key}: {all}");
    }
    // The same settings as in a file.
    let file = checked(&[], &[]);
    let keys = file.ok().lines().filter_map(|line| line.trim_start_matches("# ").split(' ').next());
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    let told: Vec<_> = all.as_object().expect("an object").keys().collect();
    assert_eq!(told, keys);
    let ran = checked(&["--json", "--max-calls", "0"], &[]);
    assert!(ran.error(2).contains("--max-calls") && ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn help_tells_the_defaults() {
    let ran = run(program().args(["serve", "--help"]), b"");
    for default in ["[default: 1048576]", "[default: 30s]", "[default: info]"] {
        assert!(ran.ok().contains(default), "{default}: {}", ran.ok());
    }
}

#[test]
fn the_file_is_read_again_on_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, socket) = (folder.path().join("killick.toml"), folder.path().join("k.sock"));
    fs::write(&file, "max-value-bytes = 10000\n").unwrap();
    let address = format!("unix:{}", socket.display());
    let mut serve = program();
    serve.args(["serve", "--listen", &address, "--config"]).arg(&file);
    let (mut server, _, mut log) = serving(&mut serve);
    log.read_line(&mut String::new()).expect("that it serves");
    let mut next = |server: &std::process::Child| {
        signal(server, Signal::HUP);
        let mut line = String::new();
        log.read_line(&mut line).expect("a line");
        line
    };
    let store = || {
        let value = "x".repeat(5000);
        run(program().env("KILLICK_ADDR", &address).args(["store", "a", &value]), b"")
    };
    store().ok();
    fs::write(&file, "max-value-bytes = 100\nmax-nodes = 5\nthreads = 9\n").unwrap();
    let line = next(&server);
    assert!(line.contains("reloaded but"), "{line}");
    assert!(line.contains("stay=threads, bounds of the tree"), "{line}");
    assert!(store().error(1).contains("exceeds the limit of 100"));
    let mut broken = fs::OpenOptions::new().append(true).open(&file).unwrap();
    broken.write_all(b"max-calls = true\n").unwrap();
    let line = next(&server);
    assert!(line.contains("not reloaded") && line.contains("killick.toml:4: max-calls:"), "{line}");
    assert!(store().error(1).contains("exceeds the limit of 100"));
    fs::write(&file, "max-value-bytes = 10000\nlog-format = \"json\"\n").unwrap();
    assert!(next(&server).ends_with("\"message\":\"reloaded\"}\n"));
    store().ok();
    fs::write(&file, "max-value-bytes = 10000\n").unwrap();
    assert!(next(&server).ends_with(" INFO reloaded\n"));
    signal(&server, Signal::TERM);
    assert!(server.wait().expect("ends").success());
    let rest: Vec<_> = log.lines().map(|line| line.expect("text")).collect();
    assert!(rest[0].contains(" INFO stopping: "), "{rest:?}");
    assert!(rest[1].ends_with(" INFO stopped") && rest.len() == 2, "{rest:?}");
}

#[test]
fn the_log_is_json_if_wanted_and_says_as_much_as_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("killick.toml");
    let address = format!("unix:{}", folder.path().join("k.sock").display());
    fs::write(&file, "log = \"info\"\nlog-format = \"json\"\n").unwrap();
    let mut serve = program();
    serve.args(["serve", "--listen", &address, "--config"]).arg(&file);
    let (mut server, _, mut log) = serving(&mut serve);
    let mut next = || {
        let mut line = String::new();
        log.read_line(&mut line).expect("a line");
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|_| panic!("{line}"))
    };
    let load = || {
        let ran = run(program().env("KILLICK_ADDR", &address).args(["load", "a"]), b"");
        assert!(ran.error(3).ends_with("load a: nothing there"), "{ran:?}");
    };
    let serving = next();
    assert_eq!((&serving["message"], &serving["level"]), (&"serving".into(), &"INFO".into()));
    // No line: a connection that ends in order is for `debug`.
    load();
    fs::write(&file, "log = \"debug\"\nlog-format = \"json\"\n").unwrap();
    signal(&server, Signal::HUP);
    let mut next = |message: &str, connection: Option<u64>| loop {
        let line = next();
        // The end of the first connection may come late.
        if line["message"] == message && line["connection"].as_u64() == connection {
            return line;
        }
        assert_eq!(
            (&line["message"], &line["connection"]),
            (&"connection ended".into(), &1.into())
        );
    };
    assert_eq!(next("reloaded", None)["level"], "INFO");
    load();
    assert!(next("connection opened", Some(2))["thread"].is_u64());
    let ended = next("connection ended", Some(2));
    assert!(ended["calls"].as_u64() > Some(0) && ended["level"] == "DEBUG", "{ended}");
    signal(&server, Signal::TERM);
    assert!(server.wait().expect("ends").success());
}

#[test]
fn a_server_opens_as_many_files_as_it_may_and_says_if_they_are_too_few() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("unix:{}", folder.path().join("k.sock").display());
    let serve = format!("exec {} serve --listen {listen}", env!("CARGO_BIN_EXE_killick"));
    // Few now, and more if asked for; then no more than these.
    for (limits, files, said) in [
        ("ulimit -Sn 40; ulimit -Hn 2000", 2000, false),
        ("ulimit -Sn 40; ulimit -Hn 200", 200, true),
    ] {
        let mut shell = std::process::Command::new("sh");
        let (mut server, _, log) = serving(shell.args(["-c", &format!("{limits}; {serve}")]));
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("limits");
        let open = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
        assert!(open.contains(&format!(" {files} ")), "{open}");
        signal(&server, Signal::TERM);
        assert!(server.wait().expect("ends").success());
        let log = std::io::read_to_string(log).expect("text");
        assert_eq!(log.contains("limit=200 wanted=1088"), said, "{log}");
    }
}

#[test]
fn a_server_takes_its_bounds_from_the_environment() {
    let server = Server::start_in(&[("KILLICK_MAX_CHILDREN", "1"), ("KILLICK_THREADS", "3")], &[]);
    server.run(&["store", "a", "1"]).ok();
    assert!(server.run(&["store", "b", "1"]).error(1).contains("limit of 1 child "));
    eventually("three threads", || server.run(&["info", "--json"]).json()[0]["threads"] == 3);
}

/// The values of `key` in a unit file, checked to be made of sections, settings and comments.
fn unit<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            assert!(["[Unit]", "[Service]", "[Install]"].contains(&line), "{line}");
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(name.chars().all(char::is_alphanumeric), "{line}");
        if name == key {
            found.push(value);
        }
    }
    found
}

#[test]
fn the_unit_file_calls_the_program_as_it_is() {
    let text = include_str!("../../examples/killick.service");
    let [start] = unit(text, "ExecStart")[..] else { panic!("one command") };
    let arguments: Vec<_> = start.split(' ').skip(1).collect();
    let ran = run(program().args(&arguments).arg("--check-config"), b"");
    // All of it is understood; the file is not there.
    assert!(ran.error(1).starts_with("killick: --config /etc/killick.toml: "), "{ran:?}");
    assert_eq!(unit(text, "Type"), ["notify"]);
    assert_eq!(unit(text, "NoNewPrivileges"), ["yes"]);
}

#[test]
fn a_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(super::support::PATIENCE)).expect("an option");
    let next = || {
        let mut bytes = [0; 1000];
        let count = manager.recv(&mut bytes).expect("told");
        String::from_utf8(bytes[..count].to_vec()).expect("text")
    };
    let server = Server::start_in(&[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))], &[]);
    assert!(next().contains("READY=1"));
    server.run(&["info"]).ok();
    signal(server.process(), Signal::HUP);
    assert!(next().contains("RELOADING=1"));
    assert!(next().contains("READY=1"));
    signal(server.process(), Signal::TERM);
    assert!(next().contains("STOPPING=1"));
}
