//! Two programs that know nothing but a path meet at it.
//!
//! `cargo run -p killick-client --example rendezvous [ADDRESS]`

mod support;

use std::time::Duration;

use killick_client::{Address, Client, Error, Options, Value};

const PATH: &str = "examples/rendezvous";

/// Stores a greeting after a while. It goes with this client.
async fn alice(address: &Address) -> Result<Client, Error> {
    let client = Client::connect(address, Options::default()).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let revision =
        client.store_at(PATH, Value::from("hello, whoever you are").bound(), true).await?;
    println!("alice  stored a greeting, at revision {revision}");
    Ok(client)
}

/// Walks there, which creates the path if nobody has been there, and looks until it finds something.
async fn bob(address: &Address) -> Result<String, Error> {
    let client = Client::connect(address, Options::default()).await?;
    let anchor = client.walk(PATH).await?;
    println!("bob    holds {PATH}");
    loop {
        let loaded = anchor.load().await?;
        match loaded.text() {
            Some(greeting) => {
                println!("bob    found: {greeting}");
                return Ok(greeting.to_owned());
            }
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// What bob has found.
pub async fn run(address: &Address) -> Result<String, Error> {
    let (alice, bob) = tokio::join!(alice(address), bob(address));
    // Until here she was connected: what she bound was there.
    drop(alice?);
    bob
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = support::Place::from_args()?;
    run(&place.address).await?;
    Ok(())
}
