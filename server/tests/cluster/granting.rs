//! What may be done at another host: as much as here, and no more.

use futures::future::join_all;
use killick_client::{Allowance, Client, Denied, Error, Resource, Right, Rights};

use super::failing::cause;
use super::harness::{Hosts, run};

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
