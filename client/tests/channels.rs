//! Channels between clients, and what is known of a message when no answer comes.

mod support;

use killick_client::{Anchor, Chan, Client, Error, Received, Recver, Sender};
use support::proxy::Proxy;
use support::{Harness, eventually, impatient, once, options, over_both, run};

/// The end in the cell at `path`.
async fn sender_at(client: &Client, path: &str) -> Sender {
    let anchor = client.walk(path).await.expect("walked");
    let value = anchor.load().await.expect("loaded").value.expect("an end");
    Sender::adopt(&anchor, value.capability().expect("a capability"))
}

async fn recver_at(client: &Client, path: &str) -> Recver {
    let anchor = client.walk(path).await.expect("walked");
    let value = anchor.load().await.expect("loaded").value.expect("an end");
    Recver::adopt(&anchor, value.capability().expect("a capability"))
}

/// Why the outcome of an operation is not known.
fn unknown<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    match result {
        Err(Error::UnknownOutcome { cause }) => *cause,
        other => panic!("{other:?}"),
    }
}

fn texts(received: &[Received]) -> Vec<Option<&str>> {
    received.iter().map(Received::text).collect()
}

#[test]
fn what_one_client_sends_through_a_path_another_receives_and_the_end_too() {
    over_both(async |client| {
        let other = Client::connect(client.address(), options()).await.expect("connected");
        let chan = client.new_chan(16).await.expect("made");
        client.store_at("inbox", &chan.send_closer(), false).await.expect("stored");
        let recver = chan.recver();
        drop(chan);
        let sender = sender_at(&other, "inbox").await;
        sender.send("a text").await.expect("sent");
        sender.send(None).await.expect("sent");
        sender.send(vec![1, 2]).await.expect("sent");
        let received = recver.recv_many(9).await.expect("received");
        assert_eq!(texts(&received), [Some("a text"), None, None]);
        assert!(received[1].value.is_none());
        let anchor = other.walk("a/b").await.expect("walked");
        sender.send(&anchor).await.expect("sent");
        let value = recver.recv().await.expect("received").value.expect("an anchor");
        let home = client.host().await.expect("connected");
        let same = home.adopt(value.capability().expect("a capability"));
        same.store("by another", true).await.expect("stored");
        assert_eq!(anchor.load().await.expect("loaded").text(), Some("by another"));

        client.store_at("inbox", None, true).await.expect("emptied");
        let waiting = tokio::task::spawn_local(async move { recver.recv().await.map(drop) });
        drop(sender);
        // Its release goes with the next call.
        let ended = async || {
            other.info().await.expect("connected");
            waiting.is_finished()
        };
        eventually("the end", ended).await;
        assert!(matches!(waiting.await.expect("no panic"), Err(Error::Closed { .. })));
    });
}

#[test]
fn an_end_that_was_adopted_tells_that_nothing_was_done() {
    let harness = Harness::start();
    run(async {
        let (client, other) = (harness.client().await, harness.client().await);
        let chan = client.new_chan(1).await.expect("made");
        client.store_at("send", &chan.sender(), false).await.expect("stored");
        client.store_at("recv", &chan.recver(), false).await.expect("stored");
        let (sender, recver) = (sender_at(&other, "send").await, recver_at(&other, "recv").await);
        chan.close().await.expect("closed");
        for error in [
            sender.send("late").await.unwrap_err(),
            sender.try_send("late").await.unwrap_err(),
            recver.recv().await.unwrap_err(),
            recver.try_recv().await.unwrap_err(),
            recver.recv_many(1).await.unwrap_err(),
            chan.close().await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Closed { .. }), "{error:?}");
        }
        assert_eq!(sender.send("late").await.unwrap_err().to_string(), "the channel is closed");

        let chan = client.new_chan(1).await.expect("made");
        client.store_at("send", &chan.sender(), true).await.expect("stored");
        let sender = sender_at(&other, "send").await;
        drop(chan);
        client.info().await.expect("connected");
        let error = sender.send("anybody?").await.unwrap_err();
        assert!(matches!(error, Error::NoReceivers { .. }), "{error:?}");
    });
}

