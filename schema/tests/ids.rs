//! The numbers that other implementations know are the ones on the wire.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{
    DispatchCallResult, DynClientHook, FromClientHook, FromServer, Params, Promise, Results, Server,
};
use capnp::introspect::{Introspect, TypeVariant};
use capnp::schema::{Field, StructSchema};
use capnp::schema_capnp::field;
use capnp::traits::HasTypeId;
use futures::executor::block_on;
use killick_schema::api::anchor_capnp::anchor::{
    self, change, child, grant, limits, loader, rights, storer, watch,
};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use killick_schema::api::cluster_capnp::peer::principal;
use killick_schema::api::host_capnp::{client_info, host, host_info, member};
use killick_schema::api::process_capnp::{byte_sink, byte_source, process};

const ANCHOR: u64 = 0xe412_37e4_098e_d922;
const CHILD: u64 = 0xc718_781c_b255_3199;
const LOADER: u64 = 0x8a33_6ac7_e2d0_28c1;
const STORER: u64 = 0xab8d_091f_9859_9d27;

const CLOSER: u64 = 0xfad0_e4b8_0d37_79c3;
const SENDER: u64 = 0xe8bb_ed14_38ea_16ee;
const RECVER: u64 = 0xdf05_a90d_671c_0c07;
const SEND_CLOSER: u64 = 0xe9a7_d19a_7d14_e94e;
const CHAN: u64 = 0x95c8_9fe7_d966_f751;

const PROCESS: u64 = 0xda23_f0d3_a825_0633;

/// The numbers of the calls made so far.
#[derive(Default)]
struct Calls(RefCell<Vec<(u64, u16)>>);

/// Answers every call with nothing, and keeps its numbers.
#[derive(Clone)]
struct Recorder(Rc<Calls>);

impl std::ops::Deref for Recorder {
    type Target = Calls;

    fn deref(&self) -> &Calls {
        &self.0
    }
}

