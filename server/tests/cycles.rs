//! Channels that keep each other, or themselves: they are ended once nobody can reach them, and not before.

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use capnp::any_pointer;
use capnp::capability::FromClientHook;
use killick::Rights;
use killick_client::internal::put_rights;
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::channel_capnp::{chan, recver, sender};
use killick_server::Config;
use support::scrape::samples;
use support::{Harness, Peer, Put, cell, eventually, load_cap, put, run, walk};

type Any = any_pointer::Owned;
type Chan = chan::Client<Any>;
type Recver = recver::Client<Any>;
type Sender = sender::Client<Any>;

fn harness(change: impl FnOnce(&mut Config)) -> Harness {
    Harness::with(|config| {
        config.metrics = Some("127.0.0.1:0".parse().expect("an address"));
        change(config);
    })
}

fn channels(harness: &Harness) -> f64 {
    samples(harness)["killick_channels"]
}

async fn made(at: &anchor::Client) -> capnp::Result<Chan> {
    let mut request = at.new_chan_request();
    request.get().set_capacity(8);
    request.send().promise.await?.get()?.get_chan()
}

async fn new_recver(chan: &Chan) -> Recver {
    let response = chan.new_recver_request().send().promise.await.expect("an end");
    response.get().expect("results").get_recver().expect("an end")
}

fn as_sender(chan: &Chan) -> Sender {
    chan.clone().cast_to()
}

async fn send(to: &Chan, value: Put) {
    let mut request = as_sender(to).send_request();
    let mut pointer = request.get().init_value();
    match value {
        Put::Nothing => {}
        Put::Text(text) => pointer.set_as(text.as_str()).expect("set"),
        Put::Cap(client) => pointer.set_as_capability(client.hook),
    }
    request.send().promise.await.expect("sent");
}

/// The channel keeps itself from here on.
async fn keep_itself(chan: &Chan) {
    send(chan, Put::cap(new_recver(chan).await)).await;
}

async fn keep_each_other(one: &Chan, other: &Chan) {
    send(one, Put::cap(other.clone())).await;
    send(other, Put::cap(new_recver(one).await)).await;
}

async fn recv_text(recver: &Recver) -> String {
    let response = recver.recv_request().send().promise.await.expect("received");
    let text = response.get().unwrap().get_value().unwrap().get_as::<capnp::text::Reader<'_>>();
    text.expect("a text").to_string().expect("UTF-8")
}

async fn recv_recver(recver: &Recver) -> Recver {
    let response = recver.recv_request().send().promise.await.expect("received");
    response.get().unwrap().get_value().unwrap().get_as_capability().expect("an end")
}

/// An anchor that grants everything.
async fn granted(peer: &Peer) -> anchor::Client {
    let mut request = peer.anchor().attenuate_request();
    put_rights(Rights::ALL, request.get().init_rights());
    request.send().promise.await.unwrap().get().unwrap().get_anchor().unwrap()
}

#[test]
fn channels_that_only_keep_themselves_or_each_other_end_after_their_connection() {
    let harness = harness(|config| config.threads = NonZeroUsize::new(2).expect("some"));
    run(async {
        let watcher = Peer::connect(harness.unix()).await;
        let peers = [Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await];
        for peer in peers {
            for at in [peer.anchor(), granted(&peer).await] {
                keep_itself(&made(&at).await.expect("a channel")).await;
                let (one, other) = (made(&at).await.unwrap(), made(&at).await.unwrap());
                keep_each_other(&one, &other).await;
                send(&one, Put::text("value")).await;
            }
            peer.leave().await;
        }
        eventually("an end", async || channels(&harness) == 0.0).await;
        assert_eq!(watcher.info(|info| info.get_stored_bytes()).await, 0);
    });
}

#[test]
fn who_lacks_a_place_for_a_channel_gets_that_of_one_that_nobody_can_reach() {
    let harness = harness(|config| config.max_channels = 3);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let anchor = peer.anchor();
        for _ in 0..50 {
            let (alone, one, other) = (
                made(&anchor).await.expect("a place"),
                made(&anchor).await.expect("another"),
                made(&anchor).await.expect("a third"),
            );
            keep_itself(&alone).await;
            keep_each_other(&one, &other).await;
            assert!(made(&anchor).await.is_err(), "all can be reached");
        }
    });
}

#[test]
fn who_lacks_room_for_a_value_gets_that_of_channels_that_nobody_can_reach() {
    let harness = harness(|config| config.max_stored_bytes = 10_000);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        for _ in 0..50 {
            let chan = made(&peer.anchor()).await.expect("a channel");
            keep_itself(&chan).await;
            send(&chan, Put::text(&"x".repeat(5000))).await;
        }
        put(&peer, "cell", Put::text(&"x".repeat(5000))).await;
    });
}

#[test]
fn channels_that_keep_themselves_and_can_be_reached_stay() {
    let harness = harness(|config| config.max_channels = 5);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        for anchor in [peer.anchor(), granted(&peer).await] {
            let (in_cell, inner, held, called, full) = (
                made(&anchor).await.expect("a channel"),
                made(&anchor).await.expect("a channel"),
                made(&anchor).await.expect("a channel"),
                made(&anchor).await.expect("a channel"),
                made(&anchor).await.expect("a channel"),
            );
            put(&peer, "cell", Put::cap(new_recver(&in_cell).await)).await;
            send(&in_cell, Put::cap(new_recver(&inner).await)).await;
            for chan in [&in_cell, &inner, &held] {
                send(chan, Put::text("kept")).await;
                keep_itself(chan).await;
            }
            let end = new_recver(&held).await;
            // A call that waits, and somebody who may send to it, are all that is left of this one.
            let waits = called.clone().cast_to::<Recver>().recv_request().send().promise;
            let sender = called.new_send_closer_request().send().promise.await.unwrap();
            drop(called);
            // A value that waits to be sent is what keeps this one.
            for _ in 0..8 {
                send(&full, Put::text("kept")).await;
            }
            let mut request = as_sender(&full).send_request();
            let recver = new_recver(&full).await;
            request.get().init_value().set_as_capability(recver.client.hook);
            let sending = request.send().promise;
            drop((in_cell, inner, held, full));

            for _ in 0..3 {
                assert!(made(&anchor).await.is_err(), "there are five, which stay");
            }
            let other = Peer::connect(harness.unix()).await;
            other.leave().await;
            tokio::time::sleep(Duration::from_millis(1500)).await;

            let (loader, _) = cell(&walk(&peer.anchor(), "cell").await.unwrap()).await;
            let found: Recver = load_cap(&loader).await.unwrap().expect("there");
            let inner = recv_recver(&found).await;
            for recver in [&found, &inner, &end] {
                assert_eq!(recv_text(recver).await, "kept");
                assert!(recver.try_recv_request().send().promise.await.is_ok());
            }
            let to = sender.get().unwrap().get_send_closer().unwrap();
            let mut request = to.clone().cast_to::<Sender>().send_request();
            request.get().init_value().set_as("told").expect("set");
            request.send().promise.await.expect("there is a receiver");
            let told = waits.await.expect("received");
            let told = told.get().unwrap().get_value().unwrap();
            assert_eq!(told.get_as::<capnp::text::Reader<'_>>().unwrap(), "told");

            drop((to, sending, sender, found, inner, end));
            put(&peer, "cell", Put::Nothing).await;
            eventually("an end", async || channels(&harness) == 0.0).await;
        }
    });
}
