//! The bridge by itself: threads with a home and one connection each, and numbers for what the process
//! offers. The interface that is called is one of the schema's, for want of another; it means nothing here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use capnp::capability::{
    Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, Results, Server,
};
use capnp::private::capability::ClientHook;
use capnp::traits::{Imbue, ImbueMut};
use capnp::{Error, ErrorKind, any_pointer};
use killick_schema::api::anchor_capnp::anchor::loader;
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::{Bound, Bounds, Cap, Home, Origin, Parcel, Peer, Token, WeakToken, forward};

/// One connection, the only one of its thread.
struct Side {
    home: Home<Side>,
    origin: Origin<u32>,
    proxies: RefCell<HashMap<usize, Weak<Proxy>>>,
    hosted: RefCell<HashMap<usize, WeakToken<u32>>>,
    backlog: Cell<usize>,
    exceeded: Cell<usize>,
    panicked: Cell<usize>,
}

/// What the client of a side is given for a capability.
struct Proxy {
    side: Rc<Side>,
    cap: Cap<u32>,
}

#[derive(Clone)]
struct Dispatch(Rc<Proxy>);

impl Deref for Dispatch {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.0
    }
}

impl FromServer<Proxy> for Client {
    type Dispatch = Dispatch;

    fn from_server(proxy: Rc<Proxy>) -> Dispatch {
        Dispatch(proxy)
    }
}

