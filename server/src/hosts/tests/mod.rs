//! What other hosts have, reached through this one.

mod cluster;
mod granted;
mod large;

use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp::{Error, ErrorKind};
use killick_schema::api::anchor_capnp::anchor::{self, change::Departure};
use killick_schema::api::host_capnp::host;
use tokio::time::{Instant, sleep};

use super::State;
use crate::access::Who;
use cluster::{Cluster, LATENCY, Site, run};

/// The anchor at a path from the cluster's.
fn walk(host: &host::Client, path: &str) -> anchor::Client {
    let root = host.root_request().send().pipeline.get_root();
    walk_from(&root, path)
}

fn walk_from(anchor: &anchor::Client, path: &str) -> anchor::Client {
    let mut request = anchor.walk_request();
    request.get().set_path(path);
    request.send().pipeline.get_anchor()
}

async fn store(anchor: &anchor::Client, text: &str) -> Result<(), Error> {
    let storer = anchor.cell_request().send().pipeline.get_storer();
    let mut request = storer.store_request();
    request.get().set_overwrite(true);
    request.get().init_value().set_as(text)?;
    request.send().promise.await.map(drop)
}

async fn store_cap(anchor: &anchor::Client, cap: impl FromClientHook) -> Result<(), Error> {
    let storer = anchor.cell_request().send().pipeline.get_storer();
    let mut request = storer.store_request();
    request.get().set_overwrite(true);
    request.get().init_value().set_as_capability(cap.into_client_hook());
    request.send().promise.await.map(drop)
}

async fn load(anchor: &anchor::Client) -> Result<Option<String>, Error> {
    let loader = anchor.cell_request().send().pipeline.get_loader();
    let response = loader.load_request().send().promise.await?;
    let value = response.get()?.get_value();
    match value.is_null() {
        true => Ok(None),
        false => Ok(Some(value.get_as::<capnp::text::Reader<'_>>()?.to_string()?)),
    }
}

async fn load_cap(anchor: &anchor::Client) -> Result<anchor::Client, Error> {
    let loader = anchor.cell_request().send().pipeline.get_loader();
    let response = loader.load_request().send().promise.await?;
    response.get()?.get_value().get_as_capability()
}

/// Waits until `site` has no other node than the root.
async fn until_empty(site: &Site) {
    for _ in 0..100 {
        if site.shared.tree.nodes() == 1 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
        killick::reclaim();
    }
    panic!("{} nodes are left", site.shared.tree.nodes());
}

fn error_of<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

#[test]
fn what_is_asked_of_answers_that_are_not_there_takes_one_way_there_and_back() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        store(&walk(&client, &format!("/{}/a", far.name())), "mail").await.expect("stored");
        let begin = Instant::now();
        let found = load(&walk(&client, &format!("/{}/a", far.name()))).await;
        assert_eq!(found.expect("loaded").as_deref(), Some("mail"));
        // The walk, the cell and the load, and not one after the other.
        assert!(begin.elapsed() < 3 * LATENCY, "{:?}", begin.elapsed());
        assert_eq!(far.shared.tree.root().load_at("a").expect("a path").revision, 1);
        assert_eq!(cluster.connections.get(), 1);
    });
}

#[test]
fn the_first_call_to_a_host_takes_a_way_for_the_connection_and_one_for_the_anchor() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let begin = Instant::now();
        let path = format!("/{}/a", far.name());
        assert_eq!(load(&walk(&near.client(), &path)).await.expect("loaded"), None);
        assert!(begin.elapsed() < 6 * LATENCY, "{:?}", begin.elapsed());
        until_empty(far).await;
    });
}

#[test]
fn a_path_names_the_same_node_from_every_host_and_both_ways_go_over_one_connection() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [one, other] = &cluster.sites[..] else { panic!("two") };
        let (client, its) = (one.client(), other.client());
        let path = format!("/{}/x", other.name());
        store(&walk(&client, &path), "told").await.expect("stored");
        assert_eq!(load(&walk(&its, &path)).await.expect("loaded").as_deref(), Some("told"));
        assert_eq!(load(&walk(&its, "/self/x")).await.expect("loaded").as_deref(), Some("told"));
        let back = format!("/{}/y", one.name());
        store(&walk(&its, &back), "back").await.expect("stored");
        assert_eq!(load(&walk(&client, &back)).await.expect("loaded").as_deref(), Some("back"));
        assert_eq!(cluster.connections.get(), 1);
    });
}

