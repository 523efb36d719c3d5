//! Metrics and health by HTTP.

mod support;

use std::collections::HashMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use capnp_rpc::new_client;
use killick::Limits;
use killick_schema::api::anchor_capnp::anchor::loader;
use killick_server::{Address, Config, Server, StartError};
use support::scrape::{address, get, http, limit_hits, samples};
use support::{
    Harness, Peer, Put, cell, eventually, load, load_cap, put, raw, run, speaker, store, swap,
    walk, walk_error,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn harness() -> Harness {
    Harness::with(|config| {
        config.metrics = Some("127.0.0.1:0".parse().expect("an address"));
        config.limits.children = 2;
    })
}

#[test]
fn what_clients_do_is_counted() {
    let harness = harness();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let other = Peer::connect(harness.unix()).await;
        let (client, _spoken) = speaker("hello");
        put(&peer, "a", Put::cap(client)).await;
        let (loader, _) = cell(&walk(&other.anchor(), "a").await.unwrap()).await;
        let hosted: loader::Client = load_cap(&loader).await.unwrap().expect("there");
        load(&hosted).await.expect("forwarded");
        let _held = walk(&other.anchor(), "b").await.unwrap();
        assert!(walk(&other.anchor(), "c").await.is_err());
        let told = samples(&harness);
        let sample = |name: &str| *told.get(name).unwrap_or_else(|| panic!("{name} in {told:#?}"));
        assert_eq!(sample("killick_connections"), 2.0);
        assert_eq!(sample("killick_accepted_connections_total"), 2.0);
        let limit = |name| sample(&format!("killick_limits_hit_total{{limit=\"{name}\"}}"));
        assert_eq!((limit("max-connections"), limit("max-children")), (0.0, 1.0));
        assert_eq!(sample("killick_queued{thread=\"0\",kind=\"calls\"}"), 0.0);
        assert_eq!(sample("killick_refused_connections_total"), 0.0);
        assert_eq!((sample("killick_nodes"), sample("killick_values")), (3.0, 1.0));
        assert_eq!(sample("killick_hosted"), 1.0);
        assert_eq!((sample("killick_processes"), sample("killick_max_processes")), (0.0, 256.0));
        let slots = |told: &HashMap<String, f64>| {
            [0, 1].map(|thread| told[&format!("killick_bridge_slots{{thread=\"{thread}\"}}")])
        };
        assert_eq!(slots(&told).iter().sum::<f64>(), 1.0);
        assert_eq!(sample("killick_running_calls"), 0.0);
        assert!(sample("killick_stored_bytes") > 0.0 && sample("killick_resident_bytes") > 0.0);
        assert!(sample("killick_read_bytes_total") > 500.0);
        let calls = |method: &str, outcome: &str| {
            sample(&format!("killick_calls_total{{method=\"{method}\",outcome=\"{outcome}\"}}"))
        };
        assert_eq!(calls("walk", "ok"), 3.0);
        assert_eq!(calls("walk", "overloaded"), 1.0);
        assert_eq!(calls("cell", "ok"), 2.0);
        assert_eq!((calls("store", "ok"), calls("load", "ok")), (1.0, 1.0));
        assert_eq!(calls("forwarded", "ok"), 1.0);
        assert_eq!(sample("killick_call_seconds_count{method=\"walk\"}"), 4.0);
        assert_eq!(sample("killick_call_seconds_bucket{le=\"+Inf\",method=\"walk\"}"), 4.0);
        assert!(sample("killick_call_seconds_sum{method=\"walk\"}") < 10.0);

        // What has ended stays counted, and what was held does not.
        drop((loader, hosted));
        peer.leave().await;
        other.leave().await;
        eventually("their ends", async || samples(&harness)["killick_connections"] == 0.0).await;
        let told = samples(&harness);
        assert_eq!((told["killick_handles"], told["killick_hosted"]), (0.0, 0.0));
        assert_eq!(slots(&told), [0.0, 0.0]);
        assert!(told["killick_written_bytes_total"] > 500.0);
    });
}

#[test]
fn a_call_that_is_given_up_is_counted_as_that() {
    struct Silent;
    impl loader::Server for Silent {
        async fn load(
            self: std::rc::Rc<Self>,
            _: loader::LoadParams,
            _: loader::LoadResults,
        ) -> capnp::Result<()> {
            std::future::pending().await
        }
    }
    let harness = harness();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        put(&peer, "a", Put::cap(new_client::<loader::Client, _>(Silent))).await;
        let other = Peer::connect(harness.unix()).await;
        let (loader, _) = cell(&walk(&other.anchor(), "a").await.unwrap()).await;
        let hosted: loader::Client = load_cap(&loader).await.unwrap().expect("there");
        let call = hosted.load_request().send();
        eventually("the call", async || samples(&harness)["killick_running_calls"] == 1.0).await;
        drop(call);
        let given_up = "killick_calls_total{method=\"forwarded\",outcome=\"cancelled\"}";
        eventually("its end", async || samples(&harness)[given_up] == 1.0).await;
        assert_eq!(samples(&harness)["killick_running_calls"], 0.0);
    });
}

