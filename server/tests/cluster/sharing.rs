//! What one client of a host can take, at another host, from the others of its own.

use killick_client::{Anchor, Client, Error, Limit, Value, What};

use super::failing::cause;
use super::harness::{Hosts, eventually, run};

/// What a host gives the clients of another: as many as here for each, and four times as many for all of
/// them; of nodes a quarter for each.
const LIMITS: [(&str, &str); 4] = [
    ("--max-connection-nodes", "16"),
    ("--max-watches", "2"),
    ("--max-connection-channels", "2"),
    ("--max-connection-values", "2"),
];

/// Two hosts, the second with these limits.
async fn hosts() -> Hosts {
    let mut hosts = Hosts::new(2);
    let limits = LIMITS.iter().flat_map(|(flag, limit)| [*flag, *limit]);
    hosts[1].arguments.extend(limits.map(str::to_owned));
    hosts.launch();
    hosts.whole().await;
    hosts
}

/// Walks to one path after the other until that is refused: what it has then, and why.
async fn walk_on(client: &Client, path: impl Fn(usize) -> String) -> (Vec<Anchor>, Error) {
    let mut held = Vec::new();
    loop {
        match client.walk(path(held.len())).await {
            Ok(anchor) => held.push(anchor),
            Err(refused) => return (held, refused),
        }
        assert!(held.len() < 100, "nothing limits it");
    }
}

/// Checks that a call was refused by the other host, for this limit of its.
#[track_caller]
fn assert_limit(refused: &Error, limit: Limit, words: &str) {
    let Error::Limit { limit: met, message } = cause(refused) else { panic!("{refused:?}") };
    assert_eq!(*met, limit, "{message}");
    assert!(message.contains(words), "{message}");
}

#[test]
fn each_client_of_a_host_has_a_share_of_the_nodes_that_all_of_them_may_keep_at_another() {
    run(async {
        let hosts = hosts().await;
        let far = hosts[1].client().await;
        let greedy = hosts[0].client().await;
        let path = |who: &str, number| hosts[1].path(&format!("{who}-{number}"));
        let (held, refused) = walk_on(&greedy, |number| path("greedy", number)).await;
        assert_eq!(held.len(), 4);
        let words = "limit of 4 nodes for one client of another host (max-connection-nodes)";
        assert_limit(&refused, Limit::ConnectionNodes, words);
        // What it reaches by those counts as its own too.
        let refused = held[0].walk("below").await.expect_err("one more");
        assert_limit(&refused, Limit::ConnectionNodes, words);
        assert_eq!(far.names_at("").await.expect("names").len(), 4, "nothing is left of those");

        let mut others = Vec::new();
        for number in 0..3 {
            let other = hosts[0].client().await;
            let (held, refused) = walk_on(&other, |n| path(&format!("other{number}"), n)).await;
            assert_eq!(held.len(), 4);
            assert_limit(&refused, Limit::ConnectionNodes, words);
            others.push((other, held));
        }
        // A fifth has as large a share, of which nothing is left.
        let fifth = hosts[0].client().await;
        let refused = fifth.walk(path("fifth", 0)).await.expect_err("all of it is taken");
        let words = "limit of 16 nodes for all clients of another host (max-connection-nodes)";
        assert_limit(&refused, Limit::ConnectionNodes, words);
        fifth.walk(hosts[0].path("mine")).await.expect("at its own host");
        far.walk("local").await.expect("a client of that host");
        let met = hosts[1].samples()[r#"killick_limits_hit_total{limit="max-connection-nodes"}"#];
        assert!(met >= 6.0, "{met}");

        // Each is free again once it is let go of, and all of them once a client ends.
        others[0].1.pop();
        eventually("room for one", async || fifth.walk(path("fifth", 0)).await.is_ok()).await;
        drop((held, greedy));
        let mut held = Vec::new();
        eventually("room for the fifth", async || {
            held = walk_on(&fifth, |number| path("fifth", number)).await.0;
            held.len() == 4
        })
        .await;
        drop((held, fifth, others, far));
        hosts.calm().await;
    });
}

#[test]
fn the_other_host_names_each_client_in_its_log() {
    run(async {
        let mut hosts = Hosts::new(2);
        hosts[1].level = "info";
        hosts.launch();
        hosts.whole().await;
        let client = hosts[0].client().await;
        for _ in 0..3 {
            client.load_at(hosts[1].path("mail")).await.expect("loaded");
        }
        let peer = format!("a client of host {}", hosts[0].name());
        let lines = |log: &str| log.lines().filter(|line| line.contains(&peer)).count();
        assert_eq!(lines(&hosts[1].log()), 1, "{}", hosts[1].log());
        hosts[0].client().await.load_at(hosts[1].path("mail")).await.expect("loaded");
        assert_eq!(lines(&hosts[1].log()), 2, "{}", hosts[1].log());
    });
}

#[test]
fn each_client_of_a_host_has_as_many_watches_channels_and_values_at_another_as_one_there() {
    run(async {
        let hosts = hosts().await;
        let root = format!("/{}", hosts[1].name());
        let mut clients = Vec::new();
        // The fifth has nothing any more that is not the others'.
        for number in 0..5 {
            let client = hosts[0].client().await;
            let root = client.walk(&root).await.expect("walked");
            let (mut watches, mut channels, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
            let (most, whose) = match number {
                0..4 => (2, "one client of another host"),
                _ => (0, "all clients of another host"),
            };
            for count in 0..=most {
                let ended = |limit, refused: Error| {
                    assert_eq!(count, most, "{refused:?}");
                    assert_limit(&refused, limit, whose);
                };
                let mut watch = root.watch(What::Value);
                match watch.next().await {
                    Ok(_) => watches.push(watch),
                    Err(refused) => ended(Limit::Watches, refused),
                }
                match root.new_chan(1).await {
                    Ok(channel) => channels.push(channel),
                    Err(refused) => ended(Limit::ConnectionChannels, refused),
                }
                // Nodes have a limit of their own.
                let path = format!("{number}-{count}");
                match root.store_at(&path, Value::from("x").bound(), false).await {
                    Ok(_) => anchors.push(path),
                    Err(refused) => ended(Limit::ConnectionValues, refused),
                }
            }
            assert_eq!([watches.len(), channels.len(), anchors.len()], [most; 3]);
            clients.push((client, root, watches, channels, anchors));
        }
        let (_, root, .., anchors) = &clients[0];
        for path in anchors {
            root.walk(path).await.expect("walked").clear().await.expect("cleared");
        }
        root.store_at("again", Value::from("x").bound(), false).await.expect("room again");
        root.walk("again").await.expect("walked").clear().await.expect("cleared");
        for (_, root, .., anchors) in &clients[1..] {
            for path in anchors {
                root.walk(path).await.expect("walked").clear().await.expect("cleared");
            }
        }
        drop(clients);
        hosts.calm().await;
    });
}
