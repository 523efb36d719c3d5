//! Clients on different threads of the server: what one hosts, the other calls; what dies with whom.

mod support;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use capnp::ErrorKind;
use killick_schema::api::anchor_capnp::anchor::{self, loader};
use support::{
    Harness, Peer, Put, cell, eventually, identity, load, load_cap, lookup, names, put, run,
    speaker, store, store_bound, swap, walk,
};

/// Runs `test` with a host and a caller on one thread, and then on two.
fn on_one_thread_and_on_two(test: impl AsyncFn(&Harness, Peer, Peer)) {
    for threads in [1, 2] {
        let harness = Harness::with(|config| {
            config.threads = NonZeroUsize::new(threads).expect("some");
        });
        run(async {
            // A connection goes to the thread that has the fewest.
            let (one, other) =
                (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
            test(&harness, one, other).await;
        });
    }
}

async fn found<C: capnp::capability::FromClientHook>(peer: &Peer, path: &str) -> C {
    let (loader, _) = cell(&walk(&peer.anchor(), path).await.expect("walked")).await;
    load_cap(&loader).await.expect("loaded").expect("there")
}

/// Notes the paths that it is walked by, and leads to a speaker if told of one.
#[derive(Default)]
struct Recorder {
    paths: RefCell<Vec<String>>,
    next: RefCell<Option<loader::Client>>,
}

impl anchor::Server for Recorder {
    async fn walk(
        self: Rc<Self>,
        params: anchor::WalkParams,
        _: anchor::WalkResults,
    ) -> capnp::Result<()> {
        self.paths.borrow_mut().push(params.get()?.get_path()?.to_string()?);
        Ok(())
    }

    async fn cell(
        self: Rc<Self>,
        _: anchor::CellParams,
        mut results: anchor::CellResults,
    ) -> capnp::Result<()> {
        // Late, so that what is called on the result has to wait.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(next) = &*self.next.borrow() {
            results.get().set_loader(next.clone());
        }
        Ok(())
    }
}

