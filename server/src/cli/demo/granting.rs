//! The second part of the demonstration: a part of the tree is given away and taken back, and two processes
//! meet at a channel. Each client checks what it tells.

use std::time::{Duration, Instant};

use killick_client::{
    Allowance, Anchor, Chan, Client, Denied, Error, Options, Resource, Right, Rights, Sender,
};

use super::super::error::CliError;
use super::super::text::duration;
use super::client::{Cues, check, mark, tell, wrong};

/// What is given away, where, and where in it the channel is.
const BOARD: &str = "demo/board";
const GIVEN_AT: &str = "demo/for-dave";
const LETTERS: &str = "letters";
/// How many nodes the guest may have at a time.
const NODES: usize = 2;

fn failed(error: Error) -> CliError {
    CliError::failed("demo: not as told", error)
}

/// How an operation was denied.
fn denied<T>(result: Result<T, Error>) -> Result<Denied, CliError> {
    match result {
        Err(Error::Denied(denied)) => Ok(denied),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(wrong("something was done that is not granted")),
    }
}

/// Gives away a part, receives a letter, and takes the part back.
pub(super) async fn carol(client: Client, mut cues: Cues) -> Result<(), CliError> {
    tell(&format!("connects (process {})", std::process::id()))?;
    let rights = [Right::Walk, Right::Lookup, Right::Load, Right::Store];
    let rights: Rights = rights.into_iter().collect();
    let allowance = Allowance { nodes: NODES, ..Allowance::default() };
    let board = client.walk(BOARD).await.map_err(failed)?;
    let (part, grant) = board.attenuate(rights, allowance).await.map_err(failed)?;
    client.store_at(GIVEN_AT, &part, false).await.map_err(failed)?;
    tell(&format!("narrows {BOARD} to {rights}, {NODES} nodes, and stores that at {GIVEN_AT}"))?;

    let chan: Chan = client.new_chan(0).await.map_err(failed)?;
    let letters = chan.send_closer();
    board.store_at(LETTERS, &letters, false).await.map_err(failed)?;
    let recver = chan.recver();
    drop((chan, letters));
    tell(&format!(
        "makes a channel without a buffer, and stores its send end at {BOARD}/{LETTERS}"
    ))?;
    mark("given")?;

    let letter = recver.recv().await.map_err(failed)?;
    tell(&format!("receives: \"{}\"", letter.text().unwrap_or_default()))?;
    cues.recv().await;
    let asked = Instant::now();
    grant.revoke().await.map_err(failed)?;
    tell(&format!("takes back what she gave to dave ({})", duration(asked.elapsed())))?;
    mark("revoked")?;
    cues.recv().await;
    Ok(())
}

/// Uses what was given, within its limits, and sees it end.
pub(super) async fn dave(client: Client, mut cues: Cues) -> Result<(), CliError> {
    tell(&format!("connects (process {})", std::process::id()))?;
    let loaded = client.load_at(GIVEN_AT).await.map_err(failed)?;
    let host = client.host().await.map_err(failed)?;
    let given = loaded.value.as_ref().and_then(killick_client::Value::capability);
    let board: Anchor = host.adopt(given.ok_or_else(|| wrong("no anchor was given"))?);
    let refused = denied(board.ls().await)?;
    check(refused == Denied::Right(Right::Ls), "the list was refused for another reason")?;
    tell(&format!("loads it, and lists its children: {refused}"))?;
    let held = (board.walk("a").await.map_err(failed)?, board.walk("b").await.map_err(failed)?);
    let refused = denied(board.walk("c").await)?;
    let expected = Denied::Exhausted { resource: Resource::Nodes, limit: NODES };
    check(refused == expected, "the walk was refused for another reason")?;
    tell(&format!("walks to a, b and c in it: {refused}"))?;
    drop(held);

    let letters = load_when_there_is_room(&board).await?;
    let asked = Instant::now();
    let letter = format!("a letter from process {}", std::process::id());
    letters.send(letter.as_str()).await.map_err(failed)?;
    let took = duration(asked.elapsed());
    tell(&format!("sends a letter; it is in carol's hands when the call returns ({took})"))?;
    mark("sent")?;

    cues.recv().await;
    let refused = denied(board.lookup(LETTERS).await)?;
    check(refused == Denied::Revoked, "the look-up was refused for another reason")?;
    tell(&format!("looks up {LETTERS}: {refused}"))?;
    mark("refused")?;
    cues.recv().await;
    Ok(())
}

/// The send end in the part that was given. The nodes that were let go of count until the server has heard
/// of that.
async fn load_when_there_is_room(board: &Anchor) -> Result<Sender, CliError> {
    let deadline = Instant::now() + super::PATIENCE / 2;
    let loaded = loop {
        match board.load_at(LETTERS).await {
            Err(Error::Denied(Denied::Exhausted { .. })) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            loaded => break loaded.map_err(failed)?,
        }
    };
    let end = loaded.value.as_ref().and_then(killick_client::Value::capability);
    Ok(Sender::adopt(board, end.ok_or_else(|| wrong("no end of a channel is there"))?))
}

/// A client of its own for the server of the play.
pub(super) fn client(address: &killick_server::Address) -> Client {
    Client::lazy(address, Options { timeout: Some(super::PATIENCE), ..Options::default() })
}