#[test]
fn what_a_host_has_comes_home_as_itself() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let inbox = walk(&client, &format!("/{}/inbox", far.name()));
        // An answer, and what is asked of one that is not there yet.
        let name = walk(&client, &format!("/{}/name", far.name()));
        store_cap(&name, inbox.clone()).await.expect("stored");
        let early = walk(&client, &format!("/{}/early", far.name()));
        let begin = Instant::now();
        store_cap(&early, walk(&client, &format!("/{}/inbox", far.name()))).await.expect("stored");
        // It is for that host to wait for its answer.
        assert!(begin.elapsed() < 3 * LATENCY, "{:?}", begin.elapsed());
        store(&inbox, "mail").await.expect("stored");
        cluster.cut().await;
        let its = far.client();
        for path in ["/self/name", "/self/early"] {
            let found = load_cap(&walk(&its, path)).await.expect(path);
            assert_eq!(load(&found).await.expect(path).as_deref(), Some("mail"));
        }
    });
}

#[test]
fn what_a_client_hosts_works_from_every_host_until_it_goes() {
    run(|| async {
        let cluster = Cluster::of(3);
        let [one, other, third] = &cluster.sites[..] else { panic!("three") };
        let host = one.client();
        let path = format!("/{}/service", other.name());
        // Anything will do: an anchor of the third host, which goes by way of the first.
        let theirs = walk(&host, &format!("/{}/data", third.name()));
        store(&theirs, "far").await.expect("stored");
        store_cap(&walk(&host, &path), theirs).await.expect("stored");
        let found = load_cap(&walk(&third.client(), &path)).await.expect("loaded");
        assert_eq!(load(&found).await.expect("called").as_deref(), Some("far"));
        cluster.cut().await;
        // It went by connections that are no more: it is no value any more, and its node is gone.
        until_empty(other).await;
    });
}

#[test]
fn what_a_client_hosts_is_no_value_at_any_host_once_that_client_has_gone() {
    struct Nothing;
    impl anchor::Server for Nothing {}

    run(|| async {
        let cluster = Cluster::of(3);
        let [near, far, third] = &cluster.sites[..] else { panic!("three") };
        let (client, leave) = near.client_that_leaves(Who::Local);
        let at = |host: &Site, name| format!("/{}/{name}", host.name());
        let hosted: anchor::Client = capnp_rpc::new_client(Nothing);
        store_cap(&walk(&client, &at(far, "first")), hosted.clone()).await.expect("stored");
        store_cap(&walk(&client, &at(far, "again")), hosted).await.expect("stored");
        // What a cell had once is not what it has.
        let its = far.client();
        store(&walk(&its, "/self/again"), "data").await.expect("stored");
        // It goes on to others, by way of that host.
        let found = load_cap(&walk(&its, "/self/first")).await.expect("loaded");
        store_cap(&walk(&its, &at(third, "next")), found.clone()).await.expect("stored");
        let links = cluster.connections.get();
        assert_eq!([far, third].map(|site| site.shared.passed()), [1, 0]);

        leave.await.expect("it leaves");
        until_empty(third).await;
        let left = walk(&its, "/self").ls_request().send().promise.await.expect("listed");
        let left = left.get().expect("a list").get_children().expect("a list");
        assert_eq!(
            left.iter().map(|child| child.get_name().unwrap()).collect::<Vec<_>>(),
            ["again"]
        );
        // Who still has it can store it no more: where it is not known yet what it is, it goes at once.
        let error = error_of(store_cap(&walk(&its, "/self/late"), found.clone()).await);
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        assert!(error.extra.contains("whoever hosted this capability has gone"), "{error}");
        store_cap(&walk(&its, &at(third, "late")), found.clone()).await.expect("stored");
        until_empty(third).await;
        assert_eq!(cluster.connections.get(), links);
        drop(found);
        sleep(Duration::from_secs(1)).await;
        for site in &cluster.sites {
            assert_eq!(site.shared.passed(), 0);
        }
    });
}

/// The anchor at a path from the cluster's, as a promise that is settled by its answer alone.
fn looked_up(host: &host::Client, path: &str) -> anchor::Client {
    let mut request = host.root_request().send().pipeline.get_root().lookup_request();
    request.get().set_path(path);
    request.send().pipeline.get_anchor()
}

