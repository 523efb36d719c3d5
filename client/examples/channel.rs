//! Two processes and a channel between them: one makes it, stores the end that sends, and receives; the other
//! loads that end, which is all that it is given, and sends.
//!
//! `cargo run -p killick-client --example channel [ADDRESS]`

mod support;

use std::process::Command;

use killick_client::{Address, Client, Error, Options, Recver, Sender};

const PATH: &str = "examples/inbox";

/// How many values the channel holds: the peer is at most so far ahead.
const CAPACITY: u32 = 16;

/// What the second argument of the peer's process says.
const PEER: &str = "--peer";

/// Makes the channel, has `peer` send into it, and receives to its end: what was received.
pub async fn run(address: &Address, peer: &mut Command) -> Result<Vec<String>, Error> {
    let client = Client::connect(address, Options::default()).await?;
    let chan = client.new_chan(CAPACITY).await?;
    client.store_at(PATH, &chan.sender(), true).await?;
    // For as long as it takes, and without an end that sends: so this learns that the last of those has gone.
    let recver = chan.recver().with_timeout(None);
    drop(chan);

    let mut peer = peer.spawn().expect("a process");
    let received = receive(&client, &recver).await;
    peer.wait().expect("the peer ends");
    received
}

async fn receive(client: &Client, recver: &Recver) -> Result<Vec<String>, Error> {
    let mut received = Vec::new();
    loop {
        match recver.recv().await {
            Ok(message) => {
                let text = message.text().unwrap_or("no text");
                println!("received {text}");
                received.push(text.to_owned());
                if received.len() == 1 {
                    // From here on the peer has the only end that sends.
                    client.store_at(PATH, None, true).await?;
                }
            }
            Err(Error::Closed { .. }) => {
                println!("the last sender has gone");
                return Ok(received);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The other process: sends a few lines through what it finds at the path.
pub async fn peer(address: &Address) -> Result<(), Error> {
    let client = Client::connect(address, Options::default()).await?;
    let anchor = client.walk(PATH).await?;
    let loaded = anchor.load().await?;
    let end = loaded.value.and_then(|value| value.capability()).expect("an end of a channel");
    let sender = Sender::adopt(&anchor, end);
    for number in 1..=100 {
        sender.send(format!("message {number} of process {}", std::process::id())).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = support::Place::from_args()?;
    if std::env::args().nth(2).as_deref() == Some(PEER) {
        return Ok(peer(&place.address).await?);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args([&place.address.to_string(), PEER]);
    run(&place.address, &mut command).await?;
    Ok(())
}
