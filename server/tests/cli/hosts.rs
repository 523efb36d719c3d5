//! What is told of the hosts of a cluster: hosts, ls, watch, info, top, and errors that have to do with them.
//! Of several hosts it is a stand-in that tells.

use std::rc::Rc;

use killick_client::internal::is_deceptive;
use serde_json::json;

use super::contact::{Contact, Departure, News, State, Told};
use super::support::{Ran, Server, program, run};

const UP: &str = "0123456789abcdef00000000000000aa";
const SUSPECT: &str = "89abcdef0123456700000000000000bb";
const FAILED: &str = "fedcba987654321000000000000000cc";

fn told() -> Vec<Told> {
    let addresses = vec!["tls:one.example:7200".to_owned(), "unix:/run/k.sock".to_owned()];
    vec![
        Told { hostname: "one".into(), addresses, ..Told::up(UP) },
        Told { state: State::Suspect, ..Told::up(SUSPECT) },
        Told { state: State::Failed, hostname: "three".into(), ..Told::up(FAILED) },
    ]
}

/// A stand-in at an address, for as long as `body` runs in a thread of its own.
fn with_hosts(news: Vec<News>, body: impl FnOnce(&str) + Send + 'static) {
    with(told(), news, body);
}

/// The same, that tells of these hosts.
fn with(told: Vec<Told>, news: Vec<News>, body: impl FnOnce(&str) + Send + 'static) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("k.sock");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime.block_on(async {
        let contact = Rc::new(Contact::default());
        contact.hosts.replace(told);
        contact.news.replace(news);
        contact.listen(&path);
        let address = format!("unix:{}", path.display());
        let ran = tokio::task::spawn_blocking(move || body(&address)).await;
        ran.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    });
}

fn killick(address: &str, arguments: &[&str]) -> Ran {
    run(program().args(["--connect", address, "--timeout", "60s"]).args(arguments), b"")
}

#[test]
fn a_server_alone_is_its_one_host() {
    let server = Server::start();
    let hosts = server.run(&["hosts", "--json"]).json();
    let info = &server.run(&["info", "--json"]).json()[0];
    assert_eq!(hosts.len(), 1);
    for key in ["id", "fullId", "generation", "hostname", "version"] {
        assert_eq!(hosts[0][key], info[key], "{key}");
    }
    assert!(info["cluster"].is_null() && info["generation"].as_u64() > Some(1_700_000_000_000));
    let id = info["fullId"].as_str().expect("text");
    assert!(id.len() == 32 && id.starts_with(info["id"].as_str().expect("text")));
    assert_eq!((&hosts[0]["state"], &hosts[0]["self"]), (&json!("up"), &json!(true)));
    assert_eq!(hosts[0]["addresses"], json!([server.address()]));
    assert_eq!((&hosts[0]["connected"], &hosts[0]["cluster"]), (&json!(true), &json!(null)));
    let on_tcp = Server::with(&["--listen", "tcp:127.0.0.1:0"]);
    let addresses = on_tcp.run(&["hosts", "--json"]).json()[0]["addresses"].to_string();
    assert!(addresses.contains("tcp:127.0.0.1:") && !addresses.contains(":0\""), "{addresses}");

    let text = server.run(&["hosts"]);
    assert!(text.ok().lines().nth(1).expect("a line").contains(&format!("{} *", server.host())));
    let info = server.run(&["info"]);
    assert!(info.ok().contains("cluster      none\n"), "{info:?}");
    assert!(info.ok().contains(&format!("full id      {id}\n")), "{info:?}");
    let top = server.run(&["top", "--count", "1", "--interval", "10ms"]);
    assert!(!top.ok().contains("hosts 1"), "{top:?}");
}

#[test]
fn hosts_tells_of_all_in_whatever_state() {
    with_hosts(Vec::new(), |address| {
        let hosts = killick(address, &["hosts", "--json"]).json();
        let states: Vec<_> = hosts.iter().map(|host| host["state"].clone()).collect();
        assert_eq!(states, ["up", "suspect", "failed"]);
        assert_eq!(hosts[0]["addresses"], json!(["tls:one.example:7200", "unix:/run/k.sock"]));
        assert_eq!(hosts[2]["tags"], json!({"zone": "a"}));
        assert_eq!((&hosts[0]["self"], &hosts[1]["self"]), (&json!(true), &json!(false)));

        let text = killick(address, &["hosts"]);
        let lines: Vec<_> = text.ok().lines().collect();
        assert!(lines[0].starts_with("id                  hostname  state      since  version"));
        assert!(lines[1].starts_with("0123456789abcdef *  one       up       12.00 s  0.1.0"));
        assert!(lines[2].starts_with("89abcdef01234567    -         suspect  12.00 s  -"));
        assert!(lines[3].starts_with("fedcba9876543210    three     failed "), "{lines:#?}");

        let info = killick(address, &["info"]);
        assert!(info.ok().contains("cluster      test\n"), "{info:?}");
        let top = killick(address, &["top", "--count", "1", "--interval", "10ms"]);
        assert!(top.ok().contains(", hosts 2, 1 suspect\n"), "{top:?}");
    });
}

