//! A worker that is to be found as long as it runs, through restarts of the server.
//!
//! Its presence is a value bound to its connection, so that it goes when the worker does; when the
//! connection ends and the worker does not, it is stored again.
//!
//! `cargo run -p killick-client --example reconnect [ADDRESS]`: with an address, restart that server
//! within a minute.

mod support;

use std::time::Duration;

use killick_client::{Address, Client, Error, Options, Retry, Value};

const PATH: &str = "examples/reconnect/worker";

/// Patient enough for a server that takes a minute to come back.
fn patient() -> Options {
    let minute = Duration::from_secs(60);
    let retry = Retry {
        attempts: u32::MAX,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_secs(1),
    };
    Options { timeout: Some(minute), retry, ..Options::default() }
}

/// Keeps a value at a path for as long as this is polled.
async fn be_present(client: Client) -> Result<(), Error> {
    loop {
        // A walk is done again on a new connection by itself. A store is not: but here it can be, as it
        // says the same each time.
        let anchor = client.walk(PATH).await?;
        match anchor.store(Value::from("here").bound(), true).await {
            Ok(_) => println!("worker  is present"),
            Err(error) if error.is_transient() || error.is_unknown_outcome() => continue,
            Err(error) => return Err(error),
        }
        anchor.disconnected().await;
        println!("worker  has lost its connection");
    }
}

/// Waits until the worker is to be found.
async fn find(client: &Client) -> Result<(), Error> {
    while client.load_at(PATH).await?.text() != Some("here") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("other   has found the worker");
    Ok(())
}

/// Finds the worker, has the server restarted, and finds it again.
pub async fn run(address: &Address, restart: impl FnOnce()) -> Result<(), Error> {
    let worker = Client::connect(address, patient()).await?;
    let other = Client::connect(address, patient()).await?;
    let found_twice = async {
        find(&other).await?;
        let connection = other.host().await?;
        restart();
        connection.disconnected().await;
        println!("other   has lost its connection");
        find(&other).await
    };
    tokio::select! {
        found = found_twice => found,
        failed = be_present(worker) => failed,
    }
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut place = support::Place::from_args()?;
    let address = place.address.clone();
    let restart = || match place.restart() {
        true => println!("server  was restarted"),
        false => println!("        restart the server at {} now", place.address),
    };
    run(&address, restart).await?;
    Ok(())
}
