//! What a host is told of its cluster.

use std::collections::HashSet;
use std::net::SocketAddr;

use killick_client::internal::is_deceptive;

use super::{ClusterIdentity, Seed};

/// How a host takes part in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// What it shows the others, and whom it takes for one of them.
    pub identity: ClusterIdentity,
    /// Where it listens for the others, by UDP.
    pub listen: SocketAddr,
    /// Where they reach it, if that is elsewhere: behind what translates addresses, or where it listens at every
    /// address of the machine. A port of 0 stands for that of `listen`.
    pub advertise: Option<SocketAddr>,
    /// Where to look for the others. None: others come to it.
    pub join: Vec<Seed>,
    /// Where clients reach it, as others tell them; those that it listens at with TLS, by default.
    pub client_addresses: Vec<String>,
    /// The longest datagram that it sends to them, without what UDP and IP add; for networks that lose longer ones,
    /// or several that the system is given at once. None: as long as come through. 1200 always do, and nothing less
    /// is gone by.
    pub mtu: Option<u16>,
    /// What it tells of itself besides: keys, each of them once, and values, all of which are shown as they are.
    pub tags: Vec<(String, String)>,
}

impl ClusterConfig {
    /// A host that shows `identity` and listens at `listen`, and waits for others to come.
    pub fn new(identity: ClusterIdentity, listen: SocketAddr) -> Self {
        ClusterConfig {
            identity,
            listen,
            advertise: None,
            join: Vec::new(),
            client_addresses: Vec::new(),
            mtu: None,
            tags: Vec::new(),
        }
    }

    /// The first setting, by its name, that no host can go by, and why.
    pub(crate) fn unusable(&self) -> Option<(&'static str, String)> {
        let mut keys = HashSet::new();
        self.tags.iter().find_map(|(key, value)| {
            let reason = match () {
                () if key.is_empty() => "a tag without a key".to_owned(),
                () if let Some(c) = deceptive_in(key).or_else(|| deceptive_in(value)) => {
                    format!("'{}={}' has {c}", key.escape_debug(), value.escape_debug())
                }
                () if !keys.insert(key) => format!("the key '{key}' is there more than once"),
                () => return None,
            };
            Some(("tag", reason))
        })
    }
}

/// The first character of a text of a host's that others would not be shown as itself, in words.
pub(super) fn deceptive_in(text: &str) -> Option<String> {
    let c = text.chars().find(|c| is_deceptive(*c))?;
    let kind =
        if c.is_control() { "a control character" } else { "a character that turns text around" };
    Some(format!("{kind}, U+{:04X}, which is not shown as itself", u32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterSecret;

    #[test]
    fn tags_that_others_could_not_tell_apart_or_read_are_no_use() {
        let identity = ClusterIdentity::from_secret(&ClusterSecret::fresh(), "c1", None);
        let config = |tags: &[(&str, &str)]| ClusterConfig {
            tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ..ClusterConfig::new(
                identity.as_ref().expect("an identity").clone(),
                "127.0.0.1:0".parse().expect("an address"),
            )
        };
        assert_eq!(config(&[("zone", "a"), ("role", "a"), ("é", "")]).unusable(), None);
        for (tags, why) in [
            (
                &[("zone", "a"), ("x", ""), ("zone", "b")][..],
                "the key 'zone' is there more than once",
            ),
            (&[("", "a")], "a tag without a key"),
            (
                &[("zone", "a\u{202e}b")],
                "'zone=a\\u{202e}b' has a character that turns text around, U+202E, which is not shown as itself",
            ),
            (
                &[("zo\u{1b}ne", "a")],
                "'zo\\u{1b}ne=a' has a control character, U+001B, which is not shown as itself",
            ),
        ] {
            assert_eq!(config(tags).unusable(), Some(("tag", why.to_owned())));
        }
    }
}
