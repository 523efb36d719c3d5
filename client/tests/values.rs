//! Values: text, data, structs and capabilities, out and back.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use killick_client::schema::api::anchor_capnp::anchor::{self, loader};
use killick_client::schema::api::host_capnp::host_info;
use killick_client::{Anchor, Client, Error, IntoValue, Kind, Value, capnp, capnp_rpc};
use support::{Harness, eventually, over_both, run, tree_is_empty};

/// Says its text, and counts how often.
struct Speaker {
    text: String,
    spoken: Rc<Cell<u64>>,
}

impl loader::Server for Speaker {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        self.spoken.set(self.spoken.get() + 1);
        results.get().set_revision(self.spoken.get());
        results.get().init_value().set_as(self.text.as_str())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.spoken.set(u64::MAX);
    }
}

/// A speaker, and its count: `u64::MAX` once nobody holds it any more.
fn speaker(text: &str) -> (Value, Rc<Cell<u64>>) {
    let spoken = Rc::new(Cell::new(0));
    let server = Speaker { text: text.to_owned(), spoken: spoken.clone() };
    (Value::from_capability(capnp_rpc::new_client::<loader::Client, _>(server)), spoken)
}

/// What a speaker says.
async fn ask(value: &Value) -> capnp::Result<String> {
    let speaker: loader::Client = value.capability().expect("a capability");
    let response = speaker.load_request().send().promise.await?;
    let text: capnp::text::Reader<'_> = response.get()?.get_value().get_as()?;
    Ok(text.to_string()?)
}

/// What comes back of a value that is stored.
async fn back(client: &Client, value: impl IntoValue) -> Value {
    client.store_at("a", value, true).await.unwrap();
    client.load_at("a").await.unwrap().value.expect("a value")
}

#[test]
fn text_and_data_come_back_as_what_they_are() {
    over_both(async |client| {
        for text in ["", "hello", "é\n", &"long ".repeat(100_000)] {
            let value = back(&client, text).await;
            assert_eq!((value.kind(), value.text()), (Kind::Text, Some(text)));
        }
        for data in [&b""[..], b"\0\0", b"\xff\0", &[7; 500_000]] {
            let value = back(&client, data).await;
            assert_eq!((value.kind(), value.data()), (Kind::Data, Some(data)));
        }
        assert_eq!(back(&client, String::from("owned")).await.text(), Some("owned"));
        assert_eq!(back(&client, vec![1, 2]).await.data(), Some(&[1, 2][..]));
    });
}

#[test]
fn a_struct_comes_back_to_who_knows_its_schema() {
    over_both(async |client| {
        let value = Value::build(|pointer| {
            let mut info = pointer.init_as::<host_info::Builder<'_>>();
            info.set_nodes(7);
            info.set_hostname("somewhere");
            Ok(())
        });
        let value = back(&client, value.unwrap()).await;
        assert_eq!((value.kind(), value.text(), value.data()), (Kind::Structure, None, None));
        let info = value.get::<host_info::Reader<'_>>().unwrap();
        assert_eq!(info.get_nodes(), 7);
        assert_eq!(info.get_hostname().unwrap(), "somewhere");
    });
}

#[test]
fn a_value_that_was_loaded_can_be_stored_again_and_read_after_the_connection() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let value = back(&client, "once").await;
        client.store_at("b", &value, false).await.unwrap();
        assert_eq!(client.load_at("b").await.unwrap().text(), value.text());
        drop(client);
        assert_eq!(value.text(), Some("once"));
    });
}

#[test]
fn a_hosted_capability_is_called_by_another_client_until_its_host_goes() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        let (value, spoken) = speaker("hello from alice");
        alice.store_at("greeter", value, false).await.unwrap();
        let loaded = bob.load_at("greeter").await.unwrap().value.expect("a value");
        assert_eq!(loaded.kind(), Kind::Capability);
        assert_eq!(ask(&loaded).await.unwrap(), "hello from alice");
        assert_eq!(spoken.get(), 1);
        // Stored once more, it is still alice's.
        bob.store_at("again", &loaded, false).await.unwrap();
        let again = bob.load_at("again").await.unwrap().value.expect("a value");
        assert_eq!(ask(&again).await.unwrap(), "hello from alice");

        drop(alice);
        tree_is_empty(&bob).await;
        assert_eq!(ask(&loaded).await.unwrap_err().kind, capnp::ErrorKind::Disconnected);
        // A capability whose host is gone cannot be stored: certainly it was not.
        let error = bob.store_at("late", &loaded, true).await.unwrap_err();
        assert!(matches!(error, Error::HostGone { .. }), "{error:?}");
        assert!(!error.is_unknown_outcome() && !error.is_transient());
        eventually("nobody to hold it", async || spoken.get() == u64::MAX).await;
    });
}

#[test]
fn a_hosted_capability_is_let_go_when_it_is_cleared() {
    let harness = Harness::start();
    run(async {
        let client = harness.client().await;
        let (value, spoken) = speaker("hello");
        client.store_at("greeter", value, false).await.unwrap();
        assert_eq!(client.clients().await.unwrap()[0].hosted, 1);
        client.at("greeter").await.unwrap().clear().await.unwrap();
        eventually("it to be let go", async || {
            client.info().await.unwrap();
            spoken.get() == u64::MAX
        })
        .await;
    });
}

#[test]
fn a_struct_carries_capabilities() {
    over_both(async |client| {
        let (value, _) = speaker("from inside");
        let inner: loader::Client = value.capability().unwrap();
        let value = Value::build(|pointer| {
            pointer.init_as::<anchor::cell_results::Builder<'_>>().set_loader(inner);
            Ok(())
        });
        let value = back(&client, value.unwrap()).await;
        let both = value.get::<anchor::cell_results::Reader<'_>>().unwrap();
        assert!(!both.has_storer());
        let response = both.get_loader().unwrap().load_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_revision(), 1);
    });
}

#[test]
fn an_anchor_in_a_cell_leads_to_the_same_node_and_confines_to_it() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        let room = alice.walk("rooms/7").await.unwrap();
        alice.store_at("door", &room, false).await.unwrap();
        let door = bob.host().await.unwrap();
        let value = door.load_at("door").await.unwrap().value.expect("a value");
        let inside: Anchor = door.adopt(value.capability().unwrap());
        assert!(inside.is_same(&bob.walk("rooms/7").await.unwrap()));
        inside.store_at("/table", "set", false).await.unwrap();
        assert_eq!(alice.load_at("rooms/7/table").await.unwrap().text(), Some("set"));
        // The value keeps the node when the handles are gone.
        drop((room, inside, value));
        assert!(alice.lookup("rooms/7").await.unwrap().is_some());
    });
}

#[test]
fn a_bound_value_goes_with_the_connection_that_stored_it_and_others_stay() {
    let harness = Harness::start();
    run(async {
        let (alice, bob) = (harness.client().await, harness.client().await);
        alice.store_at("bound", Value::from("x").bound(), false).await.unwrap();
        let swapped = alice.at("swapped").await.unwrap();
        swapped.swap(Value::from("x").bound()).await.unwrap();
        let compared = alice.at("compared").await.unwrap();
        compared.compare_and_store(0, Value::from("x").bound()).await.unwrap();
        alice.store_at("free", "x", false).await.unwrap();
        let names = bob.names_at("").await.unwrap();
        assert_eq!(names, ["bound", "compared", "free", "swapped"]);
        drop((alice, swapped, compared));
        eventually("the bound values to go", async || bob.names_at("").await.unwrap() == ["free"])
            .await;
    });
}
