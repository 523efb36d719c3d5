//! The demonstration of a cluster: hosts are one tree, one of them is killed and comes back, one leaves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use killick_server::{Address, ClusterSecret, pki};
use serde_json::json;

use super::super::error::CliError;
use super::super::text::{duration, millis};
use super::player::{Company, Player};
use super::story::{Story, Who};

/// What the cluster is called.
pub(super) const CLUSTER: &str = "demo";
/// The file with its secret.
pub(super) const SECRET: &str = "cluster.secret";
/// How long each act may take. A host that is killed is found after some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const NEXT: &str = "  killick secret --out cluster.secret     what the hosts of a cluster share
  killick serve --help                    --cluster, --listen-cluster, --join
  killick ls -l /                         the hosts, as any children
  killick watch --children /              told of each that comes and goes, and how
  killick hosts                           all that is known of them
  killick ca --help                       certificates instead of a secret";

/// The file with the key of a host, by which the others know it.
pub(super) fn key(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("{number}.key"))
}

/// Where its clients reach it.
pub(super) fn socket(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("{number}.sock"))
}

/// A host that runs.
struct Host {
    player: Player,
    /// What paths call it.
    id: String,
    /// Where the others reach it.
    at: String,
}

/// The play.
struct Cluster<'a> {
    story: &'a mut Story,
    company: Company,
    folder: &'a Path,
}

pub(super) fn run(hosts: u8, json: bool) -> Result<(), CliError> {
    let mut story = Story::new(json);
    let company = Company::new(PATIENCE)?;
    let folder = super::folder()?;
    let secret = ClusterSecret::fresh().reveal();
    pki::write_new(folder.path(), &[(SECRET, &format!("{secret}\n"))])
        .map_err(|error| CliError::failed("demo: a secret", error))?;
    story.step(
        Who::Server,
        &format!("{hosts} hosts share the secret in {}", folder.path().display()),
    )?;
    let cluster = Cluster { story: &mut story, company, folder: folder.path() };
    let failed_after = cluster.play(hosts)?;
    let done = json!({"done": true, "failedAfterMillis": millis(failed_after)});
    let after = duration(failed_after);
    let saw = format!(
        "  \
         Hosts that share a secret found each other by the address of one, and are one tree: the\n  \
         children of '/' are the hosts. Grace knew a path and her own host; what was stored at\n  \
         another was there, and what she sent through it went to frank, host to host.\n  \
         Nobody decides who is there: each host asks others in turn. The one that was killed was\n  \
         missed {after} later, at once with the reason; what its tree held went with it. By its key\n  \
         it came back as the same host. One that stops in order says so, and is not waited for."
    );
    story.end(&done, &saw, NEXT)
}

impl Cluster<'_> {
    fn play(mut self, count: u8) -> Result<Duration, CliError> {
        let mut hosts = vec![self.start(1, None)?];
        let seed = hosts[0].at.clone();
        let mut heidi = self.client(Who::Heidi, 1, &[&count.to_string()])?;
        self.listen(Who::Heidi, "watches")?;
        for number in 2..=count {
            hosts.push(self.start(number, Some(&seed))?);
        }
        self.listen(Who::Heidi, "whole")?;
        self.send_across(&hosts[0].id, count)?;
        let failed_after = self.kill_one(&mut heidi, &mut hosts, &seed)?;

        let (id, leaver) = (hosts[1].id.clone(), hosts.remove(1).player);
        self.story.step(Who::Host(2), "is asked to stop")?;
        heidi.go_on(&id)?;
        self.company.leave(leaver)?;
        self.listen(Who::Heidi, "left")?;
        self.company.leave(heidi)?;
        for host in hosts {
            self.company.leave(host.player)?;
        }
        self.story.step(Who::Server, "all have stopped")?;
        Ok(failed_after)
    }

    fn listen(&mut self, who: Who, mark: &str) -> Result<String, CliError> {
        self.company.listen(self.story, who, mark)
    }

    fn start(&mut self, number: u8, seed: Option<&str>) -> Result<Host, CliError> {
        let folder = self.folder.to_str().ok_or_else(|| {
            CliError::failed("demo: the temporary folder", "its path is not UTF-8")
        })?;
        let (who, name) = (Who::Host(number), number.to_string());
        let arguments: Vec<_> = ["demo-host", &name, folder].into_iter().chain(seed).collect();
        let player = self.company.enter(who, &arguments)?;
        let up = self.listen(who, "up")?;
        let (id, at) = up.split_once(' ').unwrap_or((&up, ""));
        Ok(Host { player, id: id.to_owned(), at: at.to_owned() })
    }

    /// A client of one of the hosts.
    fn client(&self, who: Who, of: u8, knows: &[&str]) -> Result<Player, CliError> {
        let address = Address::Unix(socket(self.folder, of));
        super::client(&self.company, who, &address, knows)
    }

    /// What is stored at the first host is used by a process at the second.
    fn send_across(&mut self, first: &str, count: u8) -> Result<(), CliError> {
        let path = format!("/{first}/mailbox");
        let mut frank = self.client(Who::Frank, 1, &[])?;
        self.listen(Who::Frank, "ready")?;
        let grace = self.client(Who::Grace, 2, &[&path, &count.to_string()])?;
        self.listen(Who::Grace, "sent")?;
        frank.go_on("")?;
        self.listen(Who::Frank, "received")?;
        self.company.leave(grace)?;
        self.company.leave(frank)
    }

    /// The last host is killed, and comes back. Returns after how long it was missed.
    fn kill_one(
        &mut self,
        heidi: &mut Player,
        hosts: &mut Vec<Host>,
        seed: &str,
    ) -> Result<Duration, CliError> {
        let number = u8::try_from(hosts.len()).unwrap_or(u8::MAX);
        let Some(Host { player, id, .. }) = hosts.pop() else { return Ok(Duration::ZERO) };
        heidi.go_on(&id)?;
        self.listen(Who::Heidi, "noted")?;
        let killed = self.company.kill(self.story, player)?;
        self.story.step(Who::Host(number), "is killed (SIGKILL): no goodbye")?;
        self.listen(Who::Heidi, "missed")?;
        let failed_after = killed.elapsed();
        self.listen(Who::Heidi, "failed")?;
        hosts.push(self.start(number, Some(seed))?);
        self.listen(Who::Heidi, "back")?;
        Ok(failed_after)
    }
}