impl Server for Dispatch {
    fn dispatch_call(
        self,
        interface: u64,
        method: u16,
        params: Params<any_pointer::Owned>,
        mut results: Results<any_pointer::Owned>,
    ) -> DispatchCallResult {
        let called = match &self.cap {
            Cap::Foreign(token) => {
                forward(&self.side, token.clone(), (interface, method), params, results)
            }
            Cap::Own(number) => {
                let mut answer = results.get().init_as::<loader::load_results::Builder<'_>>();
                answer.set_revision(u64::from(*number));
                Promise::ok(())
            }
        };
        DispatchCallResult::new(called, false)
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

impl Peer for Side {
    type Own = u32;

    fn bounds(&self) -> Bounds {
        let settle = Duration::from_millis(100);
        Bounds { bytes: 1000, capabilities: 2, backlog: 10, settle }
    }

    fn export(self: &Rc<Self>, cap: &Cap<u32>) -> Result<Box<dyn ClientHook>, Error> {
        let proxy = Rc::new(Proxy { side: self.clone(), cap: cap.clone() });
        let address = Rc::as_ptr(&proxy) as usize;
        self.proxies.borrow_mut().insert(address, Rc::downgrade(&proxy));
        let client: Client = capnp_rpc::new_client_from_rc(proxy);
        Ok(client.into_client_hook())
    }

    fn import(self: &Rc<Self>, hook: Box<dyn ClientHook>) -> Result<Cap<u32>, Error> {
        if let Some(known) = self.known(&*hook) {
            return Ok(known);
        }
        let address = hook.get_ptr();
        let before = self.hosted.borrow().get(&address).and_then(WeakToken::upgrade);
        if let Some(token) = before {
            return Ok(Cap::Foreign(token));
        }
        let token = self.home.keep(self, &self.origin, hook);
        self.hosted.borrow_mut().insert(address, token.downgrade());
        Ok(Cap::Foreign(token))
    }

    fn known(&self, hook: &dyn ClientHook) -> Option<Cap<u32>> {
        let proxy = self.proxies.borrow().get(&hook.get_ptr()).and_then(Weak::upgrade)?;
        Some(proxy.cap.clone())
    }

    fn backlog(&self) -> usize {
        self.backlog.get()
    }

    fn released(&self, _: u64, address: usize) {
        self.hosted.borrow_mut().remove(&address);
    }

    fn answers_with(&self, _: (u64, u16)) -> &'static [u16] {
        &[]
    }

    fn keeps(&self, _: (u64, u16)) -> bool {
        false
    }

    fn lay_out(&self, _: Vec<(u16, Box<dyn ClientHook>)>, _: any_pointer::Builder<'_>) {}

    fn fulfil(self: &Rc<Self>, id: u64, hook: Box<dyn ClientHook>) {
        self.home.fulfil(id, self, hook);
    }

    fn exceeds(&self, bound: Bound) -> String {
        self.exceeded.set(self.exceeded.get() + 1);
        format!(" ({bound:?})")
    }

    fn panicked(&self) {
        self.panicked.set(self.panicked.get() + 1);
    }
}

/// Runs `body` with the side of thread `number`.
fn on_thread<T>(number: usize, body: impl AsyncFnOnce(Rc<Side>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let (home, inbox) = Home::new(number);
        let origin = home.origin(number as u64, false);
        let side = Rc::new(Side {
            home,
            origin,
            proxies: RefCell::default(),
            hosted: RefCell::default(),
            backlog: Cell::new(0),
            exceeded: Cell::new(0),
            panicked: Cell::new(0),
        });
        let house = side.clone();
        let house = spawn_local(async move { house.home.run(inbox, |_, _| ()).await });
        let result = tokio::time::timeout(Duration::from_secs(20), body(side)).await;
        house.abort();
        result.expect("it ends in time")
    })
}

/// What a host does when it is called.
enum Answer {
    /// Says how often it was called before.
    Count(Cell<u64>),
    /// Nothing, ever; tells when it is given up.
    Never(mpsc::Sender<()>),
    Panic,
}

/// Tells when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

struct Host {
    answer: Answer,
    _gone: Dropped,
}

impl loader::Server for Host {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> Result<(), Error> {
        match &self.answer {
            Answer::Count(before) => {
                results.get().set_revision(before.replace(before.get() + 1));
                Ok(())
            }
            Answer::Never(told) => {
                let _told = Dropped(told.clone());
                std::future::pending().await
            }
            Answer::Panic => panic!("a host that panics"),
        }
    }
}

/// A claim to a host with this answer, and what is told when the host is let go of.
fn host(side: &Rc<Side>, answer: Answer) -> (Token<u32>, mpsc::Receiver<()>) {
    let (told, gone) = mpsc::channel();
    let client: loader::Client = capnp_rpc::new_client(Host { answer, _gone: Dropped(told) });
    match side.import(client.into_client_hook()).expect("kept") {
        Cap::Foreign(token) => (token, gone),
        Cap::Own(_) => panic!("nobody knows it"),
    }
}

fn client(side: &Rc<Side>, cap: &Cap<u32>) -> loader::Client {
    FromClientHook::new(side.export(cap).expect("exported"))
}

async fn load(client: &loader::Client) -> Result<u64, Error> {
    let answer = client.load_request().send().promise.await?;
    Ok(answer.get()?.get_revision())
}

/// Waits for a message from another thread and lets this one's tasks run meanwhile.
async fn receive<T>(from: &mpsc::Receiver<T>) -> T {
    loop {
        match from.try_recv() {
            Ok(message) => return message,
            Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Has `caller` use a capability that a host with `answer` keeps on another thread, whose side `check` looks
/// at in the end.
fn across(
    answer: Answer,
    caller: impl AsyncFnOnce(Rc<Side>, Token<u32>) + Send + 'static,
    check: impl AsyncFnOnce(Rc<Side>, mpsc::Receiver<()>),
) {
    let (give, take) = mpsc::channel();
    let calling = thread::spawn(move || {
        on_thread(1, async |side| {
            let token = receive(&take).await;
            caller(side, token).await;
        });
    });
    on_thread(0, async |side| {
        let (token, gone) = host(&side, answer);
        give.send(token).expect("waited for");
        check(side, gone).await;
    });
    calling.join().expect("the caller ends well");
}

#[test]
fn calls_reach_their_host_in_order_and_it_is_let_go_of_with_the_last_claim() {
    across(
        Answer::Count(Cell::new(0)),
        async |side, token| {
            let client = client(&side, &Cap::Foreign(token));
            let calls: Vec<_> = (0..100).map(|_| client.load_request().send().promise).collect();
            for (number, call) in (0..).zip(calls) {
                let answer = call.await.expect("answered");
                assert_eq!(answer.get().expect("results").get_revision(), number);
            }
        },
        async |side, gone| {
            receive(&gone).await;
            assert!(side.home.kept() == 0 && side.hosted.borrow().is_empty());
        },
    );
}

#[test]
fn a_call_that_is_given_up_is_given_up_at_its_host() {
    let (told, given_up) = mpsc::channel();
    across(
        Answer::Never(told),
        async |side, token| {
            let client = client(&side, &Cap::Foreign(token));
            let call = tokio::time::timeout(Duration::from_millis(20), load(&client));
            assert!(call.await.is_err(), "it has no answer");
        },
        async |_, gone| {
            receive(&given_up).await;
            receive(&gone).await;
        },
    );
}

#[test]
fn a_host_that_panics_is_an_error_of_that_call_and_the_thread_goes_on() {
    across(
        Answer::Panic,
        async |side, token| {
            let client = client(&side, &Cap::Foreign(token));
            for _ in 0..2 {
                let error = load(&client).await.expect_err("no answer");
                assert!(error.to_string().contains("internal error"), "{error}");
            }
        },
        async |side, gone| {
            receive(&gone).await;
            assert_eq!(side.panicked.get(), 2);
        },
    );
}

#[test]
fn a_call_whose_host_has_gone_is_disconnected() {
    let (now, called) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    across(
        Answer::Count(Cell::new(0)),
        async move |side, token| {
            let client = client(&side, &Cap::Foreign(token));
            assert_eq!(load(&client).await.expect("answered"), 0);
            now.send(()).expect("waited for");
            receive(&end).await;
            let error = load(&client).await.expect_err("nobody is there");
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        },
        async |side, gone| {
            receive(&called).await;
            side.origin.close();
            side.home.let_go(1);
            receive(&gone).await;
            ended.send(()).expect("waited for");
        },
    );
}

#[test]
fn a_client_that_leaves_much_unread_is_called_no_more() {
    across(
        Answer::Count(Cell::new(0)),
        async |side, token| {
            let client = client(&side, &Cap::Foreign(token));
            let error = load(&client).await.expect_err("too much unread");
            assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
        },
        async |side, gone| {
            side.backlog.set(11);
            receive(&gone).await;
            assert_eq!(side.exceeded.get(), 1);
        },
    );
}

type Capabilities = capnp::capability_list::Owned<loader::Client>;

/// What the client of `side` has sent, with `caps` as they are in its hands.
fn pack(side: &Rc<Side>, caps: &[Cap<u32>]) -> Result<Parcel<u32>, Error> {
    let mut message = capnp::message::Builder::new_default();
    let mut hooks = Vec::new();
    let mut root = message.init_root::<any_pointer::Builder<'_>>();
    root.imbue_mut(&mut hooks);
    let mut list =
        root.initn_as::<capnp::capability_list::Builder<'_, loader::Client>>(caps.len() as u32);
    for (index, cap) in (0..).zip(caps) {
        list.set(index, side.export(cap)?);
    }
    let mut root: any_pointer::Reader<'_> = message.get_root_as_reader()?;
    root.imbue(&hooks);
    Ok(Parcel::pack(side, root)?.expect("not null"))
}

#[test]
fn a_capability_that_comes_home_is_itself_and_no_proxy_of_a_proxy() {
    across(
        Answer::Count(Cell::new(0)),
        async |side, token| {
            let caps = [Cap::Foreign(token), Cap::Own(7)];
            let sent = pack(&side, &caps).expect("packed");
            assert!(sent.caps().eq(&caps));
            assert!(side.hosted.borrow().is_empty(), "nothing is hosted here");
            // Unpacked, it can be called; what the process offers is called on this thread.
            let mut message = capnp::message::Builder::new_default();
            let mut hooks = Vec::new();
            let mut root = message.init_root::<any_pointer::Builder<'_>>();
            root.imbue_mut(&mut hooks);
            sent.unpack(&side, root).expect("unpacked");
            let mut root: any_pointer::Reader<'_> = message.get_root_as_reader().expect("a root");
            root.imbue(&hooks);
            let list = root.get_as::<<Capabilities as capnp::traits::Owned>::Reader<'_>>();
            let list = list.expect("a list");
            for (index, expected) in [(0, 0), (1, 7), (0, 1)] {
                let client = list.get(index).expect("a capability");
                assert_eq!(load(&client).await.expect("answered"), expected);
            }
        },
        async |_, gone| receive(&gone).await,
    );
}

#[test]
fn what_is_sent_is_bounded_and_what_is_refused_is_told() {
    on_thread(0, async |side| {
        assert!(pack(&side, &[Cap::Own(1), Cap::Own(2)]).is_ok());
        let error = pack(&side, &[Cap::Own(1), Cap::Own(2), Cap::Own(3)]).expect_err("three");
        assert!(error.to_string().contains("limit of 2 (Capabilities)"), "{error}");
        let mut message = capnp::message::Builder::new_default();
        message.set_root::<capnp::text::Owned>("x".repeat(2000).as_str()).expect("set");
        let root = message.get_root_as_reader().expect("a root");
        let error = Parcel::pack(&side, root).expect_err("too long");
        assert!(error.to_string().contains("limit of 1000 (Bytes)"), "{error}");
        assert_eq!(side.exceeded.get(), 2);
    });
}

#[test]
fn a_promise_that_resolves_to_a_claim_to_itself_is_an_error_of_the_call() {
    on_thread(0, async |side| {
        let (resolve, resolved) = tokio::sync::oneshot::channel::<loader::Client>();
        let promise: loader::Client = capnp_rpc::new_future_client(async {
            resolved.await.map_err(|_| Error::failed("nobody resolves it".into()))
        });
        let cap = side.import(promise.into_client_hook()).expect("kept");
        let proxy = client(&side, &cap);
        let call = proxy.load_request().send().promise;
        yield_now().await;
        assert!(resolve.send(client(&side, &cap)).is_ok());
        let error = call.await.err().expect("it leads nowhere");
        assert!(error.to_string().contains("resolves to itself"), "{error}");
        // It claims itself: only the end of its connection ends that.
        drop((proxy, cap));
        yield_now().await;
        assert_ne!(side.home.kept(), 0);
        side.home.let_go(1);
        assert!(side.home.kept() == 0 && side.hosted.borrow().is_empty());
    });
}

#[test]
fn a_promise_that_never_resolves_is_waited_for_no_longer_than_its_limit() {
    on_thread(0, async |side| {
        let promise: loader::Client = capnp_rpc::new_future_client(std::future::pending());
        let cap = side.import(promise.into_client_hook()).expect("kept");
        let error = load(&client(&side, &cap)).await.expect_err("never");
        assert!(error.to_string().contains("still a promise after 100ms"), "{error}");
        assert_eq!(side.exceeded.get(), 1);
    });
}