/// A server, a client through a proxy that tries nothing twice, and one that does not go through it, with
/// a channel of which both have an end.
async fn behind_a_proxy(harness: &Harness) -> (Proxy, Client, Client, Chan) {
    let proxy = Proxy::start(harness.file("proxy.sock"), harness.unix());
    let client = Client::connect(proxy.address(), once()).await.expect("connected");
    let direct = harness.client().await;
    let chan = direct.new_chan(4).await.expect("made");
    direct.store_at("send", &chan.sender(), false).await.expect("stored");
    direct.store_at("recv", &chan.recver(), false).await.expect("stored");
    (proxy, client, direct, chan)
}

#[test]
fn a_send_whose_answer_is_cut_off_has_an_unknown_outcome_and_was_done() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _direct, chan) = behind_a_proxy(&harness).await;
        let sender = sender_at(&client, "send").await;
        proxy.hold_answers();
        let cut = async {
            eventually("it to be sent", async || chan.len().await.unwrap() == 1).await;
            proxy.cut();
        };
        let (sent, ()) = tokio::join!(sender.send("value"), cut);
        assert!(matches!(unknown(sent), Error::Disconnected { .. }));
        assert_eq!(chan.recv().await.unwrap().text(), Some("value"));
    });
}

#[test]
fn a_receive_whose_answer_is_cut_off_has_an_unknown_outcome_and_its_value_is_lost() {
    let harness = Harness::start();
    run(async {
        let (proxy, client, _direct, chan) = behind_a_proxy(&harness).await;
        let recver = recver_at(&client, "recv").await;
        chan.send("lost").await.expect("sent");
        chan.send("kept").await.expect("sent");
        proxy.hold_answers();
        let cut = async {
            eventually("it to be taken", async || chan.len().await.unwrap() == 1).await;
            proxy.cut();
        };
        let (received, ()) = tokio::join!(recver.recv(), cut);
        assert!(matches!(unknown(received), Error::Disconnected { .. }));
        assert_eq!(chan.recv().await.unwrap().text(), Some("kept"));
    });
}

#[test]
fn who_waits_is_given_up_after_its_time_and_without_a_limit_is_not() {
    let harness = Harness::start();
    run(async {
        let client = Client::connect(harness.unix(), impatient()).await.expect("connected");
        let chan = client.new_chan(1).await.expect("made");
        let timed_out = unknown(chan.recv().await);
        assert!(matches!(timed_out, Error::TimedOut { .. }), "{timed_out:?}");
        chan.send("first").await.expect("sent");
        assert!(matches!(unknown(chan.send("given up").await), Error::TimedOut { .. }));
        // The server hears of it a moment later, and perhaps of a receive before.
        client.info().await.expect("connected");
        assert_eq!(chan.recv().await.unwrap().text(), Some("first"));
        assert!(chan.try_recv().await.unwrap().is_none(), "what was given up is withdrawn");

        let patient = chan.recver().with_timeout(None);
        let waiting = tokio::task::spawn_local(async move { patient.recv().await });
        tokio::time::sleep(2 * impatient().timeout.expect("some")).await;
        chan.send("late").await.expect("sent");
        let received = waiting.await.expect("no panic").expect("received");
        assert_eq!(received.text(), Some("late"));
    });
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_ends() {
    let mut harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let chan = client.new_chan(1).await.expect("made");
        let anchor: Anchor = client.host().await.expect("connected");
        harness.stop();
        anchor.disconnected().await;
        assert!(matches!(chan.send("gone").await, Err(Error::Disconnected { .. })));
        assert!(matches!(chan.recv().await, Err(Error::Disconnected { .. })));
    });
}
