//! Large values between hosts, beside small ones.

use std::time::Duration;

use capnp::Error;
use killick_schema::api::anchor_capnp::anchor::{self, storer};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, LATENCY, run};
use super::{error_of, load, store, until_empty, walk};

/// How long a large message is on its way.
const SLOW: Duration = Duration::from_secs(2);

const LARGE: usize = 1 << 19;

fn large() -> String {
    "x".repeat(LARGE)
}

/// Two hosts, between which what is large takes long.
fn slow() -> Cluster {
    let cluster = Cluster::of(2);
    cluster.lane.set(SLOW);
    cluster
}

fn put(storer: &storer::Client, text: &str) -> impl Future<Output = Result<u64, Error>> + use<> {
    let mut request = storer.store_request();
    request.get().set_overwrite(true);
    request.get().init_value().set_as(text).expect("a value");
    let sent = request.send().promise;
    async move { Ok(sent.await?.get()?.get_revision()) }
}

/// The storer of an anchor, as far as it is known.
async fn known(anchor: &anchor::Client) -> storer::Client {
    let response = anchor.cell_request().send().promise.await.expect("a cell");
    response.get().expect("an answer").get_storer().expect("one")
}

#[test]
fn a_large_store_and_a_large_load_do_not_hold_up_small_calls() {
    run(|| async {
        let cluster = slow();
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let (client, other) = (near.client(), near.client());
        let small = walk(&other, &format!("/{}/small", far.name()));
        store(&small, "x").await.expect("stored");
        let path = format!("/{}/large", far.name());
        for stores in [true, false] {
            let begin = Instant::now();
            let value = large();
            let slow = async {
                match stores {
                    true => store(&walk(&client, &path), &value).await.expect("stored"),
                    false => {
                        let loaded = load(&walk(&client, &path)).await.expect("loaded");
                        assert_eq!(loaded.map(|text| text.len()), Some(LARGE));
                    }
                }
                assert!(begin.elapsed() >= SLOW, "{:?}", begin.elapsed());
            };
            let quick = async {
                sleep(LATENCY).await;
                for path in ["small", "another"] {
                    let begin = Instant::now();
                    let anchor = walk(&other, &format!("/{}/{path}", far.name()));
                    load(&anchor).await.expect("loaded");
                    assert!(begin.elapsed() < 4 * LATENCY, "{:?}", begin.elapsed());
                }
                assert!(begin.elapsed() < SLOW);
            };
            tokio::join!(slow, quick);
        }
    });
}

#[test]
fn stores_to_one_cell_keep_their_order_whatever_their_size() {
    run(|| async {
        let cluster = slow();
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let anchor = walk(&near.client(), &format!("/{}/a", far.name()));
        let storer = known(&anchor).await;
        let stored = [put(&storer, &large()), put(&storer, "y"), put(&storer, &large())];
        let stored = futures::future::join_all(stored).await;
        let stored: Vec<_> = stored.into_iter().map(|stored| stored.expect("stored")).collect();
        assert_eq!(stored, [1, 2, 3]);
        // Each by a cell that is asked for anew.
        let value = large();
        let stored = async { store(&anchor, &value).await.expect("stored") };
        let small = async { store(&anchor, "z").await.expect("stored") };
        let loaded = async { load(&anchor).await.expect("loaded") };
        let ((), (), loaded) = tokio::join!(biased; stored, small, loaded);
        assert_eq!(loaded.as_deref(), Some("z"));
        assert_eq!(far.shared.tree.root().load_at("a").expect("a path").revision, 5);
        assert_eq!(load(&anchor).await.expect("loaded").as_deref(), Some("z"));
    });
}

#[test]
fn a_store_by_a_promise_comes_before_one_by_what_it_has_become() {
    run(|| async {
        let cluster = slow();
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let anchor = walk(&near.client(), &format!("/{}/a", far.name()));
        store(&anchor, "first").await.expect("stored");
        let cell = anchor.cell_request().send();
        let before = put(&cell.pipeline.get_storer(), &large());
        let cell = cell.promise.await.expect("a cell");
        let storer = cell.get().expect("an answer").get_storer().expect("one");
        let after = put(&storer, "y");
        let (before, after) = tokio::join!(before, after);
        assert_eq!((before.expect("stored"), after.expect("stored")), (2, 3));
    });
}

#[test]
fn a_large_store_is_made_though_its_storer_is_given_back_at_once() {
    run(|| async {
        let cluster = slow();
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/a", far.name());
        // As it is known, and as an answer that is not there yet.
        let storer = known(&walk(&client, &path)).await;
        let stored = put(&storer, &large());
        drop(storer);
        assert_eq!(stored.await.expect("stored"), 1);
        let stored = {
            let anchor = walk(&client, &path);
            put(&anchor.cell_request().send().pipeline.get_storer(), &large())
        };
        assert_eq!(stored.await.expect("stored"), 2);
        // Nobody waits for this one.
        drop(put(&known(&walk(&client, &path)).await, &large()));
        sleep(2 * SLOW).await;
        store(&walk(&client, &path), "x").await.expect("stored");
        assert_eq!(cluster.connections.get(), 1);
        let mut empties = known(&walk(&client, &path)).await.store_request();
        empties.get().set_overwrite(true);
        empties.send().promise.await.expect("stored");
        until_empty(far).await;
    });
}

#[test]
fn a_large_value_that_does_not_come_is_the_end_of_its_connection() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/a", far.name());
        store(&walk(&client, &path), "first").await.expect("stored");
        cluster.lane.set(Duration::from_secs(24 * 3600));
        let begin = Instant::now();
        error_of(store(&walk(&client, &path), &large()).await);
        let limit = near.shared.config().read_timeout;
        assert!(begin.elapsed() < limit + Duration::from_secs(5), "{:?}", begin.elapsed());
        cluster.lane.set(LATENCY);
        store(&walk(&client, &path), &large()).await.expect("stored");
        let loaded = load(&walk(&client, &path)).await.expect("loaded");
        assert_eq!(loaded.map(|text| text.len()), Some(LARGE));
        assert_eq!(cluster.connections.get(), 2);
    });
}
