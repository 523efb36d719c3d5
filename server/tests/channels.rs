//! Channels over real sockets: who gets a value, who waits, and how either side learns that the other has
//! gone.

mod support;

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capnp::traits::HasTypeId;
use capnp::{ErrorKind, any_pointer};
use futures::FutureExt;
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use support::{
    Harness, Peer, Put, cell, eventually, identity, load, load_cap, load_messages, pipelined_call,
    put, raw, run, speaker, walk,
};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinHandle, spawn_local};

type Any = any_pointer::Owned;
type Chan = chan::Client<Any>;
type SendCloser = send_closer::Client<Any>;
type Sender = sender::Client<Any>;
type Recver = recver::Client<Any>;

/// Runs a test with two clients that the same thread of the server serves, and with two of which each has
/// its own.
fn on_one_thread_and_on_two(test: impl AsyncFn(&Harness, Peer, Peer)) {
    for threads in [1, 2] {
        let harness = Harness::with(|config| {
            config.threads = NonZeroUsize::new(threads).expect("some");
        });
        run(async {
            let (one, other) =
                (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
            test(&harness, one, other).await;
        });
    }
}

async fn new_chan(at: &anchor::Client, capacity: u32) -> capnp::Result<Chan> {
    let mut request = at.new_chan_request();
    request.get().set_capacity(capacity);
    request.send().promise.await?.get()?.get_chan()
}

async fn made(peer: &Peer, capacity: u32) -> Chan {
    new_chan(&peer.anchor(), capacity).await.expect("a channel")
}

/// The send is on its way when this returns.
fn send(sender: &Sender, value: Put) -> impl Future<Output = capnp::Result<()>> + use<> {
    let mut request = sender.send_request();
    set(request.get().init_value(), value);
    let promise = request.send().promise;
    async { promise.await.map(drop) }
}

async fn try_send(sender: &Sender, text: &str) -> capnp::Result<bool> {
    let mut request = sender.try_send_request();
    request.get().init_value().set_as(text)?;
    Ok(request.send().promise.await?.get()?.get_sent())
}

fn set(mut pointer: any_pointer::Builder<'_>, value: Put) {
    match value {
        Put::Nothing => {}
        Put::Text(text) => pointer.set_as(text.as_str()).expect("set"),
        Put::Cap(client) => pointer.set_as_capability(client.hook),
    }
}

fn text(value: any_pointer::Reader<'_>) -> capnp::Result<String> {
    if value.is_null() {
        return Ok("(null)".into());
    }
    Ok(value.get_as::<capnp::text::Reader<'_>>()?.to_string()?)
}

/// The receive is on its way when this returns.
fn recv(recver: &Recver) -> impl Future<Output = capnp::Result<String>> + use<> {
    let promise = recver.recv_request().send().promise;
    async { text(promise.await?.get()?.get_value()?) }
}

async fn try_recv(recver: &Recver) -> capnp::Result<Option<String>> {
    let response = recver.try_recv_request().send().promise.await?;
    let results = response.get()?;
    results.get_received().then(|| text(results.get_value()?)).transpose()
}

async fn recv_cap<C: FromClientHook>(recver: &Recver) -> capnp::Result<C> {
    let response = recver.recv_request().send().promise.await?;
    response.get()?.get_value()?.get_as_capability()
}

async fn recv_many(recver: &Recver, max: u32) -> capnp::Result<Vec<String>> {
    let mut request = recver.recv_many_request();
    request.get().set_max(max);
    let response = request.send().promise.await?;
    let items = response.get()?.get_items()?;
    items.iter().map(|item| text(item.get_value()?)).collect()
}

async fn len(chan: &Chan) -> u32 {
    chan.len_request().send().promise.await.expect("len").get().expect("results").get_len()
}

async fn close(closer: &closer::Client) -> capnp::Result<()> {
    closer.close_request().send().promise.await.map(drop)
}

fn as_sender(client: &impl AsSender) -> Sender {
    client.sender()
}

trait AsSender {
    fn sender(&self) -> Sender;
}

impl AsSender for Chan {
    fn sender(&self) -> Sender {
        self.clone().cast_to()
    }
}

impl AsSender for SendCloser {
    fn sender(&self) -> Sender {
        self.clone().cast_to()
    }
}

fn as_recver(chan: &Chan) -> Recver {
    chan.clone().cast_to()
}

async fn new_recver(chan: &Chan) -> Recver {
    let response = chan.new_recver_request().send().promise.await.expect("an end");
    response.get().expect("results").get_recver().expect("an end")
}

async fn new_send_closer(chan: &Chan) -> SendCloser {
    let response = chan.new_send_closer_request().send().promise.await.expect("an end");
    response.get().expect("results").get_send_closer().expect("an end")
}

async fn new_closer(of: &SendCloser) -> closer::Client {
    let response = of.new_closer_request().send().promise.await.expect("an end");
    response.get().expect("results").get_closer().expect("an end")
}

async fn new_sender(of: &SendCloser) -> Sender {
    let response = of.new_sender_request().send().promise.await.expect("an end");
    response.get().expect("results").get_sender().expect("an end")
}

/// What is at `path`.
async fn found<C: FromClientHook>(peer: &Peer, path: &str) -> C {
    let (loader, _) = cell(&walk(&peer.anchor(), path).await.expect("walked")).await;
    load_cap(&loader).await.expect("loaded").expect("there")
}

fn waits<T: 'static>(what: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    spawn_local(what)
}

/// Lets everything that is on its way arrive, and be done.
async fn settle(peer: &Peer) {
    for _ in 0..3 {
        peer.nodes().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const CLOSED: &str = "the channel is closed";
const ENDED: &str = "the channel is closed and empty";
const NOBODY: &str = "nobody receives from this channel any more";

/// Checks that it failed for this reason.
fn failed<T>(result: &capnp::Result<T>, words: &str) {
    let error = result.as_ref().err().expect("an error");
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
    assert!(error.to_string().ends_with(words), "{error}, not {words}");
}

#[test]
fn a_value_goes_from_one_client_to_another_through_a_path() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 16).await;
        put(&making, "inbox", Put::cap(new_send_closer(&chan).await)).await;
        let sender: Sender = found(&sending, "inbox").await;
        for number in 0..10 {
            send(&sender, Put::text(&format!("{number}"))).await.expect("sent");
        }
        send(&sender, Put::Nothing).await.expect("sent");
        assert_eq!(len(&chan).await, 11);
        for number in 0..10 {
            assert_eq!(recv(&as_recver(&chan)).await.expect("received"), format!("{number}"));
        }
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "(null)");
        assert_eq!(try_recv(&as_recver(&chan)).await.expect("open"), None);
    });
}