impl Server for Recorder {
    fn dispatch_call(
        self,
        interface_id: u64,
        method_id: u16,
        _: Params<any_pointer::Owned>,
        _: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        self.0.0.borrow_mut().push((interface_id, method_id));
        DispatchCallResult::new(Promise::ok(()), false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

/// A client of a [`Recorder`], to be cast to the one under test.
struct Recorded(Box<DynClientHook>);

impl FromClientHook for Recorded {
    fn new(hook: Box<DynClientHook>) -> Self {
        Recorded(hook)
    }

    fn into_client_hook(self) -> Box<DynClientHook> {
        self.0
    }

    fn as_client_hook(&self) -> &DynClientHook {
        &*self.0
    }
}

impl FromServer<Calls> for Recorded {
    type Dispatch = Recorder;

    fn from_server(calls: Rc<Calls>) -> Recorder {
        Recorder(calls)
    }
}

/// The numbers of the calls that `calls` makes through a client of type `C`.
fn recorded<C: FromClientHook>(calls: impl AsyncFnOnce(C)) -> Vec<(u64, u16)> {
    let record = Rc::new(Calls::default());
    let client: Recorded = capnp_rpc::new_client_from_rc(record.clone());
    block_on(calls(client.cast_to()));
    record.0.take()
}

/// Each field's name, and its place among those of its size, in the order of their numbers.
fn fields<T: Introspect>() -> Vec<(String, u32)> {
    let TypeVariant::Struct(raw) = T::introspect().which() else { panic!("not a struct") };
    let describe = |field: Field| {
        let proto = field.get_proto();
        let name = proto.get_name().expect("a name").to_string().expect("text");
        match proto.which() {
            Ok(field::Which::Slot(slot)) => (name, slot.get_offset()),
            _ => panic!("{name} is a group"),
        }
    };
    StructSchema::new(raw).get_fields().expect("fields").iter().map(describe).collect()
}

fn owned(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|&(name, offset)| (name.to_owned(), offset)).collect()
}

#[test]
fn file_and_type_ids_are_those_of_wetware() {
    for (source, id) in [
        (include_str!("../anchor.capnp"), "@0xefb5a91f96d44de3;"),
        (include_str!("../channel.capnp"), "@0x872a451f9aa74ebf;"),
        (include_str!("../process.capnp"), "@0x9a51e53177277763;"),
    ] {
        assert_eq!(source.lines().find(|line| line.starts_with('@')), Some(id));
    }

    assert_eq!(anchor::Client::TYPE_ID, ANCHOR);
    assert_eq!(child::Reader::TYPE_ID, CHILD);
    assert_eq!(loader::Client::TYPE_ID, LOADER);
    assert_eq!(storer::Client::TYPE_ID, STORER);

    assert_eq!(closer::Client::TYPE_ID, CLOSER);
    assert_eq!(sender::Client::<any_pointer::Owned>::TYPE_ID, SENDER);
    assert_eq!(recver::Client::<any_pointer::Owned>::TYPE_ID, RECVER);
    assert_eq!(send_closer::Client::<any_pointer::Owned>::TYPE_ID, SEND_CLOSER);
    assert_eq!(chan::Client::<any_pointer::Owned>::TYPE_ID, CHAN);

    assert_eq!(process::Client::TYPE_ID, PROCESS);
}

#[test]
fn anchor_methods_are_called_by_their_numbers() {
    let calls = recorded::<anchor::Client>(async |anchor| {
        let _ = anchor.ls_request().send().promise.await;
        let _ = anchor.walk_request().send().promise.await;
        let _ = anchor.cell_request().send().promise.await;
        let _ = anchor.lookup_request().send().promise.await;
        let _ = anchor.swap_request().send().promise.await;
        let _ = anchor.watch_request().send().promise.await;
        let _ = anchor.attenuate_request().send().promise.await;
        let _ = anchor.new_chan_request().send().promise.await;
        let _ = anchor.exec_request().send().promise.await;
    });
    assert_eq!(calls, (0..9).map(|number| (ANCHOR, number)).collect::<Vec<_>>());
}

#[test]
fn loader_and_storer_methods_are_called_by_their_numbers() {
    let calls = recorded::<loader::Client>(async |loader| {
        let _ = loader.load_request().send().promise.await;
        let _ = loader.wait_request().send().promise.await;
    });
    assert_eq!(calls, [(LOADER, 0), (LOADER, 1)]);

    let calls = recorded::<storer::Client>(async |storer| {
        let _ = storer.store_request().send().promise.await;
        let _ = storer.compare_and_store_request().send().promise.await;
    });
    assert_eq!(calls, [(STORER, 0), (STORER, 1)]);
}

#[test]
fn watch_and_grant_methods_are_called_by_their_numbers() {
    let calls = recorded::<watch::Client>(async |watch| {
        let _ = watch.next_request().send().promise.await;
    });
    assert_eq!(calls, [(watch::Client::TYPE_ID, 0)]);

    let calls = recorded::<grant::Client>(async |grant| {
        let _ = grant.revoke_request().send().promise.await;
        let _ = grant.info_request().send().promise.await;
    });
    assert_eq!(calls, [(grant::Client::TYPE_ID, 0), (grant::Client::TYPE_ID, 1)]);
}

#[test]
fn channel_methods_are_called_by_their_numbers() {
    let calls = recorded::<chan::Client<any_pointer::Owned>>(async |chan| {
        let send_closer: send_closer::Client<any_pointer::Owned> = chan.client.clone().cast_to();
        let sender: sender::Client<any_pointer::Owned> = chan.client.clone().cast_to();
        let recver: recver::Client<any_pointer::Owned> = chan.client.clone().cast_to();
        let closer: closer::Client = chan.client.clone().cast_to();
        let _ = closer.close_request().send().promise.await;
        let _ = sender.send_request().send().promise.await;
        let _ = sender.try_send_request().send().promise.await;
        let _ = recver.recv_request().send().promise.await;
        let _ = recver.try_recv_request().send().promise.await;
        let _ = recver.recv_many_request().send().promise.await;
        let _ = send_closer.new_sender_request().send().promise.await;
        let _ = send_closer.new_closer_request().send().promise.await;
        let _ = chan.new_send_closer_request().send().promise.await;
        let _ = chan.new_recver_request().send().promise.await;
        let _ = chan.len_request().send().promise.await;
        let _ = chan.capacity_request().send().promise.await;
    });
    let expected = [(CLOSER, 1), (SENDER, 2), (RECVER, 3), (SEND_CLOSER, 2), (CHAN, 4)];
    let expected = expected.into_iter().flat_map(|(id, count)| (0..count).map(move |m| (id, m)));
    assert_eq!(calls, expected.collect::<Vec<_>>());
}

#[test]
fn process_methods_are_called_by_their_numbers() {
    let calls = recorded::<process::Client>(async |process| {
        let source: byte_source::Client = process.client.clone().cast_to();
        let sink: byte_sink::Client = process.client.clone().cast_to();
        let _ = process.wait_request().send().promise.await;
        let _ = process.kill_request().send().promise.await;
        let _ = process.status_request().send().promise.await;
        let _ = process.signal_request().send().promise.await;
        let _ = process.stdin_request().send().promise.await;
        let _ = process.stdout_request().send().promise.await;
        let _ = process.stderr_request().send().promise.await;
        let _ = process.bootstrap_request().send().promise.await;
        let _ = source.read_request().send().promise.await;
        let _ = sink.write_request().send().promise.await;
        let _ = sink.close_request().send().promise.await;
    });
    let (source, sink) = (byte_source::Client::TYPE_ID, byte_sink::Client::TYPE_ID);
    let process = (0..8).map(|number| (PROCESS, number));
    let expected = process.chain([(source, 0), (sink, 0), (sink, 1)]);
    assert_eq!(calls, expected.collect::<Vec<_>>());
}

#[test]
fn host_methods_are_called_by_their_numbers() {
    let calls = recorded::<host::Client>(async |host| {
        let _ = host.root_request().send().promise.await;
        let _ = host.info_request().send().promise.await;
        let _ = host.clients_request().send().promise.await;
        let _ = host.hosts_request().send().promise.await;
    });
    assert_eq!(calls, (0..4).map(|number| (host::Client::TYPE_ID, number)).collect::<Vec<_>>());
    assert_ne!(host::Client::TYPE_ID, ANCHOR);
}

#[test]
fn fields_of_wetware_lie_where_it_puts_them() {
    let child = owned(&[("anchor", 0), ("name", 1), ("filled", 0), ("childCount", 1)]);
    assert_eq!(fields::<child::Owned>(), child);
    assert_eq!(fields::<anchor::ls_results::Owned>(), owned(&[("children", 0)]));
    assert_eq!(fields::<anchor::walk_params::Owned>(), owned(&[("path", 0)]));
    assert_eq!(fields::<anchor::walk_results::Owned>(), owned(&[("anchor", 0)]));
    let cell = owned(&[("loader", 0), ("storer", 1)]);
    assert_eq!(fields::<anchor::cell_results::Owned>(), cell);
    let load = owned(&[("value", 0), ("revision", 0)]);
    assert_eq!(fields::<loader::load_results::Owned>(), load);
    let store = owned(&[("value", 0), ("overwrite", 0), ("bound", 1)]);
    assert_eq!(fields::<storer::store_params::Owned>(), store);
    let stored = owned(&[("succeeded", 0), ("revision", 1)]);
    assert_eq!(fields::<storer::store_results::Owned>(), stored);
}

#[test]
fn fields_of_host_info_keep_their_places() {
    let info = [
        ("id", 0),
        ("version", 0),
        ("hostname", 1),
        ("uptimeMillis", 1),
        ("nodes", 2),
        ("residentBytes", 3),
        ("connections", 4),
        ("threads", 10),
        ("cpuMicros", 6),
        ("calls", 7),
        ("storedBytes", 8),
        ("processes", 11),
        ("generation", 9),
        ("cluster", 2),
        ("fullId", 3),
        ("hosts", 20),
        ("certificateEnds", 11),
    ];
    assert_eq!(fields::<host_info::Owned>(), owned(&info));
    let client = [
        ("id", 0),
        ("peer", 0),
        ("ageMillis", 1),
        ("thread", 4),
        ("calls", 3),
        ("running", 5),
        ("bytesRead", 4),
        ("bytesWritten", 5),
        ("handles", 12),
        ("hosted", 13),
        ("watches", 14),
        ("channels", 15),
    ];
    assert_eq!(fields::<client_info::Owned>(), owned(&client));
}

#[test]
fn fields_of_a_clusters_hosts_and_of_who_asks_keep_their_places() {
    let told = [
        ("id", 0),
        ("fullId", 0),
        ("generation", 1),
        ("state", 8),
        ("sinceMillis", 3),
        ("hostname", 1),
        ("version", 2),
        ("addresses", 3),
        ("cluster", 4),
        ("tags", 5),
        ("connected", 144),
        ("self", 145),
    ];
    assert_eq!(fields::<member::Owned>(), owned(&told));
    assert_eq!(fields::<member::tag::Owned>(), owned(&[("key", 0), ("value", 1)]));
    let asks =
        [("name", 0), ("connection", 0), ("local", 0), ("user", 3), ("key", 1), ("process", 0)];
    assert_eq!(fields::<principal::Owned>(), owned(&asks));
}

#[test]
fn fields_of_changes_rights_and_limits_keep_their_places() {
    let told = [
        ("sequence", 0),
        ("whole", 64),
        ("valueChanged", 65),
        ("value", 0),
        ("revision", 2),
        ("added", 1),
        ("removed", 2),
        ("filled", 3),
        ("emptied", 4),
        ("departures", 5),
    ];
    assert_eq!(fields::<change::Owned>(), owned(&told));
    assert_eq!(fields::<change::entry::Owned>(), owned(&[("name", 0), ("filled", 0)]));
    let names = ["walk", "lookup", "ls", "load", "store", "watch", "attenuate", "exec"];
    let expected: Vec<_> = names.into_iter().zip(0..).collect();
    assert_eq!(fields::<rights::Owned>(), owned(&expected));
    let names = ["nodes", "depth", "valueBytes", "watches", "channels", "processes"];
    let expected: Vec<_> = names.into_iter().zip(0..).collect();
    assert_eq!(fields::<limits::Owned>(), owned(&expected));
}