#[test]
fn calls_arrive_in_the_order_in_which_they_were_made() {
    on_one_thread_and_on_two(async |_, host, caller| {
        let recorder = Rc::new(Recorder::default());
        let client: anchor::Client = capnp_rpc::new_client_from_rc(recorder.clone());
        put(&host, "recorder", Put::cap(client)).await;
        let proxy: anchor::Client = found(&caller, "recorder").await;
        let path = |number: usize| format!("p{number}");
        let calls = (0..500).map(|number| {
            let mut request = proxy.walk_request();
            request.get().set_path(path(number));
            request.send().promise
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            call.await.expect("answered");
        }
        assert_eq!(*recorder.paths.borrow(), (0..500).map(path).collect::<Vec<_>>());
    });
}

#[test]
fn calls_that_wait_for_a_promise_arrive_in_their_order_before_later_ones() {
    on_one_thread_and_on_two(async |_, host, caller| {
        // The promise comes to the caller in the answer of a call.
        let holder = Rc::new(Recorder::default());
        let client: anchor::Client = capnp_rpc::new_client_from_rc(holder.clone());
        put(&host, "holder", Put::cap(client)).await;
        let recorder = Rc::new(Recorder::default());
        let (resolve, promise) = futures::channel::oneshot::channel::<loader::Client>();
        let promised = capnp_rpc::new_future_client(async move {
            promise.await.map_err(|_| capnp::Error::failed("never".into()))
        });
        holder.next.replace(Some(promised));
        let proxy: anchor::Client = found(&caller, "holder").await;
        let proxy = cell_loader(&proxy).await;
        let walker: anchor::Client = capnp::capability::FromClientHook::cast_to(proxy);
        let call = |number: usize| {
            let mut request = walker.walk_request();
            request.get().set_path(format!("p{number}"));
            request.send().promise
        };
        let early: Vec<_> = (0..50).map(call).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(recorder.paths.borrow().len(), 0);
        let resolved: anchor::Client = capnp_rpc::new_client_from_rc(recorder.clone());
        assert!(resolve.send(capnp::capability::FromClientHook::cast_to(resolved)).is_ok());
        let late: Vec<_> = (50..100).map(call).collect();
        for call in early.into_iter().chain(late) {
            call.await.expect("answered");
        }
        let expected: Vec<_> = (0..100).map(|number| format!("p{number}")).collect();
        assert_eq!(*recorder.paths.borrow(), expected);
    });
}

async fn cell_loader(of: &anchor::Client) -> loader::Client {
    let response = of.cell_request().send().promise.await.expect("cell");
    response.get().unwrap().get_loader().unwrap()
}

#[test]
fn a_call_on_an_answer_that_is_not_there_yet_follows_it() {
    on_one_thread_and_on_two(async |_, host, caller| {
        let (speaker, spoken) = speaker("at last");
        let recorder = Recorder::default();
        recorder.next.replace(Some(speaker));
        put(&host, "recorder", Put::cap(capnp_rpc::new_client::<anchor::Client, _>(recorder)))
            .await;
        let proxy: anchor::Client = found(&caller, "recorder").await;
        let loader = proxy.cell_request().send().pipeline.get_loader();
        assert_eq!(load(&loader).await.expect("pipelined"), (Some("at last".into()), 1));
        assert_eq!(spoken.get(), 1);
    });
}

#[test]
fn a_capability_that_comes_home_is_known_again() {
    on_one_thread_and_on_two(async |_, host, caller| {
        let (client, _spoken) = speaker("hello");
        put(&host, "a", Put::cap(client)).await;
        let away: loader::Client = found(&caller, "a").await;
        put(&caller, "b", Put::cap(away.clone())).await;
        let (at_a, at_b): (loader::Client, loader::Client) =
            (found(&host, "a").await, found(&host, "b").await);
        assert_eq!(identity(&at_a), identity(&at_b));
        put(&host, "c", Put::cap(at_b)).await;
        let again: loader::Client = found(&caller, "c").await;
        assert_eq!(identity(&again), identity(&away));
        assert_eq!(load(&again).await.unwrap().0, Some("hello".into()));
    });
}

#[test]
fn an_error_arrives_as_what_it_is() {
    struct Broken;
    impl loader::Server for Broken {
        async fn load(
            self: Rc<Self>,
            _: loader::LoadParams,
            _: loader::LoadResults,
        ) -> capnp::Result<()> {
            Err(capnp::Error::overloaded("too much of it".into()))
        }
    }
    on_one_thread_and_on_two(async |_, host, caller| {
        put(&host, "broken", Put::cap(capnp_rpc::new_client::<loader::Client, _>(Broken))).await;
        let proxy: loader::Client = found(&caller, "broken").await;
        let error = load(&proxy).await.expect_err("broken");
        assert_eq!(error.kind, ErrorKind::Overloaded);
        assert!(error.to_string().contains("too much of it"), "{error}");
        // A method that the host does not have.
        let walker: anchor::Client = capnp::capability::FromClientHook::cast_to(proxy);
        let error = walk(&walker, "x").await.err().expect("no such method");
        assert_eq!(error.kind, ErrorKind::Unimplemented);
    });
}

#[test]
fn what_others_stored_of_a_client_goes_with_it() {
    on_one_thread_and_on_two(async |_, host, caller| {
        let (client, spoken) = speaker("hello");
        put(&host, "a", Put::cap(client)).await;
        let away: loader::Client = found(&caller, "a").await;
        put(&caller, "b", Put::cap(away.clone())).await;
        put(&caller, "replaced", Put::cap(away.clone())).await;
        put(&caller, "replaced", Put::text("stays")).await;
        put(&host, "replaced-too", Put::text("before")).await;
        put(&caller, "replaced-too", Put::cap(away.clone())).await;
        put(&host, "replaced-too", Put::text("stays")).await;
        drop(away);
        host.leave().await;
        eventually("the end of its values", async || {
            names(&caller.anchor()).await == ["replaced", "replaced-too"]
        })
        .await;
        assert_eq!(spoken.get(), usize::MAX);
    });
}

#[test]
fn a_replaced_value_keeps_nothing_once_the_caller_knows() {
    on_one_thread_and_on_two(async |_, host, caller| {
        let (client, _spoken) = speaker("hello");
        for round in 0..100 {
            put(&host, "a", Put::cap(client.clone())).await;
            // Its releases have arrived with this call.
            host.nodes().await;
            let anchor = walk(&caller.anchor(), "a").await.unwrap();
            let (_, storer) = cell(&anchor).await;
            drop(anchor);
            assert!(store(&storer, Put::Nothing, true).await.unwrap().0);
            drop(storer);
            // So have these.
            assert!(lookup(&caller.anchor(), "a").await.unwrap().is_none(), "round {round}");
        }
    });
}

#[test]
fn a_bound_value_goes_with_the_connection_that_stored_it() {
    on_one_thread_and_on_two(async |_, owner, other| {
        let storer = async |peer: &Peer, path: &str| {
            cell(&walk(&peer.anchor(), path).await.expect("walked")).await.1
        };
        let mine = Put::text("mine");
        for path in ["stays", "goes/below", "replaced", "again"] {
            let bound = path != "stays";
            let stored = store_bound(&storer(&owner, path).await, mine.clone(), bound).await;
            assert_eq!(stored.expect("stored"), (true, 1), "{path}");
        }
        put(&other, "replaced", Put::text("others")).await;
        put(&other, "again", Put::text("others")).await;
        store_bound(&storer(&owner, "again").await, mine, true).await.expect("stored");
        let replaced = swap(&walk(&other.anchor(), "stays").await.unwrap(), Put::text("new")).await;
        assert_eq!(replaced.expect("swapped"), (Some("mine".into()), 2));

        owner.leave().await;
        eventually("the end of its values", async || {
            names(&other.anchor()).await == ["replaced", "stays"]
        })
        .await;
    });
}

#[test]
fn many_values_go_with_their_owner_while_others_are_served() {
    on_one_thread_and_on_two(async |_, owner, other| {
        let held = walk(&owner.anchor(), "values").await.unwrap();
        let stores = (0..10_000).map(|number| {
            let mut walk = held.walk_request();
            walk.get().set_path(number.to_string());
            let anchor = walk.send().pipeline.get_anchor();
            let storer = anchor.cell_request().send().pipeline.get_storer();
            let mut request = storer.store_request();
            request.get().set_overwrite(true);
            request.get().set_bound(true);
            request.get().init_value().set_as(number.to_string().as_str()).unwrap();
            request.send().promise
        });
        let stores: Vec<_> = stores.collect();
        for store in stores {
            assert!(store.await.expect("answered").get().unwrap().get_succeeded());
        }
        drop(held);
        assert_eq!(other.nodes().await, 10_002);
        owner.leave().await;
        other.tree_is_empty().await;
    });
}

#[test]
fn nothing_stays_of_a_client_that_leaves_while_others_store_what_it_hosts() {
    for round in 0..20_u64 {
        on_one_thread_and_on_two(async |harness, host, caller| {
            let (client, _spoken) = speaker("hello");
            put(&host, "a", Put::cap(client)).await;
            let away: loader::Client = found(&caller, "a").await;
            let storing = async {
                let mut stored = 0;
                for number in 0.. {
                    let path = format!("b{}", number % 3);
                    let (_, storer) = cell(&walk(&caller.anchor(), &path).await.unwrap()).await;
                    match store(&storer, Put::cap(away.clone()), true).await {
                        Ok(_) => stored += 1,
                        Err(error) => {
                            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
                            break;
                        }
                    }
                }
                stored
            };
            let leaving = async {
                tokio::time::sleep(Duration::from_micros(500 * round)).await;
                host.leave().await;
            };
            tokio::join!(storing, leaving);
            drop(away);
            caller.tree_is_empty().await;
            assert!(harness.log().is_empty(), "{:?}", harness.log());
        });
    }
}

/// Notes when it is dropped.
struct Noted {
    number: usize,
    dropped: Rc<RefCell<Vec<usize>>>,
}

impl loader::Server for Noted {}

impl Drop for Noted {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push(self.number);
    }
}

#[test]
fn what_a_client_held_of_another_is_let_go_of_in_order_when_it_is_disconnected() {
    let idle = Duration::from_millis(500);
    let harness = Harness::with(|config| config.idle_timeout = Some(idle));
    run(async {
        let (host, holder) =
            (Peer::connect(harness.unix()).await, Peer::connect(harness.unix()).await);
        let dropped = Rc::new(RefCell::new(Vec::new()));
        let (loader, _) = cell(&walk(&holder.anchor(), "place").await.expect("walked")).await;
        let mut held: Vec<loader::Client> = Vec::new();
        for number in 0..30 {
            let noted = Noted { number, dropped: dropped.clone() };
            let noted: loader::Client = capnp_rpc::new_client(noted);
            put(&host, "place", Put::cap(noted)).await;
            held.push(load_cap(&loader).await.expect("loaded").expect("there"));
        }
        put(&host, "place", Put::Nothing).await;
        eventually("the silent one disconnected", async || {
            host.info(|info| info.get_connections()).await == 1
        })
        .await;
        eventually("all let go of", async || dropped.borrow().len() == 30).await;
        assert!(dropped.borrow().is_sorted(), "{:?}", dropped.borrow());
        drop((held, holder));
    });
}
