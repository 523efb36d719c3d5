//! Thousands of values, stored and loaded with some of the operations in flight at a time.
//!
//! `cargo run -p killick-client --example batch [ADDRESS]`

mod support;

use std::time::Instant;

use killick_client::{Address, Batch, Client, Error, Options};

const COUNT: usize = 2_000;

fn path(i: usize) -> String {
    format!("examples/batch/{i}")
}

/// Takes every result, says how far it is, and gives them to `each`.
async fn report<T>(
    what: &str,
    mut batch: Batch<'_, Result<T, Error>>,
    mut each: impl FnMut(usize, T),
) -> Result<(), Error> {
    let start = Instant::now();
    let mut done = 0;
    while let Some(result) = batch.next().await {
        each(done, result?);
        done += 1;
        if done % (COUNT / 4) == 0 {
            println!("{what} {done} of {COUNT} ({:.0?})", start.elapsed());
        }
    }
    Ok(())
}

/// How many values came back as they were stored.
pub async fn run(address: &Address) -> Result<usize, Error> {
    let client = Client::connect(address, Options::default()).await?;
    let pairs = (0..COUNT).map(|i| (path(i), format!("value {i}")));
    report("stored ", client.store_many(pairs, true), |_, _revision| {}).await?;

    let mut right = 0;
    report("loaded ", client.load_many((0..COUNT).map(path)), |i, loaded| {
        right += usize::from(loaded.text() == Some(&format!("value {i}")));
    })
    .await?;

    // Nothing in a cell, and nobody who holds the node: the path is gone.
    let nothing = (0..COUNT).map(|i| (path(i), None));
    report("cleared", client.store_many(nothing, true), |_, _revision| {}).await?;
    Ok(right)
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = support::Place::from_args()?;
    let right = run(&place.address).await?;
    println!("{right} of {COUNT} came back as they were stored");
    Ok(())
}