#[test]
fn ls_long_tells_of_the_hosts_that_are_there() {
    with_hosts(Vec::new(), |address| {
        assert_eq!(killick(address, &["ls", "/"]).ok(), "0123456789abcdef\n89abcdef01234567\n");
        let lines = "up       0123456789abcdef  one  0.1.0\n\
                     suspect  89abcdef01234567  -  -\n";
        assert_eq!(killick(address, &["ls", "-l", "/"]).ok(), lines);
        let listed = killick(address, &["ls", "--json", "/"]).json();
        assert_eq!((&listed[0]["hostname"], &listed[0]["state"]), (&json!("one"), &json!("up")));
        // Of another host it is not known what it has.
        assert_eq!((&listed[0]["children"], &listed[0]["filled"]), (&json!(0), &json!(false)));
        assert!(listed[1]["children"].is_null() && listed[1]["filled"].is_null(), "{listed:?}");
    });
}

#[test]
fn nothing_of_what_another_host_says_acts_on_the_terminal_or_turns_text_around() {
    let evil = "db\u{202e}1\u{1b}[2J\u{9b}2J\u{7f}";
    let addresses = vec![format!("tls:{evil}:1")];
    let told = Told { hostname: evil.into(), addresses, ..Told::up(UP) };
    with(vec![told], Vec::new(), move |address| {
        for command in [&["hosts"][..], &["ls", "-l", "/"], &["info"], &["load", "/nobody/a"]] {
            for json in [&[][..], &["--json"]] {
                let ran = killick(address, &[command, json].concat());
                let said = ran.text().to_owned() + &ran.stderr;
                let bad = |c: &char| is_deceptive(*c) && *c != '\n';
                assert_eq!(said.chars().find(bad), None, "{command:?} {json:?}: {said:?}");
            }
        }
        let told = &killick(address, &["hosts", "--json"]).json()[0];
        assert_eq!(told["hostname"], evil);
    });
}

#[test]
fn watch_tells_how_hosts_went() {
    let name = |id: &str| id[..16].to_owned();
    let first = (vec![name(UP), name(SUSPECT), name(FAILED)], Vec::new());
    let went = vec![(name(SUSPECT), Departure::Restarted), (name(FAILED), Departure::Failed)];
    let second = (vec![name(SUSPECT)], went);
    // One that was restarted is there, and can go.
    let third = (Vec::new(), vec![(name(SUSPECT), Departure::Left)]);
    with_hosts(vec![first, second, third], |address| {
        let watched = killick(address, &["watch", "--children", "--count", "3", "/"]);
        let expected = [
            "added 0123456789abcdef",
            "added 89abcdef01234567",
            "added fedcba9876543210",
            "removed 89abcdef01234567, restarted",
            "removed fedcba9876543210, failed",
            "added 89abcdef01234567",
            "removed 89abcdef01234567, left",
        ];
        assert_eq!(watched.ok().lines().collect::<Vec<_>>(), expected);
        let told = killick(address, &["watch", "--json", "--count", "2", "/"]).json();
        assert_eq!(told[0]["departures"], json!([]));
        assert_eq!(told[1]["departures"], json!(["restarted", "failed"]));
    });
}

#[test]
fn a_path_to_no_host_is_told_what_hosts_there_are() {
    with_hosts(Vec::new(), |address| {
        let error = |path: &str| killick(address, &["load", path]).error(3).to_owned();
        let nowhere = error("/nowhere/a");
        let ids = "here '0123456789abcdef', '89abcdef01234567' or 'self'";
        assert!(
            nowhere.starts_with("killick: load /nowhere/a: no host 'nowhere': ")
                && nowhere.contains(ids)
        );
        assert!(nowhere.ends_with("did you mean 'nowhere/a'?"), "{nowhere}");
        // The name of its machine, and the beginning of its id.
        for path in ["/one/a", "/0123/a"] {
            let line = error(path);
            assert!(line.contains("did you mean '/0123456789abcdef/a', or"), "{line}");
        }
        let capitals = error("/0123456789ABCDEF/a");
        let line = "a host's whole id, in small letters; did you mean '/0123456789abcdef/a', or";
        assert!(capitals.contains(line), "{capitals}");
        let ran = killick(address, &["lookup", "--json", "/nowhere"]);
        assert_eq!(
            (ran.code, ran.json()),
            (Some(3), vec![json!({"path": "/nowhere", "exists": false})])
        );
        // Nothing can be made there.
        killick(address, &["walk", "/nowhere"]).error(1);
        let gone = killick(address, &["load", "/fedcba9876543210/a"]).error(1).to_owned();
        let line = "killick: load /fedcba9876543210/a: host fedcba9876543210 has failed 12 s ago";
        assert_eq!(gone, line);
        // It is there, and has no such path.
        killick(address, &["load", "/89abcdef01234567/a"]).error(3);
    });
}