#[test]
fn without_a_buffer_a_send_is_answered_when_the_value_was_taken() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 0).await;
        put(&making, "inbox", Put::cap(chan.clone())).await;
        let sender: Sender = found(&sending, "inbox").await;
        let sent = waits(send(&sender, Put::text("a")));
        settle(&sending).await;
        assert!(!sent.is_finished());
        assert!(!try_send(&sender, "b").await.expect("open"), "nobody waits for it");
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "a");
        sent.await.expect("no panic").expect("sent");

        let received = waits(recv(&as_recver(&chan)));
        settle(&making).await;
        assert!(try_send(&sender, "c").await.expect("open"));
        assert_eq!(received.await.expect("no panic").expect("received"), "c");
    });
}

#[test]
fn a_full_channel_has_senders_wait_and_takes_them_in_their_order() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 2).await;
        put(&making, "inbox", Put::cap(chan.clone())).await;
        let sender: Sender = found(&sending, "inbox").await;
        let sends: Vec<_> =
            (0..6).map(|number| waits(send(&sender, Put::text(&format!("{number}"))))).collect();
        settle(&sending).await;
        let done = || sends.iter().filter(|send| send.is_finished()).count();
        assert_eq!((done(), len(&chan).await), (2, 2));
        assert!(!try_send(&sender, "not now").await.expect("open"));
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "0");
        eventually("the third", async || done() == 3).await;
        assert_eq!(recv_many(&as_recver(&chan), 3).await.expect("received"), ["1", "2", "3"]);
        assert_eq!(recv_many(&as_recver(&chan), 100).await.expect("received"), ["4", "5"]);
        assert_eq!(recv_many(&as_recver(&chan), 0).await.expect("none"), [""; 0]);
        eventually("all", async || done() == 6).await;
    });
}

