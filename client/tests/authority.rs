//! Narrowed anchors through the client: every operation that is not granted says which right is missing.

mod support;

use std::time::Duration;

use killick_client::{Allowance, Anchor, Client, Denied, Error, Resource, Right, Rights, What};
use support::{eventually, over_both};

/// The part of `client`'s tree at "part" that `rights` allow.
async fn part(client: &Client, rights: Rights) -> Anchor {
    let anchor = client.walk("part").await.unwrap();
    anchor.attenuate(rights, Allowance::default()).await.unwrap().0
}

fn missing<T>(result: Result<T, Error>) -> Option<Right> {
    match result {
        Err(Error::Denied(Denied::Right(right))) => Some(right),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => None,
    }
}

#[test]
fn each_operation_says_which_right_is_missing() {
    over_both(async |client| {
        client.store_at("part/a", "x", true).await.unwrap();
        let none = part(&client, Rights::NONE).await;
        assert_eq!(missing(none.walk("a").await), Some(Right::Walk));
        assert_eq!(missing(none.lookup("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.ls().await), Some(Right::Ls));
        assert_eq!(missing(none.ls_at("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.load().await), Some(Right::Load));
        assert_eq!(missing(none.load_at("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.store("x", true).await), Some(Right::Store));
        assert_eq!(missing(none.store_at("a", "x", true).await), Some(Right::Walk));
        assert_eq!(missing(none.store_at("a", None, true).await), Some(Right::Lookup));
        assert_eq!(missing(none.compare_and_store(0, "x").await), Some(Right::Store));
        assert_eq!(missing(none.swap("x").await), Some(Right::Store));
        let (loader, storer) = none.cell();
        assert_eq!(missing(loader.load().await), Some(Right::Load));
        assert_eq!(missing(storer.store("x", true).await), Some(Right::Store));

        let walker = part(&client, Rights::from(Right::Walk) | Right::Lookup.into()).await;
        assert_eq!(missing(walker.load_at("a").await), Some(Right::Load));
        assert_eq!(missing(walker.store_at("a", "y", true).await), Some(Right::Store));
        assert_eq!(missing(walker.store_at("a", None, true).await), Some(Right::Store));
        assert_eq!(missing(walker.ls_at("a").await), Some(Right::Ls));
        assert_eq!(client.load_at("part/a").await.unwrap().text(), Some("x"));
    });
}

#[test]
fn what_is_exhausted_may_be_had_later_and_what_is_revoked_never() {
    over_both(async |client| {
        let allowance = Allowance { nodes: 1, ..Allowance::default() };
        let anchor = client.walk("part").await.unwrap();
        let (narrow, grant) = anchor.attenuate(Rights::ALL, allowance).await.unwrap();
        let one = narrow.walk("one").await.unwrap();
        let error = narrow.walk("two").await.unwrap_err();
        let expected = Denied::Exhausted { resource: Resource::Nodes, limit: 1 };
        assert!(matches!(error, Error::Denied(denied) if denied == expected), "{error}");
        assert!(error.is_transient());
        drop(one);
        support::eventually("room", async || narrow.walk("two").await.is_ok()).await;
        grant.revoke().await.unwrap();
        let error = narrow.walk("two").await.unwrap_err();
        assert!(matches!(error, Error::Denied(Denied::Revoked)) && !error.is_transient());
        // So on the halves that were there before, and on those that are asked for now.
        let error = narrow.cell().0.load().await.unwrap_err();
        assert!(matches!(error, Error::Denied(Denied::Revoked)), "{error}");
    });
}

/// How an operation is denied that may be wrapped in doubt about whether it was done.
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> Denied {
    match result {
        Err(Error::Denied(denied)) => denied,
        Err(Error::UnknownOutcome { cause }) => match *cause {
            Error::Denied(denied) => denied,
            other => panic!("another error: {other}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[test]
fn watches_take_their_rights_count_to_their_grant_and_end_with_it() {
    over_both(async |client| {
        let whole = client.walk("part").await.unwrap();
        let load = Rights::from(Right::Load) | Right::Lookup.into();
        let (quiet, _) = whole.attenuate(load, Allowance::default()).await.unwrap();
        let denial = denied(quiet.watch(What::Value).next().await.map(drop));
        assert_eq!(denial, Denied::Right(Right::Watch));
        let watch = load | Right::Watch.into();
        let (blind, _) = whole.attenuate(watch, Allowance::default()).await.unwrap();
        let denial = denied(blind.watch(What::Both).next().await.map(drop));
        assert_eq!(denial, Denied::Right(Right::Ls));
        assert_eq!(denied(quiet.wait().await.map(drop)), Denied::Right(Right::Watch));

        let allowance = Allowance { watches: 2, ..Allowance::default() };
        let (part, grant) = whole.attenuate(Rights::READ, allowance).await.unwrap();
        let mut value = part.watch(What::Value);
        assert!(value.next().await.unwrap().whole);
        whole.store("one", true).await.unwrap();
        let told = value.next().await.unwrap();
        assert_eq!(told.value.unwrap().text(), Some("one"));
        let mut children = part.watch(What::Children);
        assert!(children.next().await.unwrap().whole);
        let held = whole.walk("child").await.unwrap();
        assert_eq!(children.next().await.unwrap().children.added, [("child".to_owned(), false)]);
        assert_eq!(grant.info().await.unwrap().used.watches, 2);
        let expected = Denied::Exhausted { resource: Resource::Watches, limit: 2 };
        assert_eq!(denied(part.watch(What::Value).next().await.map(drop)), expected);
        drop(children);
        eventually("room", async || grant.info().await.unwrap().used.watches == 1).await;

        // Revoked while it waits, and the node goes though the watch is not dropped.
        let waiting = tokio::task::spawn_local(async move { (value.next().await, value) });
        let empty = part.lookup("child").await.unwrap().unwrap();
        let wait = tokio::task::spawn_local(async move { empty.wait().await });
        settle().await;
        grant.revoke().await.unwrap();
        let (told, mut value) = waiting.await.unwrap();
        assert_eq!(denied(told.map(drop)), Denied::Revoked);
        assert_eq!(denied(wait.await.unwrap().map(drop)), Denied::Revoked);
        assert_eq!(denied(value.next().await.map(drop)), Denied::Revoked);
        assert_eq!(grant.info().await.unwrap().used.watches, 0);
        drop(held);
        whole.clear().await.unwrap();
        drop((whole, quiet, blind, part));
        support::tree_is_empty(&client).await;
        drop(value);
    });
}

#[test]
fn channels_count_to_their_grant_and_their_ends_die_with_it() {
    over_both(async |client| {
        let base = client.walk("part").await.unwrap();
        let (reader, _) = base.attenuate(Rights::READ, Allowance::default()).await.unwrap();
        assert_eq!(denied(reader.new_chan(1).await.map(drop)), Denied::Right(Right::Store));

        let allowance = Allowance { channels: 1, value_bytes: 1000, ..Allowance::default() };
        let (part, grant) = base.attenuate(Rights::ALL, allowance).await.unwrap();
        let chan = part.new_chan(10).await.unwrap();
        let expected = Denied::Exhausted { resource: Resource::Channels, limit: 1 };
        assert_eq!(denied(part.new_chan(1).await.map(drop)), expected);
        chan.send("x".repeat(600)).await.unwrap();
        let expected = Denied::Exhausted { resource: Resource::ValueBytes, limit: 1000 };
        assert_eq!(denied(chan.send("x".repeat(600)).await), expected);
        assert_eq!(chan.recv().await.unwrap().text().map(str::len), Some(600));
        assert_eq!(grant.info().await.unwrap().used.value_bytes, 0);

        // An anchor that comes through a narrowed end is narrowed; who has a whole one gets it whole.
        chan.send(&base).await.unwrap();
        let value = chan.recv().await.unwrap().value.unwrap();
        let anchor = base.adopt(value.capability().unwrap());
        anchor.walk("new").await.unwrap();
        assert!(grant.info().await.unwrap().allowance.channels == 1);
        let recver = chan.recver();
        let waiting = tokio::task::spawn_local(async move { recver.recv().await });
        settle().await;
        grant.revoke().await.unwrap();
        assert_eq!(denied(waiting.await.unwrap().map(drop)), Denied::Revoked);
        assert_eq!(denied(chan.send("late").await), Denied::Revoked);
        assert_eq!(denied(chan.len().await), Denied::Revoked);
        assert_eq!(denied(anchor.walk("new").await.map(drop)), Denied::Revoked);
        drop(chan);
        eventually("the end of the channel", async || {
            grant.info().await.unwrap().used.channels == 0
        })
        .await;
    });
}

#[test]
fn an_end_that_is_come_to_by_a_grant_is_let_go_of_when_that_is_revoked() {
    over_both(async |client| {
        // The owner's channel lies in a cell that a guest may read.
        let base = client.walk("part").await.unwrap();
        let chan = client.new_chan(0).await.unwrap();
        base.store(&chan.send_closer(), true).await.unwrap();
        let (part, grant) = base.attenuate(Rights::READ, Allowance::default()).await.unwrap();
        let value = part.load().await.unwrap().value.unwrap();
        let sender = killick_client::Sender::adopt(&part, value.capability().unwrap());
        let recver = chan.recver();
        let received = tokio::task::spawn_local(async move { (recver.recv().await, recver) });
        sender.send("hello").await.unwrap();
        let (got, recver) = received.await.unwrap();
        assert_eq!(got.unwrap().text(), Some("hello"));

        let waiting =
            tokio::task::spawn_local(async move { (sender.send("nobody").await, sender) });
        settle().await;
        // The cell lets go of its end, and so does the owner: the guest's is the last that sends.
        base.clear().await.unwrap();
        drop((chan, value));
        grant.revoke().await.unwrap();
        let (sent, _sender) = waiting.await.unwrap();
        assert_eq!(denied(sent), Denied::Revoked);
        let ended = recver.recv().await.unwrap_err();
        assert!(matches!(ended, Error::Closed { .. }), "{ended}");
    });
}

#[test]
fn a_send_that_waits_is_withdrawn_before_revoke_returns() {
    let harness = support::Harness::with(|config| {
        config.threads = std::num::NonZeroUsize::new(2).expect("some");
    });
    support::run(async {
        // A connection goes to the thread that has the fewest.
        let client = Client::connect(harness.unix(), support::options()).await.unwrap();
        let guest = Client::connect(harness.unix(), support::options()).await.unwrap();
        let names = (0..3000).map(|number| client.walk(format!("many/{number}")));
        let _many = client.batch(names).collect().await;
        let base = client.walk("part").await.unwrap();
        let chan = client.new_chan(0).await.unwrap();
        base.store(&chan.send_closer(), true).await.unwrap();
        for _ in 0..20 {
            let (part, grant) = base.attenuate(Rights::READ, Allowance::default()).await.unwrap();
            client.store_at("for/guest", &part, true).await.unwrap();
            let given = guest.load_at("for/guest").await.unwrap().value.unwrap();
            let part = guest.host().await.unwrap().adopt(given.capability().unwrap());
            let value = part.load().await.unwrap().value.unwrap();
            let sender = killick_client::Sender::adopt(&part, value.capability().unwrap());
            let sent = tokio::task::spawn_local(async move { sender.send("late").await });
            settle().await;
            // The guest's thread is busy, and cannot give up the send, when the grant is revoked.
            let busy = guest.ls_at("many");
            let after = async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                tokio::join!(grant.revoke(), chan.try_recv())
            };
            let (listed, (revoked, received)) = tokio::join!(busy, after);
            assert_eq!(listed.unwrap().len(), 3000);
            revoked.unwrap();
            assert!(received.unwrap().is_none(), "received after the return");
            assert_eq!(denied(sent.await.unwrap()), Denied::Revoked);
        }
    });
}

#[test]
fn a_capability_that_cannot_come_through_is_broken_and_the_rest_of_the_value_is_not() {
    over_both(async |client| {
        let base = client.walk("part").await.unwrap();
        let (part, _grant) = base.attenuate(Rights::READ, Allowance::default()).await.unwrap();
        let (gone, other) = base.attenuate(Rights::ALL, Allowance::default()).await.unwrap();
        base.store(&gone, true).await.unwrap();
        other.revoke().await.unwrap();
        let value = part.load().await.unwrap().value.expect("a value");
        let broken = base.adopt(value.capability().unwrap());
        assert_eq!(denied(broken.walk("x").await.map(drop)), Denied::Revoked);
        assert!(part.load().await.is_ok(), "who has it is not revoked");

        let chan = client.new_chan(2).await.unwrap();
        base.store(&chan.recver(), true).await.unwrap();
        chan.send(&gone).await.unwrap();
        chan.send("good").await.unwrap();
        let value = part.load().await.unwrap().value.unwrap();
        let recver = killick_client::Recver::adopt(&part, value.capability().unwrap());
        assert!(recver.recv().await.unwrap().value.is_some());
        assert_eq!(recver.recv().await.unwrap().text(), Some("good"));
    });
}

#[test]
fn watches_that_come_as_values_count_to_who_loads_them() {
    let harness = support::Harness::with(|config| config.max_watches = 4);
    support::run(async {
        let client = Client::connect(harness.unix(), support::options()).await.unwrap();
        let base = client.walk("part").await.unwrap();
        let stored = base.capability().watch_request().send().promise.await.unwrap();
        let watch = stored.get().unwrap().get_watch().unwrap();
        base.store(killick_client::Value::from_capability(watch), true).await.unwrap();
        let (part, _grant) = base.attenuate(Rights::READ, Allowance::default()).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(part.load().await.unwrap());
        }
        let error = part.load().await.unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        drop(held);
        eventually("room", async || part.load().await.is_ok()).await;
    });
}