#[test]
fn what_is_stored_while_it_is_a_promise_does_not_go_with_the_client() {
    run(|| async {
        let cluster = Cluster::of(3);
        let [near, far, third] = &cluster.sites[..] else { panic!("three") };
        let its = third.client();
        let data = format!("/{}/data", far.name());
        store(&walk(&its, &data), "mail").await.expect("stored");
        let (client, leave) = near.client_that_leaves(Who::Local);
        // An answer that is not there yet, one that is used before, and a promise of the client's own.
        let answered = looked_up(&client, &data);
        let early = walk(&client, &data);
        let mut walked = client.root_request().send().pipeline.get_root().walk_request();
        walked.get().set_path(&data);
        let own: anchor::Client = capnp_rpc::new_future_client(async move {
            walked.send().promise.await?.get()?.get_anchor()
        });
        let at = |host: &Site, name| format!("/{}/{name}", host.name());
        for (name, promise) in [("answered", answered), ("early", early), ("own", own)] {
            store_cap(&walk(&client, &at(third, name)), promise).await.expect(name);
        }
        let mut swap = walk(&client, &at(third, "swapped")).swap_request();
        let promise = looked_up(&client, &data).client.hook;
        swap.get().init_value().set_as_capability(promise);
        swap.send().promise.await.expect("swapped");
        leave.await.expect("it leaves");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(near.shared.clients.list().len(), near.links(), "it has gone");
        for name in ["answered", "early", "own", "swapped"] {
            let found = load_cap(&walk(&its, &at(third, name))).await.expect(name);
            assert_eq!(load(&found).await.expect(name).as_deref(), Some("mail"), "{name}");
        }
        cluster.cut().await;
        until_empty(third).await;
    });
}

#[test]
fn a_promise_that_stays_one_is_stored_at_no_host() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/x", far.name());
        let never: anchor::Client = capnp_rpc::new_future_client(std::future::pending());
        let error = error_of(store_cap(&walk(&client, &path), never).await);
        assert!(error.extra.contains("still a promise"), "{error}");
        assert_eq!(load(&walk(&client, &path)).await.expect("loaded"), None);
    });
}

#[test]
fn what_an_answer_gives_works_for_who_has_given_up_that_answer() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/a", far.name());
        store(&walk(&client, &path), "mail").await.expect("stored");
        // Nobody has the walk but the store, once that is sent.
        let stored = {
            let storer = walk(&client, "/self/x").cell_request().send().pipeline.get_storer();
            let mut request = storer.store_request();
            let promise = walk(&client, &path).client.hook;
            request.get().init_value().set_as_capability(promise);
            request.send().promise
        };
        stored.await.expect("stored");
        let found = load_cap(&walk(&client, "/self/x")).await.expect("loaded");
        assert_eq!(load(&found).await.expect("called").as_deref(), Some("mail"));
    });
}

#[test]
fn a_host_that_is_unknown_is_not_found_and_one_that_has_gone_is_not_waited_for() {
    run(|| async {
        let cluster = Cluster::of(3);
        let [near, far, silent] = &cluster.sites[..] else { panic!("three") };
        let client = near.client();
        let error = error_of(load(&walk(&client, "/0123456789abcdef/x")).await);
        assert!(error.extra.contains("no host '0123456789abcdef'"), "{error}");
        let begin = Instant::now();
        cluster.tell(near, |host| if host == far.id { State::Failed } else { State::Up });
        let error = error_of(load(&walk(&client, &format!("/{}/x", far.name()))).await);
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        assert!(error.extra.contains("has failed"), "{error}");
        assert!(begin.elapsed() < LATENCY);
        cluster.silence(silent.id);
        let error = error_of(load(&walk(&client, &format!("/{}/x", silent.name()))).await);
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    });
}

#[test]
fn an_opinion_that_a_host_is_down_breaks_no_connection_that_works() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/x", far.name());
        let anchor = walk(&client, &path);
        store(&anchor, "here").await.expect("stored");
        cluster.tell(near, |host| if host == far.id { State::Failed } else { State::Up });
        assert_eq!(load(&anchor).await.expect("works").as_deref(), Some("here"));
        assert_eq!(load(&walk(&client, &path)).await.expect("works").as_deref(), Some("here"));
        assert_eq!(
            load(&walk(&near.client(), &path)).await.expect("works").as_deref(),
            Some("here")
        );
    });
}

#[test]
fn after_a_connection_has_ended_there_is_another_and_nothing_is_left_of_the_first() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/x", far.name());
        let anchor = walk(&client, &path);
        assert_eq!(load(&anchor).await.expect("loaded"), None);
        assert_eq!(far.shared.tree.nodes(), 2);
        cluster.cut().await;
        until_empty(far).await;
        let error = error_of(load(&anchor).await);
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        assert_eq!(load(&walk(&client, &path)).await.expect("again"), None);
        assert_eq!(cluster.connections.get(), 2);
    });
}

#[test]
fn no_call_goes_to_the_former_life_of_a_host_that_is_known_to_have_restarted() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/x", far.name());
        assert_eq!(load(&walk(&client, &path)).await.expect("loaded"), None);
        cluster.tell_generation(near, |_| State::Up, 2);
        // The connection that there was is as good as ever, for whoever has something of it.
        let other = near.client();
        assert_eq!(load(&walk(&other, &path)).await.expect("loaded"), None);
        assert_eq!(cluster.connections.get(), 2);
    });
}

