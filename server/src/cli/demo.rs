//! `killick demo`: processes meet at a path, on a server of this process's own; or hosts are one tree.
//!
//! This process tells what happens; whoever plays is a process of its own, started from the same program by a
//! hidden command. They tell their steps line by line on stdout, and go on when a line comes in on stdin.

use std::time::Duration;

use clap::Args;
use killick_server::{Address, Allowed, Config, Server};
use serde_json::json;
use tempfile::TempDir;

use super::error::CliError;
use super::text::{duration, millis};

mod client;
#[cfg(feature = "cluster")]
mod cluster;
mod granting;
#[cfg(feature = "cluster")]
mod host;
mod player;
#[cfg(feature = "cluster")]
mod reaching;
mod story;
mod working;

pub(super) use client::DemoClient;
#[cfg(feature = "cluster")]
pub(super) use host::DemoHost;
use player::{Company, MARK};
use story::{Story, Who};
pub(super) use working::DemoWorker;

const AFTER_HELP: &str = "\
Needs no server and leaves nothing behind. Exit code 1 if anything is not as told.

Examples:
  killick demo
  killick demo --hosts 3      hosts that are one tree; it takes some seconds";

/// See it work: processes meet at a path and at a channel, give away a part of the tree, and start another.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Demo {
    /// See so many hosts be one tree instead, 2 to 9: what is at one is used at another; one is killed, and
    /// comes back; one leaves.
    #[cfg(feature = "cluster")]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9))]
    hosts: Option<u8>,
}

/// The path where they meet.
const PATH: &str = "demo/greeter";
/// How long each act may take.
const PATIENCE: Duration = Duration::from_secs(10);

const SAW: &str = "
  Carol trusted dave with a part: some rights, two nodes, until she took it back. He could not
  widen it, and what she took was taken when her call returned. At the channel each letter has
  one receiver; without a buffer it is handed over.
  The process that erin had started was given one place, and saw nothing but what is below it.
  When it ended, its place went, and the inbox that it had there.";

const NEXT: &str = "  killick serve &                  a server of your own
  killick store greeting 'hello'   a value keeps its path alive
  killick walk jobs/7 &            so does whoever holds it
  killick tree                     see both, kill the walk, look again
  killick watch greeting &         told of each change
  killick chan make inbox          a channel; 'send' and 'recv' use it
  killick grant --help             give away a part of the tree
  killick exec --help              start programs that have one
  killick demo --hosts 3           hosts that are one tree
  killick --help";

impl Demo {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        #[cfg(feature = "cluster")]
        if let Some(hosts) = self.hosts {
            return cluster::run(hosts, json);
        }
        let mut story = Story::new(json);
        let company = Company::new(PATIENCE)?;
        let folder = folder()?;
        let address = Address::Unix(folder.path().join("socket"));
        let launcher = std::env::current_exe()
            .map_err(|error| CliError::failed("demo: this program", error))?;
        let config = Config {
            allow_exec: vec![Allowed::ALL],
            launcher: Some(launcher),
            ..Config::for_test([address.clone()])
        };
        let server = Server::start(config)
            .map_err(|error| CliError::failed("demo: start a server", error))?;
        let own = std::process::id();
        story.step(
            Who::Server,
            &format!("listens on {address} (process {own}); its tree is empty"),
        )?;
        let played = play(&mut story, &company, &address);
        server.stop();
        let gone_after = played?;
        story.step(Who::Server, "stopped")?;
        let gone = duration(gone_after);
        let saw = format!(
            "  \
             Two processes that know nothing but a name met at it. No one created the path, and no one\n  \
             deleted it: an anchor exists while somebody holds it or a value is in it. The value was a\n  \
             capability, so bob called an object inside alice. When alice died, her value and the path\n  \
             were gone {gone} later, and bob's calls failed with a reason instead of hanging.{SAW}"
        );
        story.end(&json!({"done": true, "goneAfterMillis": millis(gone_after)}), &saw, NEXT)
    }
}

/// A folder for this user alone, which goes with the value.
fn folder() -> Result<TempDir, CliError> {
    let made = tempfile::Builder::new().prefix("killick-demo-").tempdir();
    made.map_err(|error| CliError::failed("demo: a folder for sockets", error))
}

/// The three parts. Returns how long after its holder a path was gone.
fn play(story: &mut Story, company: &Company, address: &Address) -> Result<Duration, CliError> {
    let gone_after = play_meeting(story, company, address)?;
    play_granting(story, company, address)?;
    play_working(story, company, address)?;
    Ok(gone_after)
}

/// Starts a client of the server at `address`, with what it has to know.
fn client(
    company: &Company,
    who: Who,
    address: &Address,
    knows: &[&str],
) -> Result<player::Player, CliError> {
    let (address, name) = (address.to_string(), who.to_string());
    let arguments = [&["demo-client", "--connect", &address, &name], knows].concat();
    company.enter(who, &arguments)
}

/// Two processes meet at a path, and one dies.
fn play_meeting(
    story: &mut Story,
    company: &Company,
    address: &Address,
) -> Result<Duration, CliError> {
    let alice = client(company, Who::Alice, address, &[])?;
    company.listen(story, Who::Alice, "ready")?;

    let mut bob = client(company, Who::Bob, address, &[])?;
    company.listen(story, Who::Bob, "met")?;

    let killed = company.kill(story, alice)?;
    story.step(Who::Alice, "is killed (SIGKILL): no release, no goodbye")?;
    bob.go_on("")?;
    company.listen(story, Who::Bob, "gone")?;
    let gone_after = killed.elapsed();
    company.leave(bob)?;
    Ok(gone_after)
}

/// One gives away a part, the other uses it until it is taken back; and they meet at a channel.
fn play_granting(story: &mut Story, company: &Company, address: &Address) -> Result<(), CliError> {
    let mut carol = client(company, Who::Carol, address, &[])?;
    company.listen(story, Who::Carol, "given")?;
    let mut dave = client(company, Who::Dave, address, &[])?;
    company.listen(story, Who::Dave, "sent")?;
    carol.go_on("")?;
    company.listen(story, Who::Carol, "revoked")?;
    dave.go_on("")?;
    company.listen(story, Who::Dave, "refused")?;
    company.leave(dave)?;
    company.leave(carol)
}

/// One has the server start a process at a path, where it is seen to come and go.
fn play_working(story: &mut Story, company: &Company, address: &Address) -> Result<(), CliError> {
    let erin = client(company, Who::Erin, address, &[])?;
    company.listen(story, Who::Erin, "left")?;
    company.leave(erin)
}
