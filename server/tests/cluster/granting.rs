//! What may be done at another host: as much as here, and no more.

use futures::future::join_all;
use killick_client::{
    Allowance, Client, Denied, Error, Identity, Options, Resource, Right, Rights,
};
use rustix::process::Signal;

use super::failing::cause;
use super::harness::{Hosts, cli, eventually, run, write};

/// The anchor that lies in a cell.
async fn adopted(client: &Client, path: &str) -> killick_client::Anchor {
    let value = client.load_at(path).await.expect("loaded").value.expect("it is there");
    client.host().await.expect("host").adopt(value.capability().expect("an anchor"))
}

#[test]
fn what_was_narrowed_here_is_narrowed_there_and_taken_back_everywhere() {
    run(async {
        let hosts = Hosts::start(3).await;
        let clients = join_all(hosts.iter().map(|host| host.client())).await;
        let names: Vec<_> = hosts.iter().map(|host| host.name().to_owned()).collect();
        for client in &clients {
            client.store_at("news", "sunny", false).await.expect("stored");
        }
        let allowance = Allowance { nodes: 2, ..Allowance::default() };
        let root = clients[0].root().await.expect("root");
        let (read, readers) =
            root.attenuate(Rights::READ, Allowance::default()).await.expect("narrowed");
        let (some, few) = root.attenuate(Rights::ALL, allowance).await.expect("narrowed");
        clients[0].store_at("read", &read, false).await.expect("stored");
        clients[0].store_at("some", &some, false).await.expect("stored");

        // A client of the second host has it from the first one, and uses it at all of them.
        let given = adopted(&clients[1], &hosts[0].path("read")).await;
        let few_given = adopted(&clients[1], &hosts[0].path("some")).await;
        let mut kept = Vec::new();
        for name in &names {
            let news = given.load_at(format!("{name}/news")).await.expect("loaded");
            assert_eq!(news.text(), Some("sunny"));
            let refused = given.walk(format!("{name}/x")).await.expect_err("no right");
            assert!(matches!(refused, Error::Denied(Denied::Right(Right::Walk))), "{refused:?}");
            kept.push(given.lookup(format!("{name}/news")).await.expect("found").expect("there"));
            let refused =
                kept.last().expect("one").store("rain", true).await.expect_err("no right");
            // Of a capability that came in a value it is not known whose word that is.
            let denied = cause(&refused);
            assert!(matches!(denied, Error::Denied(Denied::Right(Right::Store))), "{refused:?}");

            let two = few_given.walk(format!("{name}/1/2")).await.expect("within the limit");
            let refused = few_given.walk(format!("{name}/3")).await.expect_err("too many");
            let expected = Denied::Exhausted { resource: Resource::Nodes, limit: 2 };
            assert!(
                matches!(&refused, Error::Denied(denied) if *denied == expected),
                "{refused:?}"
            );
            drop(two);
        }
        // This nobody takes back.
        let (held, never) = root.attenuate(Rights::READ, Allowance::default()).await.expect("made");
        for name in &names {
            let news = held.load_at(format!("{name}/news")).await.expect("loaded");
            assert_eq!(news.text(), Some("sunny"));
        }
        drop((held, never));
        readers.revoke().await.expect("revoked");
        few.revoke().await.expect("revoked");
        for (name, kept) in names.iter().zip(&kept) {
            for refused in [
                kept.load().await.map(drop),
                given.load_at(format!("{name}/news")).await.map(drop),
                few_given.walk(format!("{name}/1")).await.map(drop),
            ] {
                let refused = refused.expect_err("it is revoked");
                assert!(matches!(refused, Error::Denied(Denied::Revoked)), "{name}: {refused:?}");
            }
        }
        for client in &clients {
            client.walk("news").await.expect("walked").clear().await.expect("cleared");
        }
        for path in ["read", "some"] {
            clients[0].walk(path).await.expect("walked").clear().await.expect("cleared");
        }
        drop((read, readers, some, few, given, few_given, kept, root, clients));
        hosts.calm().await;
    });
}

#[test]
fn who_is_let_in_by_a_key_reaches_other_hosts_if_the_whole_host_is_given_and_is_named_there() {
    run(async {
        let mut hosts = Hosts::new(2);
        let folder = hosts.folder().to_owned();
        let killick = |arguments: &[&str]| cli(&folder, arguments).expect("a certificate");
        killick(&["ca", "new", "--out", "ca"]);
        killick(&["cert", "host", "127.0.0.1", "--ca", "ca", "--out", "front"]);
        let key = |name: &str| {
            let made = killick(&["cert", "client", name, "--ca", "ca", "--out", name, "--json"]);
            let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
            made["fingerprint"].as_str().expect("a fingerprint").to_owned()
        };
        let (whole, part) = (key("whole"), key("part"));
        write(&folder.join("authorized"), &format!("{whole} /\n{part} /apps\n"), 0o600);
        let file = |name: &str| folder.join(name).display().to_string();
        let front = [
            "--listen",
            "tls:127.0.0.1:0",
            "--tls-identity",
            &file("front"),
            "--authorized",
            &file("authorized"),
        ];
        hosts[0].arguments.extend(front.map(str::to_owned));
        hosts.launch();
        hosts.whole().await;
        let client = async |name: &str| {
            let identity = Some(Identity::load(&folder.join(name)).expect("an identity"));
            let options = Options { identity, ..Options::default() };
            Client::connect(&hosts[0].tls().parse().expect("an address"), options)
                .await
                .expect("a client")
        };
        let path = hosts[1].path("mail");
        let far = client("whole").await;
        far.store_at(&path, "hello", false).await.expect("stored");
        // The other host knows for whom that was.
        let told = |line: &str| line.contains("anchor given") && line.contains(&whole[..16]);
        assert!(hosts[1].log().lines().any(told), "{}", hosts[1].log());
        let near = client("part").await;
        near.store_at("own", "hello", false).await.expect("stored");
        for refused in [near.load_at(&path).await.map(drop), near.names_at("/").await.map(drop)] {
            refused.expect_err("it has a part of one host");
        }

        // Who is not let in any more has nothing there either.
        let anchor = far.walk(&path).await.expect("walked");
        write(&folder.join("authorized"), &format!("{part} /apps\n"), 0o600);
        hosts[0].signal(Signal::HUP);
        eventually("the end", async || anchor.load().await.is_err()).await;
        far.load_at(&path).await.expect_err("it is let in no more");
        near.walk("own").await.expect("walked").clear().await.expect("cleared");
        hosts[1].client().await.walk("mail").await.expect("walked").clear().await.expect("cleared");
        drop((anchor, far, near));
        hosts.calm().await;
    });
}
