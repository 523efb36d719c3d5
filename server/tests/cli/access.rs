//! --identity, --authorized, --allow-uid: who is let in, as those see it who run it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;

use super::support::{PATIENCE, Ran, Server, at, has, program, run, serving, signal, told, wait};

/// A server with TLS, an authority, and an authorized file.
struct Secured {
    process: Child,
    log: Receiver<String>,
    address: String,
    folder: tempfile::TempDir,
}

impl Secured {
    /// Starts one that lets in whom `clients` name, each with its root.
    fn start(clients: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        at(path, &["ca", "new", "--out", "ca"]).ok();
        at(path, &["cert", "host", "localhost", "127.0.0.1", "--ca", "ca", "--out", "host"]).ok();
        let mut lines = String::new();
        for (client, root) in clients {
            let make = ["cert", "client", client, "--ca", "ca", "--out", client, "--root", root];
            lines += &format!("{}\n", told(&at(path, &make), "authorized"));
        }
        fs::write(path.join("authorized"), lines).expect("written");
        let mut serve = program();
        serve.current_dir(path);
        serve.args(["serve", "--listen", "tls:127.0.0.1:0", "--tls-identity", "host"]);
        let (process, line, stderr) = serving(serve.args(["--authorized", "authorized"]));
        let (lines, log) = channel();
        // It ends with the process.
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        let secured = Secured { process, log, address, folder };
        let line = secured.logged();
        assert!(
            line.contains(&format!("INFO serving addresses=\"{}\"", secured.address)),
            "{line}"
        );
        secured
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, client: &str, arguments: &[&str]) -> Command {
        let mut command = program();
        let wait = format!("{}s", PATIENCE.as_secs());
        command.env("KILLICK_ADDR", &self.address).env("KILLICK_IDENTITY", self.path(client));
        command.args(["--timeout", &wait]).args(arguments);
        command
    }

    fn run(&self, client: &str, arguments: &[&str]) -> Ran {
        run(&mut self.command(client, arguments), b"")
    }

