//! An object inside one program, called by another that found it at a path.
//!
//! The object here answers to the schema's own `Loader`, as that needs no other schema; one of a
//! program's own works the same way.
//!
//! `cargo run -p killick-client --example capability [ADDRESS]`

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use killick_client::schema::api::anchor_capnp::anchor::loader;
use killick_client::{Address, Client, Options, Value, capnp, capnp_rpc};

const PATH: &str = "examples/capability";

/// Counts its callers.
#[derive(Default)]
struct Greeter {
    callers: Cell<u64>,
}

impl loader::Server for Greeter {
    async fn load(
        self: Rc<Self>,
        _: loader::LoadParams,
        mut results: loader::LoadResults,
    ) -> capnp::Result<()> {
        let caller = self.callers.get() + 1;
        self.callers.set(caller);
        println!("host    is called");
        results.get().set_revision(caller);
        results.get().init_value().set_as(&*format!("hello, caller number {caller}"))
    }
}

/// What the object has said, and whether it is still there when its host has gone.
pub async fn run(address: &Address) -> Result<(Vec<String>, bool), Box<dyn std::error::Error>> {
    let host = Client::connect(address, Options::default()).await?;
    let greeter: loader::Client = capnp_rpc::new_client(Greeter::default());
    host.store_at(PATH, Value::from_capability(greeter), true).await?;
    println!("host    has stored a capability at {PATH}");

    let caller = Client::connect(address, Options::default()).await?;
    let value = caller.load_at(PATH).await?.value.ok_or("nothing there")?;
    let greeter: loader::Client = value.capability().ok_or("no capability")?;
    let mut said = Vec::new();
    for _ in 0..2 {
        let response = greeter.load_request().send().promise.await?;
        let text: capnp::text::Reader<'_> = response.get()?.get_value().get_as()?;
        println!("caller  hears: {}", text.to_str()?);
        said.push(text.to_string()?);
    }

    drop(host);
    // The server empties the cell as soon as it knows, and the path goes with it.
    for _ in 0..100 {
        if caller.lookup(PATH).await?.is_none() {
            println!("caller  finds nothing: the object's host has gone");
            return Ok((said, false));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((said, true))
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = support::Place::from_args()?;
    run(&place.address).await?;
    Ok(())
}