#[test]
fn health_is_that_of_all_workers() {
    let harness = harness();
    assert_eq!(get(address(&harness), "/health"), ("HTTP/1.1 200 OK".into(), "ok\n".into()));
}

#[test]
fn head_is_answered_as_get_without_a_body() {
    let harness = harness();
    for path in ["/health", "/metrics"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(http(address(&harness), &request), ("HTTP/1.1 200 OK".into(), String::new()));
    }
}

#[test]
fn what_is_no_request_for_these_is_told_so_and_takes_nothing_else() {
    let harness = harness();
    let at = address(&harness);
    assert!(get(at, "/").0.starts_with("HTTP/1.1 404"));
    assert!(http(at, "POST /metrics HTTP/1.1\r\nhost: x\r\n\r\n").0.starts_with("HTTP/1.1 405"));
    assert!(http(at, "what is this?\r\n\r\n").0.starts_with("HTTP/1.1 400"));
    // One that sends nothing does not keep the next one out, and is closed with the server.
    let silent = TcpStream::connect(at).expect("connected");
    assert_eq!(get(at, "/health").1, "ok\n");
    drop(harness);
    drop(silent);
}

#[test]
fn those_who_send_nothing_keep_nobody_out() {
    let harness = harness();
    let at = address(&harness);
    // If each had a second, and sixteen at a time: eighteen seconds.
    let began = Instant::now();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(at).expect("connected")).collect();
    assert_eq!(get(at, "/health").1, "ok\n");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(get(at, "/metrics").1.ends_with("# EOF\n"));
    drop(silent);
}

#[test]
fn only_a_loopback_address_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::for_test([Address::Unix(folder.path().join("s"))]);
    config.metrics = Some("0.0.0.0:0".parse().expect("an address"));
    let error = Server::start(config).expect_err("refused");
    assert!(matches!(error, StartError::Metrics { .. }), "{error:?}");
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[test]
fn a_limit_that_a_client_meets_is_counted_by_its_setting() {
    let harness = Harness::with(|config| {
        config.metrics = Some("127.0.0.1:0".parse().expect("an address"));
        config.limits = Limits { nodes: 4, depth: 2, name_bytes: 5, path_bytes: 20, children: 9 };
        config.max_capabilities = 5;
        config.max_value_bytes = 1000;
        config.max_stored_bytes = 2000;
        config.max_connections = 2;
        config.max_message_bytes = Some(10_000);
        config.read_timeout = Duration::from_millis(50);
    });
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (root, value) = (peer.anchor(), |bytes| Put::text(&"x".repeat(bytes)));
        let held = walk(&root, "a/b").await.expect("walked");
        for path in ["a/b/c", "toolong", "a/very/very/very/long/path", "c/d"] {
            walk_error(&root, path).await;
        }
        let (_loader, storer) = cell(&held).await;
        assert!(store(&storer, value(2000), true).await.is_err());
        let parent = walk(&root, "a").await.expect("walked");
        for anchor in [&root, &held] {
            swap(anchor, value(900)).await.expect("stored");
        }
        assert!(swap(&parent, value(900)).await.is_err());
        walk_error(&root, "c").await;
        let mut half = raw(harness.unix()).await;
        half.write_all(&[0; 5]).await.expect("written");
        let (mut rest, mut one_more) = (Vec::new(), raw(harness.unix()).await);
        for stream in [&mut half, &mut one_more] {
            stream.read_to_end(&mut rest).await.expect("closed");
        }
        // It is counted when what the connection held is let go of, a little after its end is seen.
        eventually("the count", async || limit_hits(&harness, "read-timeout") == 1.0).await;
        walk_error(&Peer::connect(harness.unix()).await.anchor(), &"a/".repeat(10_000)).await;
        for name in [
            "max-depth",
            "max-name-bytes",
            "max-path-bytes",
            "max-nodes",
            "max-value-bytes",
            "max-stored-bytes",
            "max-capabilities",
            "read-timeout",
            "max-connections",
            "max-message-bytes",
        ] {
            assert_eq!(limit_hits(&harness, name), 1.0, "{name}");
        }
    });
}
