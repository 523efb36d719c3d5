//! What the command line shows of a cluster, and how it ends when a host has gone.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::harness::{Host, Hosts, eventually, is_host, run};
use super::joining::pruned;

/// A command that goes on; it is killed when this is dropped.
struct Held {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Held {
    /// Starts it, and waits until it says `line`.
    fn by(host: &Host, arguments: &[&str], line: &str) -> Self {
        let mut process = host.begin(arguments);
        let said = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut held = Held { process, said };
        assert_eq!(held.line(), line);
        held
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("to send a signal");
    }

    /// How it has ended by itself, and what it complained of.
    async fn ended(mut self) -> (Option<i32>, String) {
        let mut status = None;
        eventually("its end", async || {
            status = self.process.try_wait().expect("to wait for it");
            status.is_some()
        })
        .await;
        let complained = self.process.stderr.take().expect("a pipe");
        let complained = std::io::read_to_string(complained).expect("text");
        (status.expect("it has ended").code(), complained)
    }
}

#[test]
fn ls_and_tree_tell_of_every_host_and_of_what_each_has() {
    run(async {
        let hosts = Hosts::start(3).await;
        let (one, other) = (&hosts[0], &hosts[1]);
        one.run(&["store", "here/x", "1"]).expect("stored");
        one.run(&["store", &other.path("there/a/b"), "2"]).expect("stored");

        let listed = one.run(&["ls", "-l", "/"]).expect("ls");
        assert_eq!(listed.lines().count(), 3);
        assert!(listed.lines().all(|line| line.starts_with("up       ")), "{listed}");
        let listed = one.told(&["ls", "--json", "/"]);
        let of = |host: &str| listed.iter().find(|told| told["name"] == host).expect("listed");
        assert_eq!(of(one.name())["children"], 1);
        assert!(of(other.name())["children"].is_null(), "{listed:?}");

        let shown = one.told(&["tree", "--json", "/"]);
        let mut expected = Vec::new();
        for name in hosts.names() {
            let path = format!("/{name}");
            let below: &[(&str, u64, u64)] = match &name {
                name if name == one.name() => &[("", 1, 1), ("/here", 2, 1), ("/here/x", 3, 0)],
                name if name == other.name() => {
                    &[("", 1, 1), ("/there", 2, 1), ("/there/a", 3, 1), ("/there/a/b", 4, 0)]
                }
                _ => &[("", 1, 0)],
            };
            let told = below.iter();
            expected.extend(told.map(|(end, depth, children)| {
                (json!(format!("{path}{end}")), json!(depth), json!(children))
            }));
        }
        let parts = |told: &serde_json::Value| {
            (told["path"].clone(), told["depth"].clone(), told["children"].clone())
        };
        assert_eq!(shown.iter().map(parts).collect::<Vec<_>>(), expected);
        let shown = one.run(&["tree", "/"]).expect("tree");
        assert!(shown.ends_with("\n8 nodes, 2 with a value\n"), "{shown}");
        let shown = one.run(&["tree", "/", "--depth", "1"]).expect("tree");
        assert!(shown.ends_with("\n3 nodes, 0 with a value\n"), "{shown}");

        // The cell of another host's own anchor.
        let root = format!("/{}", other.name());
        one.run(&["store", &root, "3"]).expect("stored");
        let shown = one.run(&["tree", "/"]).expect("tree");
        assert!(shown.contains(&format!("── {} *\n", other.name())), "{shown}");
        assert!(shown.ends_with("\n8 nodes, 3 with a value\n"), "{shown}");
        let shown = one.run(&["tree", &root]).expect("tree");
        assert!(shown.starts_with(&format!("{root} *\n└── there\n")), "{shown}");
        assert!(shown.ends_with("\n4 nodes, 2 with a value\n"), "{shown}");
        for start in [&root, "/"] {
            let shown = one.told(&["tree", "--json", start]);
            let told = shown.iter().find(|told| told["path"] == *root).expect("shown");
            assert_eq!((&told["filled"], &told["children"]), (&json!(true), &json!(1)));
        }
    });
}

#[test]
fn tree_shows_which_host_does_not_answer_and_goes_on_with_the_others() {
    run(async {
        let hosts = Hosts::start(3).await;
        for host in hosts.iter() {
            hosts[0].run(&["store", &host.path("x"), "1"]).expect("stored");
        }
        hosts[2].signal(Signal::STOP);
        let (code, shown, _) = hosts[0].ran(&["tree", "/", "--timeout", "1s"]);
        let silent = format!("── {} (no answer within 1.00 s)", hosts[2].name());
        assert!(shown.contains(&silent), "{shown}");
        assert!(shown.ends_with("\n5 nodes, 2 with a value\n"), "{shown}");
        assert_eq!(code, Some(1));
        let (code, shown, complained) = hosts[0].ran(&["tree", "--json", "/"]);
        assert_eq!((code, &*complained), (Some(1), "killick: tree /: 1 host not shown whole\n"));
        let shown: Vec<serde_json::Value> =
            shown.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        for told in &shown {
            let is_silent = told["path"] == format!("/{}", hosts[2].name());
            assert_eq!(told["error"].is_string(), is_silent, "{told}");
        }
        hosts[2].signal(Signal::CONT);
    });
}

#[test]
fn ps_shows_the_processes_of_every_host_and_which_one_does_not_answer() {
    run(async {
        let mut hosts = Hosts::new(3);
        let allow = ["--allow-exec", "/bin/"].map(str::to_owned);
        hosts.iter_mut().for_each(|host| host.arguments.extend(allow.clone()));
        hosts.launch();
        hosts.whole().await;
        // One has it at its own anchor.
        let at = [".", "jobs/one", "two"];
        for (host, path) in hosts.iter().zip(at) {
            let start = ["exec", "--detach", "--at", path, "--", "/bin/sleep", "60"];
            host.run(&start).expect("started");
        }
        let path = |host: &Host, at: &str| match at {
            "." => format!("/{}", host.name()),
            at => host.path(at),
        };
        let paths: Vec<_> = hosts.iter().zip(at).map(|(host, at)| path(host, at)).collect();
        let told = |said: &str| {
            let line = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
            let paths =
                said.lines().map(|said| line(said)["path"].as_str().expect("a path").to_owned());
            paths.collect::<Vec<_>>()
        };
        let sorted = |paths: &[String]| {
            let mut paths = paths.to_vec();
            paths.sort();
            paths
        };
        for host in hosts.iter() {
            let shown = host.run(&["ps", "--json", "/"]).expect("ps");
            assert_eq!(told(&shown), sorted(&paths));
        }
        let shown = hosts[0].run(&["ps", "/"]).expect("ps");
        assert_eq!(shown.lines().count(), 4, "{shown}");

        hosts[2].signal(Signal::STOP);
        let (code, shown, complained) = hosts[0].ran(&["ps", "--json", "--timeout", "1s", "/"]);
        assert_eq!((code, told(&shown)), (Some(1), sorted(&paths[..2])), "{complained}");
        let (host, start) = (hosts[2].name(), "killick: ps /: 1 host not shown whole: ");
        assert_eq!(complained, format!("{start}{host} (no answer within 1.00 s)\n"));
        hosts[2].signal(Signal::CONT);
    });
}

#[test]
fn what_holds_something_at_a_host_that_goes_ends_and_says_so() {
    run(async {
        let mut hosts = Hosts::start(2).await;
        let path = hosts[1].path("x");
        let value = hosts[1].path("value");
        let held = Held::by(&hosts[0], &["walk", &path], &format!("holding {path}"));
        let bound = ["store", "--bound", &value, "1"];
        let bound = Held::by(&hosts[0], &bound, &format!("holding {value}"));
        hosts[1].kill();
        for (held, what) in [(held, format!("walk {path}")), (bound, format!("store {value}"))] {
            let (code, complained) = held.ended().await;
            let expected = format!("killick: {what}: disconnected: ");
            assert!(complained.starts_with(&expected), "{complained}");
            assert_eq!((code, complained.lines().count()), (Some(1), 1), "{complained}");
        }
        hosts[0].client().await.info().await.expect("the near host is there");
    });
}

#[test]
fn watch_goes_on_with_a_host_that_comes_back_and_ends_without_one() {
    run(async {
        let mut hosts = Hosts::start(2).await;
        let path = hosts[1].path("x");
        hosts[1].run(&["store", "x", "before"]).expect("stored");
        let first = "value 1: before";
        let mut watch = Held::by(&hosts[0], &["watch", &path], first);
        let impatient = ["watch", &path, "--timeout", "2s"];
        let impatient = Held::by(&hosts[0], &impatient, first);
        hosts[1].kill();
        let (code, complained) = impatient.ended().await;
        let expected = format!("killick: watch {path}: ");
        assert!(complained.starts_with(&expected), "{complained}");
        let gone = format!("host {} ", hosts[1].name());
        assert!(complained.contains(&gone) || complained.contains("disconnected"), "{complained}");
        assert_eq!((code, complained.lines().count()), (Some(1), 1), "{complained}");
        hosts[1].launch();
        // The same host, with an empty tree.
        assert_eq!(watch.line(), "empty 0");
        hosts[1].run(&["store", "x", "after"]).expect("stored");
        assert_eq!(watch.line(), "value 1: after");
    });
}

#[test]
fn an_end_made_at_a_second_host_and_stored_at_a_third_outlives_the_command() {
    run(async {
        let hosts = Hosts::start(3).await;
        let [made, end] = [hosts[1].path("f"), hosts[2].path("fr")];
        let make = ["chan", "make", &made, "--capacity", "1", "--recv-end", &end];
        hosts[0].run(&make).expect("made");
        hosts[1].run(&["send", "f", "mail"]).expect("sent");
        assert_eq!(hosts[2].run(&["recv", "fr"]).expect("received").trim_end(), "mail");
        hosts[1].run(&["send", "f", "more"]).expect("sent");
        assert_eq!(hosts[0].run(&["recv", &end]).expect("received").trim_end(), "more");
    });
}

#[test]
fn exec_with_the_anchor_of_another_host_says_what_to_do() {
    run(async {
        let mut hosts = Hosts::new(2);
        hosts[0].arguments.extend(["--allow-exec", "/bin/"].map(str::to_owned));
        hosts.launch();
        hosts.whole().await;
        let there = hosts[1].path("p");
        let start = ["exec", "--detach", "--at", &there];
        let refused = hosts[0].run(&[&start[..], &["--", "/bin/sleep", "60"]].concat());
        let line = refused.expect_err("that is another host's");
        assert!(
            line.starts_with("killick: exec: a process gets an anchor of the host that starts it")
        );
        assert!(line.contains(&there) && line.contains("--connect"), "{line}");
        // What it says can be done.
        let here = ["--anchor", "/self/p", "--", "/bin/sleep", "60"];
        hosts[0].run(&[&start[..], &here].concat()).expect("started here, stored there");
        hosts[1].run(&["kill", "p"]).expect("ended");
    });
}

#[test]
fn what_is_bound_at_another_host_goes_with_the_connection_of_the_hosts_and_when_asked_to() {
    run(async {
        let mut hosts = Hosts::start(2).await;
        let paths = ["asked", "killed", "replaced"].map(|name| hosts[1].path(name));
        let store = |path: &str| {
            let line = format!("holding {path}");
            Held::by(&hosts[0], &["store", "--bound", path, "1"], &line)
        };
        let [asked, killed, replaced] = paths.each_ref().map(|path| store(path));
        hosts[1].run(&["store", "replaced", "2"]).expect("stored");
        for held in [asked, replaced] {
            held.signal(Signal::TERM);
            assert_eq!(held.ended().await, (Some(0), String::new()));
        }
        let there = hosts[1].client().await;
        pruned(&there, "asked").await;
        assert_eq!(there.names_at("").await.expect("listed"), ["killed", "replaced"]);
        let value = there.load_at("replaced").await.expect("loaded");
        assert_eq!(value.text(), Some("2"));

        // Its near host knows that it has gone, and the far one does not.
        drop(killed);
        let near = hosts[0].client().await;
        eventually("its connection has gone", async || {
            let clients = near.clients().await.expect("clients");
            clients.iter().filter(|client| !is_host(&client.peer)).count() == 1
        })
        .await;
        assert_eq!(there.load_at("killed").await.expect("loaded").text(), Some("1"));
        drop(near);
        hosts[0].kill();
        pruned(&there, "killed").await;
    });
}
