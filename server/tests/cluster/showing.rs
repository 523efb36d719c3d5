//! What the command line shows of a cluster, and how it ends when a host has gone.

use rustix::process::Signal;
use serde_json::json;

use super::harness::{Hosts, run};

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