#[test]
fn a_send_that_is_given_up_has_sent_nothing_and_a_receive_has_taken_nothing() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 0).await;
        put(&making, "inbox", Put::cap(chan.clone())).await;
        let sender: Sender = found(&sending, "inbox").await;
        let given_up = waits(send(&sender, Put::text("given up")));
        let sent = waits(send(&sender, Put::text("sent")));
        settle(&sending).await;
        given_up.abort();
        settle(&sending).await;
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "sent");
        sent.await.expect("no panic").expect("sent");

        let given_up = waits(recv(&as_recver(&chan)));
        settle(&making).await;
        given_up.abort();
        settle(&making).await;
        let sent = waits(send(&sender, Put::text("kept")));
        settle(&sending).await;
        assert!(!sent.is_finished(), "nobody takes it");
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "kept");
    });
}

#[test]
fn what_a_connection_waited_to_send_is_withdrawn_when_it_ends() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 1).await;
        put(&making, "inbox", Put::cap(chan.clone())).await;
        let sender: Sender = found(&sending, "inbox").await;
        send(&sender, Put::text("buffered")).await.expect("sent");
        let waiting = waits(send(&sender, Put::text("waiting")));
        settle(&sending).await;
        sending.leave().await;
        assert!(waiting.await.expect("no panic").is_err());
        settle(&making).await;
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "buffered");
        assert_eq!(try_recv(&as_recver(&chan)).await.expect("open"), None);
        let stored = making.info(|info| info.get_stored_bytes()).await;
        assert!(stored < 200, "{stored} bytes: the end in the cell, no more");
    });
}

#[test]
fn after_a_close_sends_fail_and_what_is_buffered_is_still_received() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 1).await;
        put(&making, "inbox", Put::cap(new_send_closer(&chan).await)).await;
        let ends: SendCloser = found(&sending, "inbox").await;
        let sender = new_sender(&ends).await;
        send(&sender, Put::text("buffered")).await.expect("sent");
        let waiting = waits(send(&sender, Put::text("waiting")));
        settle(&sending).await;
        let closer = new_closer(&ends).await;
        close(&closer).await.expect("closed");
        failed(&waiting.await.expect("no panic"), CLOSED);
        failed(&close(&closer).await, "the channel is closed already");
        failed(&close(&chan.clone().cast_to()).await, "the channel is closed already");
        failed(&send(&as_sender(&ends), Put::text("late")).await, CLOSED);
        failed(&try_send(&sender, "late").await, CLOSED);
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "buffered");
        failed(&recv(&as_recver(&chan)).await, ENDED);
        failed(&try_recv(&as_recver(&chan)).await, ENDED);
        failed(&recv_many(&as_recver(&chan), 3).await, ENDED);
    });
}

#[test]
fn receivers_learn_that_the_connection_of_the_last_sender_has_ended() {
    on_one_thread_and_on_two(async |_, making, sending| {
        let chan = made(&making, 4).await;
        let recver = new_recver(&chan).await;
        put(&making, "inbox", Put::cap(chan)).await;
        let sender: Sender = found(&sending, "inbox").await;
        // From here on the sender's client alone has an end that sends.
        put(&sending, "inbox", Put::Nothing).await;
        send(&sender, Put::text("the last words")).await.expect("sent");
        assert_eq!(recv(&recver).await.expect("received"), "the last words");
        let (first, second) = (waits(recv(&recver)), waits(recv(&recver)));
        settle(&making).await;
        assert!(!first.is_finished() && !second.is_finished());
        sending.leave().await;
        failed(&first.await.expect("no panic"), ENDED);
        failed(&second.await.expect("no panic"), ENDED);
    });
}

