//! What the settings say of the cluster.

use std::fmt::Display;

use killick_server::{ClusterConfig, ClusterIdentity, ClusterSecret, ClusterSecretError};

use super::written::{Join, Listen, Place, Tag};
use super::{BadValue, Settings, text};

impl Settings {
    /// How the host takes part in a cluster, if it does. The files that say so are read.
    pub(super) fn takes_part(&self) -> Result<Option<ClusterConfig>, BadValue> {
        let Some(name) = &self.cluster else { return self.takes_no_part() };
        let usage = |key, why: &str| BadValue { key, why: why.into(), is_usage: true };
        let Some(Place(listen)) = self.listen_cluster else {
            let why = "a cluster takes an address for the other hosts, as in 192.0.2.7:7300";
            return Err(usage("listen-cluster", why));
        };
        if self.cluster_mtu.is_some_and(|bytes| bytes < 1200) {
            return Err(usage("cluster-mtu", "at least 1200: QUIC takes no less"));
        }
        let named = killick_server::pki::check_cluster(name);
        named.map_err(|error| BadValue {
            key: "cluster",
            why: error.to_string(),
            is_usage: true,
        })?;
        let identity = self.identity(name)?;
        Ok(Some(ClusterConfig {
            advertise: self.advertise.map(|Place(at)| at),
            join: self.join.iter().flatten().map(|Join(seed)| seed.clone()).collect(),
            client_addresses: self
                .advertise_client
                .iter()
                .flatten()
                .map(Listen::to_string)
                .collect(),
            mtu: self.cluster_mtu,
            tags: self
                .tag
                .iter()
                .flatten()
                .map(|Tag(key, value)| (key.clone(), value.clone()))
                .collect(),
            ..ClusterConfig::new(identity, listen)
        }))
    }

    /// Without a cluster, nothing that is told of one means anything.
    fn takes_no_part(&self) -> Result<Option<ClusterConfig>, BadValue> {
        let keys = [
            "listen-cluster",
            "join",
            "advertise",
            "advertise-client",
            "cluster-mtu",
            "cluster-identity",
            "cluster-secret",
            "host-key",
            "tag",
        ];
        match keys.into_iter().find(|key| self.has(key)) {
            Some(key) => {
                let why = "it means nothing without --cluster, the name of one";
                Err(BadValue { key, why: why.into(), is_usage: true })
            }
            None => Ok(None),
        }
    }

    fn identity(&self, cluster: &str) -> Result<ClusterIdentity, BadValue> {
        let folder = text("cluster-identity", &self.cluster_identity)?;
        let secret = text("cluster-secret", &self.cluster_secret)?;
        let key = text("host-key", &self.host_key)?;
        let usage = |key, why: &str| BadValue { key, why: why.into(), is_usage: true };
        let failed =
            |key, error: &dyn Display| BadValue { key, why: error.to_string(), is_usage: false };
        match (folder, secret) {
            (Some(_), Some(_)) => {
                Err(usage("cluster-secret", "not together with --cluster-identity: either of them"))
            }
            (Some(_), None) if key.is_some() => {
                Err(usage("host-key", "--cluster-identity has a key of its own, key.pem"))
            }
            (Some(folder), None) => ClusterIdentity::load(folder, cluster)
                .map_err(|error| failed("cluster-identity", &error)),
            (None, Some(path)) => {
                let secret = ClusterSecret::load(path);
                let secret = secret.map_err(|error| match error {
                    ClusterSecretError::File(error) => failed("cluster-secret", &error),
                    error => failed("cluster-secret", &format_args!("{}: {error}", path.display())),
                })?;
                let identity = ClusterIdentity::from_secret(&secret, cluster, key);
                let of = if key.is_some() { "host-key" } else { "cluster" };
                identity.map_err(|error| failed(of, &error))
            }
            (None, None) => Err(usage(
                "cluster",
                "it takes a certificate, --cluster-identity ('killick cert host --cluster' makes them), or \
                 the secret of all hosts, --cluster-secret ('killick secret' makes one)",
            )),
        }
    }

    /// Whether this is another host with each start.
    pub(in crate::cli) fn is_nobody(&self) -> bool {
        self.cluster_secret.is_some() && self.host_key.is_none()
    }
}
