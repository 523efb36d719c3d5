//! A host of the demonstration: a server in a process of its own, which ends in order when its stdin does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use killick_server::{
    Address, ClusterConfig, ClusterIdentity, ClusterSecret, Config, Seed, Server,
};

use super::super::error::CliError;
use super::client::{cues, mark, tell};
use super::cluster::{CLUSTER, SECRET, key, socket};

/// Play one of the hosts of 'killick demo --hosts'.
#[derive(Args)]
pub(in super::super) struct DemoHost {
    /// Which one.
    number: u8,

    /// Where the secret and the keys are.
    folder: PathBuf,

    /// Where it looks for the others.
    join: Option<Seed>,
}

impl DemoHost {
    pub(in super::super) fn run(self) -> Result<(), CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::failed("demo: start a host", error);
        let secret = ClusterSecret::load(&self.folder.join(SECRET));
        let secret = secret.map_err(|error| failed(&error))?;
        let (key, socket) = (key(&self.folder, self.number), socket(&self.folder, self.number));
        let again = if key.exists() { " again, by the same key" } else { "" };
        let identity = ClusterIdentity::from_secret(&secret, CLUSTER, Some(&key));
        let identity = identity.map_err(|error| failed(&error))?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let seeds = self.join.iter().cloned().collect();
        let cluster = ClusterConfig { join: seeds, ..ClusterConfig::new(identity, anywhere) };
        let config = Config { cluster: Some(cluster), ..Config::for_test([Address::Unix(socket)]) };
        let mut cues = cues()?;
        let server = Server::start(config).map_err(|error| failed(&error))?;
        let at = server.cluster_address().ok_or_else(|| failed(&"it has no cluster"))?;
        let (id, process) = (format!("{:016x}", server.host_id()), std::process::id());
        let how = match &self.join {
            Some(seed) => format!("looks for the others at {seed}"),
            None => "others may come".to_owned(),
        };
        tell(&format!("is /{id}{again} (process {process}); listens at {at}, and {how}"))?;
        mark(&format!("up {id} {at}"))?;
        while cues.blocking_recv().is_some() {}
        server.stop();
        Ok(())
    }
}