#[test]
fn senders_fail_when_the_connection_of_the_last_receiver_ends() {
    on_one_thread_and_on_two(async |_, receiving, sending| {
        let chan = made(&receiving, 1).await;
        put(&receiving, "inbox", Put::cap(new_send_closer(&chan).await)).await;
        let sender: Sender = found(&sending, "inbox").await;
        send(&sender, Put::text("buffered")).await.expect("sent");
        let waiting = waits(send(&sender, Put::text("waiting")));
        settle(&sending).await;
        assert!(!waiting.is_finished());
        receiving.leave().await;
        failed(&waiting.await.expect("no panic"), NOBODY);
        failed(&send(&sender, Put::text("late")).await, NOBODY);
        failed(&try_send(&sender, "late").await, NOBODY);
    });
}

#[test]
fn who_waits_at_an_end_that_sends_and_receives_keeps_only_the_side_that_it_waits_at() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let chan = made(&peer, 0).await;
        let waiting = waits(recv(&as_recver(&chan)));
        settle(&peer).await;
        drop(chan);
        failed(&waiting.await.expect("no panic"), ENDED);

        let chan = made(&peer, 0).await;
        let waiting = waits(send(&as_sender(&chan), Put::text("a")));
        settle(&peer).await;
        drop(chan);
        failed(&waiting.await.expect("no panic"), NOBODY);
    });
}

#[test]
fn an_end_in_a_cell_or_in_a_channel_keeps_its_side() {
    on_one_thread_and_on_two(async |_, making, other| {
        let chan = made(&making, 1).await;
        let recver = new_recver(&chan).await;
        let box_chan = made(&making, 1).await;
        send(&as_sender(&box_chan), Put::cap(new_send_closer(&chan).await)).await.expect("sent");
        drop(chan);
        put(&making, "box", Put::cap(box_chan)).await;
        let waiting = waits(recv(&recver));
        settle(&making).await;
        assert!(!waiting.is_finished(), "a channel keeps its sender");
        let box_chan: Recver = found(&other, "box").await;
        let sender: Sender = recv_cap(&box_chan).await.expect("received");
        send(&sender, Put::text("through two")).await.expect("sent");
        assert_eq!(waiting.await.expect("no panic").expect("received"), "through two");
        let waiting = waits(recv(&recver));
        drop(sender);
        failed(&waiting.await.expect("no panic"), ENDED);
    });
}

#[test]
fn what_each_end_may_do_is_what_its_interface_says() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let chan = made(&peer, 4).await;
        let ends = new_send_closer(&chan).await;
        let (recver, sender) = (new_recver(&chan).await, new_sender(&ends).await);
        let closer = new_closer(&ends).await;
        assert_eq!(identity(&sender), identity(&new_sender(&ends).await), "one and the same");
        let kind = |result: capnp::Result<()>| result.expect_err("not its own").kind;
        let from_sender: Recver = sender.clone().cast_to();
        assert_eq!(kind(recv(&from_sender).await.map(drop)), ErrorKind::Unimplemented);
        drop(from_sender);
        let to_recver: Recver = ends.clone().cast_to();
        assert_eq!(kind(recv(&to_recver).await.map(drop)), ErrorKind::Unimplemented);
        let to_closer: closer::Client = sender.clone().cast_to();
        assert_eq!(kind(close(&to_closer).await), ErrorKind::Unimplemented);
        for none in [recver.clone().cast_to::<Sender>(), closer.clone().cast_to()] {
            assert_eq!(kind(send(&none, Put::text("no")).await), ErrorKind::Unimplemented);
        }
        let to_chan: Chan = ends.clone().cast_to();
        let request = to_chan.new_recver_request().send().promise;
        assert_eq!(kind(request.await.map(drop)), ErrorKind::Unimplemented);

        // A closer is no sender: the channel closes though one is held.
        drop((chan, ends, sender, to_recver, to_closer, to_chan));
        failed(&recv(&recver).await, ENDED);
        failed(&close(&closer).await, "the channel is closed already");
    });
}

