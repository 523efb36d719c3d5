//! The clients of the demonstration of a cluster. Each checks what it tells.

use std::time::{Duration, Instant};

use killick_client::{
    Chan, Client, Departure, Error, Member, MemberState, SendCloser, Value, Watch, What,
};

use super::super::error::CliError;
use super::super::text::duration;
use super::client::{Cues, check, mark, tell, wrong};

const LETTER: &str = "hello from another host";

fn failed(error: Error) -> CliError {
    CliError::failed("demo: not as told", error)
}

/// The thing that a client was to be told.
fn known<'a>(knows: &'a [String], place: usize, what: &str) -> Result<&'a str, CliError> {
    let known = knows.get(place).map(String::as_str);
    known.ok_or_else(|| CliError::usage("demo-client", format!("it was not told {what}")))
}

fn count(knows: &[String], place: usize) -> Result<usize, CliError> {
    let count = known(knows, place, "how many hosts there are")?;
    count.parse().map_err(|error| CliError::usage("demo-client", error))
}

/// Makes a channel on the first host, and receives what comes.
pub(super) async fn frank(client: Client, mut cues: Cues) -> Result<(), CliError> {
    let process = std::process::id();
    let host = client.info().await.map_err(failed)?.id;
    let mailbox = format!("/{host:016x}/mailbox");
    tell(&format!("connects to host 1 (process {process})"))?;
    let chan: Chan = client.new_chan(0).await.map_err(failed)?;
    client.store_at(&mailbox, &chan.send_closer(), false).await.map_err(failed)?;
    let recver = chan.recver();
    drop(chan);
    tell(&format!("makes a channel there, and stores its send end at {mailbox}"))?;
    mark("ready")?;
    let letter = recver.recv().await.map_err(failed)?;
    cues.recv().await;
    let letter = letter.text().unwrap_or_default();
    check(letter == LETTER, "another letter came")?;
    tell(&format!("receives: \"{letter}\""))?;
    mark("received")?;
    client.lookup(&mailbox).await.map_err(failed)?.ok_or_else(|| wrong("the mailbox has gone"))?;
    Ok(())
}

/// Finds the channel by its path alone, at another host, and sends.
pub(super) async fn grace(client: Client, knows: &[String]) -> Result<(), CliError> {
    let (path, count) = (known(knows, 0, "a path")?, count(knows, 1)?);
    tell(&format!("connects to host 2 (process {})", std::process::id()))?;
    let deadline = Instant::now() + super::PATIENCE;
    while client.names_at("/").await.map_err(failed)?.len() < count {
        check(Instant::now() < deadline, "host 2 does not know all the others")?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = Instant::now();
    let loaded = client.load_at(path).await.map_err(failed)?;
    let took = duration(asked.elapsed());
    tell(&format!("loads {path}, by way of her own host: a capability ({took})"))?;
    let end = loaded.value.as_ref().and_then(Value::capability);
    let host = client.host().await.map_err(failed)?;
    let mailbox =
        SendCloser::adopt(&host, end.ok_or_else(|| wrong("no end of a channel is there"))?);
    let asked = Instant::now();
    mailbox.send(LETTER).await.map_err(failed)?;
    let took = duration(asked.elapsed());
    tell(&format!("sends a letter; it is in frank's hands when the call returns ({took})"))?;
    mark("sent")
}

/// Sees hosts come and go.
pub(super) async fn heidi(
    client: Client,
    mut cues: Cues,
    knows: &[String],
) -> Result<(), CliError> {
    let count = count(knows, 0)?;
    let mut watch = client.watch_at("/", What::Children).map_err(failed)?;
    let first = watch.next().await.map_err(failed)?;
    let mut there = first.children.added.len();
    tell(&format!("connects to host 1 (process {}), and watches /", std::process::id()))?;
    mark("watches")?;
    while there < count {
        let came = watch.next().await.map_err(failed)?.children.added;
        there += came.len();
        came.iter().try_for_each(|(name, _)| tell(&format!("sees /{name} come")))?;
    }
    mark("whole")?;

    let Some(id) = cues.recv().await else { return Ok(()) };
    let note = format!("/{id}/note");
    client.store_at(&note, "a note", false).await.map_err(failed)?;
    tell(&format!("stores a note at {note}"))?;
    let before = member(&client, &id).await?.generation;
    mark("noted")?;
    gone(&mut watch, &id, Departure::Failed).await?;
    mark("missed")?;
    tell(&format!("sees /{id} go: it has failed"))?;
    let refused = client.load_at(&note).await.err();
    let refused = refused.ok_or_else(|| wrong("a host that was killed has answered"))?;
    tell(&format!("loads the note: {refused}"))?;
    mark("failed")?;

    come(&mut watch, &id).await?;
    let member = member(&client, &id).await?;
    let is_later = member.generation > before && member.state == MemberState::Up;
    check(is_later, "it is in the life that it was in")?;
    tell(&format!(
        "sees /{id} come: the same host, generation {}, before {before}",
        member.generation
    ))?;
    let deadline = Instant::now() + super::PATIENCE;
    let found = loop {
        match client.lookup(&note).await {
            // The connection to the life before may be found to have ended by that.
            Err(Error::HostGone { .. }) if Instant::now() < deadline => {}
            found => break found.map_err(failed)?,
        }
    };
    check(found.is_none(), "what it held before is there")?;
    tell("looks up the note: nothing there, that went with the life before")?;
    mark("back")?;

    let Some(id) = cues.recv().await else { return Ok(()) };
    gone(&mut watch, &id, Departure::Left).await?;
    tell(&format!("sees /{id} go: it has left"))?;
    mark("left")
}

/// What the contacted host knows of another.
async fn member(client: &Client, id: &str) -> Result<Member, CliError> {
    let hosts = client.hosts().await.map_err(failed)?;
    let found = hosts.into_iter().find(|host| host.name() == id);
    found.ok_or_else(|| wrong("a host is not known"))
}

/// Waits until a host has gone, in that way.
async fn gone(watch: &mut Watch, id: &str, how: Departure) -> Result<(), CliError> {
    loop {
        let change = watch.next().await.map_err(failed)?;
        if change.gone().any(|went| went == (id, how)) {
            return Ok(());
        }
    }
}

/// Waits until a host has come.
async fn come(watch: &mut Watch, id: &str) -> Result<(), CliError> {
    loop {
        let change = watch.next().await.map_err(failed)?;
        if change.children.added.iter().any(|(name, _)| name == id) {
            return Ok(());
        }
    }
}