    /// The next line of the log.
    fn logged(&self) -> String {
        self.log.recv_timeout(PATIENCE).expect("a line")
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn clients_with_a_line_meet_over_tls_and_each_sees_what_is_below_its_root() {
    let secured = Secured::start(&[("alice", "/team/alice"), ("team", "/team"), ("admin", "/")]);
    secured.run("alice", &["store", "greeting", "hello"]).ok();
    assert_eq!(secured.run("alice", &["load", "greeting"]).ok(), "hello\n");
    assert_eq!(secured.run("team", &["load", "alice/greeting"]).ok(), "hello\n");
    assert_eq!(secured.run("admin", &["load", "/self/team/alice/greeting"]).ok(), "hello\n");
    secured.run("admin", &["store", "secret", "1"]).ok();
    secured.run("team", &["lookup", "secret"]).error(3);
    assert_eq!(secured.run("alice", &["ls"]).ok(), "greeting\n");

    let clients = secured.run("admin", &["clients"]);
    assert!(clients.ok().contains("tls 127.0.0.1:"), "{clients:?}");
    assert!(clients.ok().contains(", key "), "{clients:?}");
    for arguments in [
        &["info"][..],
        &["clients"],
        &["top", "--count", "1"],
        &["ls", "/"],
        &["load", "/self/secret"],
        &["store", "/self/x", "1"],
    ] {
        let ran = secured.run("alice", arguments);
        assert!(ran.error(1).contains("or does not offer it to you"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn what_needs_no_more_than_an_anchor_works_below_one() {
    let secured = Secured::start(&[("alice", "/team/alice"), ("admin", "/")]);
    for (client, knows_host) in [("alice", false), ("admin", true)] {
        let bench = secured.run(client, &["bench", "load", "--duration", "50ms", "--json"]);
        assert!(bench.json()[0]["operations"].as_u64() > Some(0), "{bench:?}");
        assert_eq!(bench.json()[0]["serverCpuMicros"].is_f64(), knows_host, "{bench:?}");
        let bench = secured.run(client, &["bench", "walk", "--duration", "50ms"]);
        assert_eq!(bench.ok().contains(" -\n"), !knows_host, "{bench:?}");

        // What is refused does not end it either.
        let long = "d/".repeat(200);
        let lines = format!("a\n{long}\nb\n");
        let imported = run(&mut secured.command(client, &["import", "-"]), lines.as_bytes());
        assert!(imported.text().starts_with("stored 2 paths"), "{imported:?}");
        assert_eq!(imported.text().contains("\nserver: "), knows_host, "{imported:?}");
        assert_eq!(secured.run(client, &["ls"]).ok().lines().next(), Some("a"));
    }
    assert_eq!(secured.run("admin", &["load", "team/alice/b"]).ok(), "b\n");
}

#[test]
fn a_key_without_a_line_is_told_so_at_both_ends() {
    let secured = Secured::start(&[("alice", "/")]);
    let folder = secured.folder.path().to_owned();
    let eve = at(&folder, &["cert", "client", "eve", "--ca", "ca", "--out", "eve"]);
    let key = told(&eve, "fingerprint");
    let ran = secured.run("eve", &["load", "greeting"]);
    let expected =
        format!("killick: load greeting: {} does not let in the key {key}", secured.address);
    assert!(ran.error(1).starts_with(&expected), "{ran:?}");
    let line = secured.logged();
    for command in ["bench", "top"] {
        let ran = secured.run("eve", &[command]);
        let expected = expected.replace("load greeting", command);
        assert!(ran.error(1).starts_with(&expected), "{ran:?}");
        assert!(secured.logged().contains("connection refused peer"));
    }
    assert!(line.contains("connection refused peer=\"tls 127.0.0.1:"), "{line}");
    assert!(line.contains(&format!("no line for {key} in the authorized file")), "{line}");
    // What was printed when it was made is what lets it in.
    let mut lines = fs::read_to_string(secured.path("authorized")).expect("read");
    lines += &format!("{}\n", told(&eve, "authorized"));
    fs::write(secured.path("authorized"), lines).expect("written");
    signal(&secured.process, Signal::HUP);
    assert!(secured.logged().contains("INFO reloaded"));
    secured.run("eve", &["store", "greeting", "hello"]).ok();
    assert_eq!(secured.run("alice", &["load", "eve/greeting"]).ok(), "hello\n");
}

#[test]
fn a_line_that_goes_ends_its_connections_and_a_bad_file_changes_nothing() {
    let secured = Secured::start(&[("alice", "/"), ("bob", "/bob")]);
    let mut held = secured
        .command("bob", &["walk", "held"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("to start");
    let mut watch = secured
        .command("bob", &["watch", "held"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("to start");
    let mut line = String::new();
    BufReader::new(watch.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "empty 0\n");
    let mut line = String::new();
    BufReader::new(held.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "holding held\n");
    let lines = fs::read_to_string(secured.path("authorized")).expect("read");

    fs::write(secured.path("authorized"), format!("{lines}nonsense\n")).expect("written");
    signal(&secured.process, Signal::HUP);
    let line = secured.logged();
    assert!(
        line.contains("not reloaded") && line.contains("authorized:3: a fingerprint"),
        "{line}"
    );
    secured.run("alice", &["lookup", "bob/held"]).ok();

    let alice = lines.lines().next().expect("a line");
    fs::write(secured.path("authorized"), format!("{alice}\n")).expect("written");
    signal(&secured.process, Signal::HUP);
    let mut log = [secured.logged(), secured.logged(), secured.logged()];
    log.sort_by_key(|line| line.contains("revoked"));
    assert!(log[0].contains("INFO reloaded"), "{log:?}");
    assert!(log[1..].iter().all(|line| line.contains("reason=its access was revoked")), "{log:?}");
    assert_eq!(wait(&mut held).code(), Some(1));
    let told = std::io::read_to_string(held.stderr.take().expect("a pipe")).expect("text");
    assert_eq!(told, "killick: walk held: its access was revoked\n");
    assert_eq!(wait(&mut watch).code(), Some(1));
    let told = std::io::read_to_string(watch.stderr.take().expect("a pipe")).expect("text");
    let line = "killick: watch held: its access was revoked: the server does not let in the key ";
    assert!(told.starts_with(line), "{told}");
    secured.run("alice", &["lookup", "bob/held"]).error(3);
}

#[test]
fn a_file_that_never_ends_stops_neither_a_reload_nor_the_end() {
    let mut secured = Secured::start(&[("alice", "/")]);
    let path = |name: &str| secured.folder.path().join(name);
    for file in ["authorized", "host/key.pem", "host/cert.pem", "host/ca.pem"] {
        fs::rename(path(file), path("kept")).expect("moved");
        assert!(Command::new("mkfifo").arg(path(file)).status().expect("mkfifo").success());
        signal(&secured.process, Signal::HUP);
        let line = secured.logged();
        let expected = format!("{file}: not a regular file");
        assert!(line.contains("not reloaded") && line.contains(&expected), "{line}");
        secured.run("alice", &["ls"]).ok();
        fs::rename(path("kept"), path(file)).expect("moved back");
    }
    assert!(Command::new("mkfifo").arg(path("fifo")).status().expect("mkfifo").success());
    fs::rename(path("fifo"), path("authorized")).expect("moved");
    signal(&secured.process, Signal::HUP);
    signal(&secured.process, Signal::TERM);
    assert_eq!(wait(&mut secured.process).code(), Some(0));
}

#[test]
fn a_tls_address_takes_an_identity_and_says_what_is_wrong_with_one() {
    let secured = Secured::start(&[("alice", "/")]);
    let without = run(program().args(["load", "a", "--connect", &secured.address]), b"");
    assert!(without.error(2).contains("--identity or KILLICK_IDENTITY"), "{without:?}");
    let ran = secured.run("nobody", &["load", "a"]);
    assert!(ran.error(1).contains("nobody/key.pem: No such file"), "{ran:?}");
    let key = secured.path("alice/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened");
    let ran = secured.run("alice", &["load", "a"]);
    assert!(ran.error(1).contains("key.pem: others may use this key (mode 0644"), "{ran:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");

    // Another name than those in the certificate, and another authority than one's own.
    let port = secured.address.rsplit_once(':').expect("a port").1;
    let elsewhere = format!("tls:[::ffff:127.0.0.1]:{port}");
    secured.run("alice", &["--connect", &elsewhere, "lookup", "."]).ok();
    let ours = at(secured.folder.path(), &["cert", "show", "ca"]);
    let name = told(&ours, "subject");
    at(secured.folder.path(), &["ca", "new", "--name", name, "--out", "ca2"]).ok();
    let make = ["cert", "client", "mallory", "--ca", "ca2", "--out", "mallory"];
    at(secured.folder.path(), &make).ok();
    let ran = secured.run("mallory", &["load", "a"]);
    let foreign = "certificate is of another authority than the one with the same name in";
    let expected = format!("the server's {foreign} your ca.pem (invalid peer certificate: BadSig");
    assert!(ran.error(1).contains(&expected), "{ran:?}");
    let log = secured.logged();
    assert!(log.contains(&format!("this server's {foreign} the client's ca.pem")), "{log}");
    // One that trusts the right authority, and shows a certificate of the wrong one.
    fs::copy(secured.path("ca/ca.pem"), secured.path("mallory/ca.pem")).expect("copied");
    let ran = secured.run("mallory", &["load", "a"]);
    assert!(ran.error(1).contains("does not let in the key "), "{ran:?}");
    let expected = format!("your {foreign} the server's ca.pem: received fatal alert");
    assert!(ran.error(1).contains(&expected), "{ran:?}");
    let log = secured.logged();
    assert!(log.contains(&format!("the client's {foreign} this server's ca.pem")), "{log}");
    assert_eq!(run(program().args(["serve", "--identity", "x"]), b"").code, Some(2));
}

#[test]
fn openssl_reads_the_keys_takes_the_certificates_and_tells_the_same_fingerprint() {
    if !has("openssl", &["version"]) {
        return;
    }
    let secured = Secured::start(&[("alice", "/")]);
    let folder = secured.folder.path().to_owned();
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(&folder).args(arguments);
        run(&mut command, b"")
    };
    for key in ["ca/ca-key.pem", "host/key.pem", "alice/key.pem"] {
        let read = openssl(&["pkey", "-in", key, "-noout", "-text"]);
        assert!(read.ok().starts_with("ED25519 Private-Key"), "{read:?}");
    }
    for (purpose, file) in [
        ("sslserver", "host/cert.pem"),
        ("sslclient", "host/cert.pem"),
        ("sslclient", "alice/cert.pem"),
    ] {
        let strict = ["verify", "-x509_strict", "-CAfile", "ca/ca.pem", "-purpose", purpose, file];
        openssl(&strict).ok();
    }
    let wrong = ["verify", "-CAfile", "ca/ca.pem", "-purpose", "sslserver", "alice/cert.pem"];
    assert_ne!(openssl(&wrong).code, Some(0));
    fs::write(
        folder.join("public.pem"),
        openssl(&["x509", "-in", "alice/cert.pem", "-noout", "-pubkey"]).ok(),
    )
    .expect("written");
    openssl(&["pkey", "-pubin", "-in", "public.pem", "-outform", "DER", "-out", "public.der"]).ok();
    let digest = openssl(&["dgst", "-sha256", "-r", "public.der"]);
    let shown = at(&folder, &["cert", "show", "alice"]);
    assert_eq!(digest.ok().split(' ').next(), Some(told(&shown, "fingerprint")));

    // The same client gets through with TLS 1.3 and not with 1.2, whose handshake has all that it needs.
    let address = secured.address["tls:".len()..].to_owned();
    let connect = |version| {
        openssl(&[
            "s_client",
            "-connect",
            &address,
            version,
            "-CAfile",
            "ca/ca.pem",
            "-cert",
            "alice/cert.pem",
            "-key",
            "alice/key.pem",
            "-verify_return_error",
            "-brief",
        ])
    };
    let new = connect("-tls1_3");
    assert!(new.code == Some(0) && new.stderr.contains("Protocol version: TLSv1.3"), "{new:?}");
    let old = connect("-tls1_2");
    assert!(old.code != Some(0) && old.stderr.contains("protocol version"), "{old:?}");
    let line = secured.logged();
    assert!(line.contains("reason=TLS handshake: peer is incompatible"), "{line}");
}

#[test]
fn pythons_ssl_takes_an_identity_and_shakes_hands() {
    if !has("python3", &["-c", "import ssl; assert ssl.HAS_TLSv1_3"]) {
        return;
    }
    let secured = Secured::start(&[("alice", "/")]);
    let script = "
import socket, ssl, sys
folder, port, question = sys.argv[1:]
context = ssl.create_default_context(cafile=folder + '/ca.pem')
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain(folder + '/cert.pem', folder + '/key.pem')
with socket.create_connection(('localhost', int(port))) as plain:
    with context.wrap_socket(plain, server_hostname='localhost') as stream:
        stream.sendall(bytes.fromhex(question))
        print(stream.version(), len(stream.recv(8)))
";
    let port = secured.address.rsplit_once(':').expect("a port").1;
    let mut python = Command::new("python3");
    // For the bootstrap capability, and the answer's first word is read.
    let mut message = capnp::message::Builder::new_default();
    message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>().init_bootstrap();
    let question = capnp::serialize::write_message_to_words(&message);
    let question: String = question.iter().map(|byte| format!("{byte:02x}")).collect();
    python.args(["-c", script]).arg(secured.path("alice")).args([port, &question]);
    assert_eq!(run(&mut python, b"").ok(), "TLSv1.3 8\n");
}

#[test]
fn a_server_without_its_identity_or_with_a_bad_list_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let serve = |arguments: &[&str]| at(path, &[&["serve"][..], arguments].concat());
    let ran = serve(&["--listen", "tls:127.0.0.1:0"]);
    assert!(ran.error(2).contains("cannot listen on tls:127.0.0.1:0: TLS takes"), "{ran:?}");
    let ran = serve(&["--listen", "tcp:0.0.0.0:2016"]);
    assert!(ran.error(2).contains("use tls:0.0.0.0:2016, tcp:127.0.0.1:2016 or"), "{ran:?}");
    fs::write(path.join("list"), "# nobody\n\nabc /x\n").expect("written");
    for check in [&[][..], &["--check-config"]] {
        let ran = serve(&[&["--authorized", "list"], check].concat());
        let expected = "killick: --authorized: list:3: a fingerprint has 64 hex digits, not 3";
        assert_eq!(ran.error(1), expected, "{ran:?}");
        let ran = serve(&[&["--tls-identity", "nowhere"], check].concat());
        assert!(ran.error(1).contains("tls-identity: nowhere/key.pem: No such file"), "{ran:?}");
    }
}

#[test]
fn a_foreign_user_opens_the_socket_only_if_allowed() {
    let as_user = ["--reuid=12345", "--regid=23456", "--clear-groups"];
    let program_path = env!("CARGO_BIN_EXE_killick");
    let version = [&as_user[..], &[program_path, "--version"]].concat();
    if !has("setpriv", &version) {
        return;
    }
    for (allowed, group_or_user) in [
        (true, &["--allow-uid", "12345"][..]),
        (true, &["--allow-gid", "5,23456"]),
        (false, &["--allow-uid", "23456", "--allow-gid", "12345"]),
        (false, &[]),
    ] {
        let server = Server::with(group_or_user);
        fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o755)).expect("opened");
        server.run(&["store", "a", "1"]).ok();
        if group_or_user.is_empty() {
            // The mode keeps others out before the server sees them; here it does not.
            let open = fs::Permissions::from_mode(0o666);
            assert_eq!(
                fs::metadata(server.socket()).expect("there").permissions().mode() & 0o777,
                0o600
            );
            fs::set_permissions(server.socket(), open).expect("opened");
        }
        let mut command = Command::new("setpriv");
        command.args(as_user).arg(program_path).args(["load", "a", "--connect", &server.address()]);
        let ran = run(&mut command, b"");
        match allowed {
            true => assert_eq!(ran.ok(), "1\n"),
            false => {
                let why = "killick: load a: neither user 12345 nor group 23456 is allowed";
                assert_eq!(ran.error(1), why, "{ran:?}");
            }
        }
    }
}