#[test]
fn capabilities_go_through_a_channel_and_live_with_their_host() {
    on_one_thread_and_on_two(async |_, hosting, calling| {
        let chan = made(&hosting, 4).await;
        put(&hosting, "inbox", Put::cap(chan.clone())).await;
        let there: Chan = found(&calling, "inbox").await;
        let (client, spoken) = speaker("hello");
        send(&as_sender(&chan), Put::cap(client.clone())).await.expect("sent");
        send(&as_sender(&chan), Put::cap(client)).await.expect("sent");
        let anchor = walk(&hosting.anchor(), "a/b").await.expect("walked");
        send(&as_sender(&chan), Put::cap(anchor)).await.expect("sent");
        let heard: loader::Client = recv_cap(&as_recver(&there)).await.expect("received");
        assert_eq!(load(&heard).await.expect("called").0, Some("hello".into()));
        assert_eq!(spoken.get(), 1);

        // Its host has gone when the second is received: it comes, and is broken.
        drop(chan);
        hosting.leave().await;
        let broken: loader::Client = recv_cap(&as_recver(&there)).await.expect("received");
        let error = load(&broken).await.expect_err("nobody hosts it");
        assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        let kept: anchor::Client = recv_cap(&as_recver(&there)).await.expect("received");
        assert!(support::lookup(&calling.anchor(), "a/b").await.expect("asked").is_some());
        drop(kept);
        put(&calling, "inbox", Put::Nothing).await;
        drop(there);
        calling.tree_is_empty().await;
    });
}

#[test]
fn a_channel_can_be_used_before_the_answer_that_it_comes_in_is_there() {
    on_one_thread_and_on_two(async |_, making, other| {
        let mut request = making.anchor().new_chan_request();
        request.get().set_capacity(2);
        let chan = request.send().pipeline.get_chan();
        let sent = send(&as_sender(&chan), Put::text("in one round trip"));
        let received = recv(&as_recver(&chan));
        assert_eq!(received.await.expect("received"), "in one round trip");
        sent.await.expect("sent");

        put(&making, "inbox", Put::cap(chan.clone())).await;
        let mut request = other.anchor().walk_request();
        request.get().set_path("inbox");
        let anchor = request.send().pipeline.get_anchor();
        let loader = anchor.cell_request().send().pipeline.get_loader();
        let value = loader.load_request().send().pipeline;
        let sender = Sender::new(value.get_value().as_cap());
        send(&sender, Put::text("loaded")).await.expect("sent");
        assert_eq!(recv(&as_recver(&chan)).await.expect("received"), "loaded");
    });
}

#[test]
fn every_anchor_makes_channels_but_the_clusters() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let below = walk(&peer.anchor(), "a/b").await.expect("walked");
        let chan = new_chan(&below, 3).await.expect("made");
        let capacity = chan.capacity_request().send().promise.await.expect("asked");
        assert_eq!(capacity.get().expect("results").get_capacity(), 3);
        drop(below);
        peer.tree_is_empty().await;
        let root = peer.root().await;
        failed(&new_chan(&root, 0).await, "the cluster's anchor makes no channels: the hosts do");
    });
}

#[test]
fn there_are_no_more_channels_and_none_of_more_capacity_than_the_limits() {
    let harness = Harness::with(|config| {
        config.max_channels = 2;
        config.max_channel_capacity = 10;
    });
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let words = "channel of capacity 11 exceeds the limit of 10 (max-channel-capacity)";
        failed(&new_chan(&peer.anchor(), 11).await, words);
        let (first, _second) = (made(&peer, 10).await, made(&peer, 0).await);
        let error = new_chan(&peer.anchor(), 0).await.err().expect("a third");
        assert_eq!(error.kind, ErrorKind::Overloaded);
        let words = "the server already has its limit of 2 channels (max-channels)";
        assert!(error.to_string().ends_with(words), "{error}");
        let end = new_recver(&first).await;
        drop(first);
        assert!(new_chan(&peer.anchor(), 0).await.is_err(), "an end of it is held");
        drop(end);
        made(&peer, 0).await;
    });
}

#[test]
fn one_connection_cannot_have_all_the_channels_that_there_may_be() {
    let harness = Harness::with(|config| {
        config.max_channels = 4;
        config.max_connection_channels = 2;
    });
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let (first, _second) = (made(&peer, 1).await, made(&peer, 1).await);
        let error = new_chan(&peer.anchor(), 0).await.err().expect("a third");
        assert_eq!(error.kind, ErrorKind::Overloaded);
        let words = "this connection already has its limit of 2 channels (max-connection-channels)";
        assert!(error.to_string().ends_with(words), "{error}");
        let other = Peer::connect(harness.unix()).await;
        let _others = (made(&other, 1).await, made(&other, 1).await);
        drop(first);
        made(&peer, 1).await;
    });
}