#[test]
fn of_the_connections_of_a_host_in_one_life_the_latest_is_left_and_calls_on_the_others_end() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let client = near.client();
        let path = format!("/{}/x", far.name());
        let anchor = walk(&client, &path);
        store(&anchor, "here").await.expect("stored");
        let mut request = anchor.watch_request();
        request.get().set_value(true);
        let watch = request.send().pipeline.get_watch();
        let mut request = watch.next_request();
        let first = request.send().promise.await.expect("told");
        let first = first.get().expect("an answer").get_change().expect("one").get_sequence();
        request = watch.next_request();
        request.get().set_after(first);
        // The next change does not come.
        let under_way = tokio::task::spawn_local(request.send().promise);
        sleep(LATENCY * 2).await;
        for _ in 0..20 {
            cluster.connect(near, far);
            sleep(LATENCY / 5).await;
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!((near.links(), far.links()), (1, 1));
        let ended = error_of(under_way.await.expect("no panic").map(drop));
        assert_eq!(ended.kind, ErrorKind::Disconnected, "{ended}");
        assert_eq!(error_of(load(&anchor).await).kind, ErrorKind::Disconnected);
        drop((anchor, watch));
        let again = walk(&client, &path);
        assert_eq!(load(&again).await.expect("works").as_deref(), Some("here"));
        assert_eq!(cluster.connections.get(), 1, "it is the one that is left");
        drop((again, client));
        assert_eq!(far.shared.tree.nodes(), 2, "what is stored");
    });
}

#[test]
fn a_watch_of_the_hosts_tells_who_comes_and_how_they_go() {
    run(|| async {
        let cluster = Cluster::of(2);
        let [near, far] = &cluster.sites[..] else { panic!("two") };
        let root = near.client().root_request().send().pipeline.get_root();
        let mut request = root.watch_request();
        request.get().set_value(false);
        request.get().set_children(true);
        let watch = request.send().pipeline.get_watch();
        let next = async |after: u64| {
            let mut request = watch.next_request();
            request.get().set_after(after);
            let response = request.send().promise.await.expect("told");
            let change = response.get().expect("an answer").get_change().expect("one");
            let added = change.get_added().expect("a list").iter();
            let added: Vec<_> = added
                .map(|entry| entry.get_name().expect("a name").to_string().expect("text"))
                .collect();
            let removed = change.get_removed().expect("a list").iter();
            let removed: Vec<_> =
                removed.map(|name| name.expect("a name").to_string().expect("text")).collect();
            let how = change.get_departures().expect("a list").iter();
            let how: Vec<_> = how.map(|how| how.expect("known")).collect();
            (change.get_sequence(), added, removed, how)
        };
        let (first, added, removed, _) = next(0).await;
        let mut both = vec![near.name(), far.name()];
        both.sort();
        assert_eq!((added, removed), (both, vec![]));
        let mut last = first;
        for (state, how) in [(State::Failed, Departure::Failed), (State::Left, Departure::Left)] {
            cluster.tell(near, |host| if host == far.id { state } else { State::Up });
            let (after, added, removed, told) = next(last).await;
            assert_eq!((added, removed, told), (vec![], vec![far.name()], vec![how]));
            cluster.tell(near, |_| State::Up);
            let (after, added, removed, told) = next(after).await;
            assert_eq!((added, removed, told), (vec![far.name()], vec![], vec![]));
            last = after;
        }
        cluster.tell_generation(near, |_| State::Up, 2);
        let (_, added, removed, told) = next(last).await;
        assert_eq!(added.len(), 2);
        assert_eq!(removed.len(), 2);
        assert_eq!(told, [Departure::Restarted; 2]);
    });
}

#[test]
fn the_hosts_are_listed_and_each_is_its_anchor() {
    run(|| async {
        let cluster = Cluster::of(3);
        let near = &cluster.sites[0];
        let client = near.client();
        let root = client.root_request().send().pipeline.get_root();
        let listed = root.ls_request().send().promise.await.expect("listed");
        let children = listed.get().expect("an answer").get_children().expect("a list");
        let mut names: Vec<_> = cluster.sites.iter().map(|site| site.name()).collect();
        names.sort();
        let found: Vec<_> = children
            .iter()
            .map(|child| child.get_name().expect("one").to_string().expect("text"))
            .collect();
        assert_eq!(found, names);
        for child in children {
            let anchor = child.get_anchor().expect("one");
            assert_eq!(load(&walk_from(&anchor, "x")).await.expect("loaded"), None);
        }
        let hosts = client.hosts_request().send().promise.await.expect("told");
        let hosts = hosts.get().expect("an answer").get_hosts().expect("a list");
        assert_eq!(hosts.iter().filter(|host| host.get_self()).count(), 1);
        assert_eq!(hosts.iter().filter(|host| host.get_connected()).count(), 2);
    });
}