#[test]
fn what_waits_in_channels_counts_as_stored_and_is_given_back() {
    let harness = Harness::with(|config| config.max_stored_bytes = 20_000);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let chan = made(&peer, 100).await;
        let sender = as_sender(&chan);
        let large = "x".repeat(4000);
        for _ in 0..4 {
            send(&sender, Put::text(&large)).await.expect("room");
        }
        let error = send(&sender, Put::text(&large)).await.expect_err("no room");
        assert_eq!(error.kind, ErrorKind::Overloaded);
        assert!(error.to_string().ends_with("(max-stored-bytes)"), "{error}");
        recv(&as_recver(&chan)).await.expect("received");
        send(&sender, Put::text(&large)).await.expect("room again");
        let before = peer.info(|info| info.get_stored_bytes()).await;
        assert!((4 * 4000..20_000).contains(&before), "{before}");
        // Values of no bytes take some as well.
        while recv_many(&as_recver(&chan), 100).await.expect("received").len() < 4 {}
        for _ in 0..100 {
            send(&sender, Put::Nothing).await.expect("room");
        }
        assert!(peer.info(|info| info.get_stored_bytes()).await > 100 * 100);
        drop((chan, sender));
        eventually("nothing stored", async || peer.info(|info| info.get_stored_bytes()).await == 0)
            .await;
    });
}

#[test]
fn a_slow_receiver_costs_its_buffer_and_the_calls_in_flight() {
    let (capacity, calls) = (8, 4);
    let harness = Harness::with(|config| {
        config.max_calls = calls;
        config.write_timeout = Duration::from_secs(60);
    });
    run(async {
        let receiving = Peer::connect(harness.unix()).await;
        let sending = Peer::connect(harness.unix()).await;
        let chan = made(&receiving, capacity).await;
        put(&receiving, "inbox", Put::cap(chan.clone())).await;
        let sender: Sender = found(&sending, "inbox").await;
        let empty = receiving.info(|info| info.get_stored_bytes()).await;
        let value = "x".repeat(1000);
        let sends: Vec<_> = (0..200).map(|_| waits(send(&sender, Put::text(&value)))).collect();
        let done = || sends.iter().filter(|send| send.is_finished()).count();
        eventually("a full buffer", async || done() == capacity as usize).await;
        settle(&receiving).await;
        let each = 1000 + 200;
        let stored = receiving.info(|info| info.get_stored_bytes()).await - empty;
        assert!(stored <= (u64::from(capacity) + calls as u64) * each, "{stored} bytes");
        for _ in 0..200 {
            assert_eq!(recv(&as_recver(&chan)).await.expect("received"), value);
        }
        eventually("all", async || done() == 200).await;
    });
}

#[test]
fn many_are_received_as_fit_into_one_message() {
    let harness = Harness::with(|config| config.max_value_bytes = 10_000);
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let chan = made(&peer, 100).await;
        let value = "x".repeat(6000);
        for _ in 0..20 {
            send(&as_sender(&chan), Put::text(&value)).await.expect("sent");
        }
        let mut received = 0;
        while received < 20 {
            let items = recv_many(&as_recver(&chan), u32::MAX).await.expect("received");
            // The largest message is of 40,000 bytes.
            assert!((1..=3).contains(&items.len()), "{} values", items.len());
            received += items.len();
        }
    });
}

#[test]
fn what_a_receiver_may_not_have_is_kept_for_the_next() {
    let harness = Harness::with(|config| config.max_capabilities = 6);
    run(async {
        let (peer, other) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let chan = made(&peer, 8).await;
        put(&peer, "inbox", Put::cap(chan.clone())).await;
        send(&as_sender(&chan), Put::text("first")).await.expect("sent");
        for path in ["a", "b"] {
            let anchor = walk(&peer.anchor(), path).await.expect("walked");
            send(&as_sender(&chan), Put::cap(anchor)).await.expect("sent");
        }
        let recver: Recver = found(&other, "inbox").await;
        let mut held = Vec::new();
        loop {
            match walk(&other.anchor(), &format!("held/{}", held.len())).await {
                Ok(anchor) => held.push(anchor),
                Err(error) => break assert_eq!(error.kind, ErrorKind::Overloaded),
            }
        }
        let mut request = recver.recv_many_request();
        request.get().set_max(9);
        let received = request.send().promise.await.expect("received");
        assert_eq!(received.get().expect("results").get_items().expect("items").len(), 1);
        let error = recv(&recver).await.expect_err("no room for a capability");
        assert!(error.to_string().contains("limit of 6 capabilities"), "{error}");
        assert_eq!(len(&chan).await, 2);
        drop(held);
        let first: anchor::Client = recv_cap(&recver).await.expect("room again");
        let there = support::lookup(&other.anchor(), "a").await.expect("asked").expect("there");
        assert_eq!(identity(&first), identity(&there), "in their order");
    });
}

#[test]
fn a_value_whose_receiver_goes_with_the_answer_under_way_is_lost_and_received_by_nobody_else() {
    on_one_thread_and_on_two(async |harness, sending, other| {
        let chan = made(&sending, 0).await;
        put(&sending, "inbox", Put::cap(chan.clone())).await;
        // One that asks, and is cut off before it reads the answer.
        let mut stream = raw(harness.unix()).await;
        let mut calls = load_messages("inbox", 1);
        let recv = (<Recver as HasTypeId>::TYPE_ID, 0);
        calls.extend(pipelined_call(4, (3, Some(0)), recv, |_| ()));
        stream.write_all(&calls).await.expect("sent");
        settle(&other).await;
        let sent = send(&as_sender(&chan), Put::text("lost")).await;
        sent.expect("a receiver has taken it");
        drop(stream);
        settle(&sending).await;
        assert_eq!(try_recv(&as_recver(&chan)).await.expect("open"), None);
        assert_eq!(len(&chan).await, 0);
    });
}

#[test]
fn many_clients_at_both_sides_share_out_every_value_once() {
    let harness = Harness::start();
    run(async {
        let making = Peer::connect(harness.unix()).await;
        let chan = made(&making, 3).await;
        put(&making, "send", Put::cap(new_send_closer(&chan).await)).await;
        put(&making, "recv", Put::cap(new_recver(&chan).await)).await;
        drop(chan);
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let peer = Rc::new(Peer::connect(harness.unix()).await);
            let sender: Sender = found(&peer, "send").await;
            senders.push(waits(async move {
                for value in 0..200 {
                    send(&sender, Put::text(&format!("{number}.{value:03}"))).await.expect("sent");
                }
                drop(peer);
            }));
            let peer = Peer::connect(harness.tcp()).await;
            let recver: Recver = found(&peer, "recv").await;
            receivers.push(waits(async move {
                let mut received = Vec::new();
                while let Ok(mut values) = recv_many(&recver, 1 + number * 3).await {
                    received.append(&mut values);
                }
                drop(peer);
                received
            }));
        }
        put(&making, "send", Put::Nothing).await;
        let mut all = Vec::new();
        for sender in senders {
            sender.await.expect("sent");
        }
        for receiver in receivers {
            let received = receiver.await.expect("received");
            for number in 0..3 {
                let of_one = received.iter().filter(|value| value.starts_with(&number.to_string()));
                assert!(of_one.is_sorted(), "each sender's in their order");
            }
            all.extend(received);
        }
        all.sort_unstable();
        let expected: Vec<_> = (0..3)
            .flat_map(|number| (0..200).map(move |value| format!("{number}.{value:03}")))
            .collect();
        assert_eq!(all, expected);
    });
}

#[test]
fn a_server_stops_though_calls_wait_at_its_channels() {
    let harness = Harness::start();
    run(async {
        let peer = Peer::connect(harness.unix()).await;
        let chan = made(&peer, 0).await;
        let waiting = waits(recv(&as_recver(&chan)));
        settle(&peer).await;
        assert!(recv(&as_recver(&chan)).now_or_never().is_none());
        let Harness { server, .. } = harness;
        tokio::task::spawn_blocking(move || server.stop()).await.expect("stopped");
        assert!(waiting.await.expect("no panic").is_err());
    });
}
