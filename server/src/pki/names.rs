//! The names of a cluster's hosts in their certificates.
//!
//! A host has two: one with its id, by which it is met by who knows it, and one that all hosts of the cluster
//! have, by which it is met as a seed. A client has neither.

use std::fmt;

use killick_client::Fingerprint;

/// What the names of all clusters end with: `internal` is nobody's domain in the DNS.
const DOMAIN: &str = "killick.internal";

/// The longest label of a DNS name.
const LONGEST: usize = 63;

/// How many hex digits of a fingerprint are an id.
const DIGITS: usize = 32;

/// Why a text is no name of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterNameError {
    /// It has no character, or more than 63.
    Length(usize),
    /// A character may not be in it, or not where it is.
    Character(char),
}

impl fmt::Display for ClusterNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a cluster has 1 to {LONGEST} of a-z, 0-9 and, inside, '-'")?;
        match self {
            ClusterNameError::Length(length) => write!(f, ", not {length}"),
            ClusterNameError::Character(found) => write!(f, ": {found:?} may not be there"),
        }
    }
}

impl std::error::Error for ClusterNameError {}

/// Whether `name` is one for a cluster.
///
/// # Errors
/// It is not one label of a DNS name, in lower case.
pub fn check_cluster(name: &str) -> Result<(), ClusterNameError> {
    let inside = |found: &char| matches!(found, 'a'..='z' | '0'..='9' | '-');
    if let Some(found) = name.chars().find(|found| !inside(found)) {
        return Err(ClusterNameError::Character(found));
    }
    if name.is_empty() || name.len() > LONGEST {
        return Err(ClusterNameError::Length(name.len()));
    }
    match name.starts_with('-') || name.ends_with('-') {
        true => Err(ClusterNameError::Character('-')),
        false => Ok(()),
    }
}

/// The id of the host with this key: the first half of its fingerprint.
pub fn host_id(key: &Fingerprint) -> String {
    key.to_string()[..DIGITS].to_owned()
}

/// The name of the host with this id, in 32 hex digits.
pub fn host(id: impl fmt::Display, cluster: &str) -> String {
    format!("{id}.{}", any_host(cluster))
}

/// The name of every host.
pub fn any_host(cluster: &str) -> String {
    format!("host.{cluster}.{DOMAIN}")
}

/// The id of the host with this key, and the cluster that it is of, if one of `names` says so.
pub fn cluster_of<'a>(
    key: &Fingerprint,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<(String, &'a str)> {
    let id = host_id(key);
    let cluster = names.into_iter().find_map(|name| {
        let rest = name.strip_prefix(&id)?.strip_prefix(".host.")?;
        rest.strip_suffix(DOMAIN)?.strip_suffix('.')
    })?;
    Some((id, cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_cluster_of_the_host_whose_id_is_in_it() {
        let key: Fingerprint = "0123456789abcdef".repeat(4).parse().expect("a fingerprint");
        let id = "0123456789abcdef".repeat(2);
        let name = host(&id, "c1");
        assert_eq!(name, format!("{id}.host.c1.killick.internal"));
        assert_eq!(cluster_of(&key, ["a.example", &name]), Some((id.clone(), "c1")));
        let other = host(id.replace('0', "1"), "c1");
        assert_eq!(cluster_of(&key, [&*other, &any_host("c1"), &id]), None);
    }

    #[test]
    fn the_name_of_a_cluster_is_one_label() {
        for good in ["c", "c1", "my-cluster", &"x".repeat(63)] {
            assert_eq!(check_cluster(good), Ok(()), "{good}");
        }
        let long = "x".repeat(64);
        for (bad, why) in [
            ("", ClusterNameError::Length(0)),
            (&long, ClusterNameError::Length(64)),
            ("a.b", ClusterNameError::Character('.')),
            ("A", ClusterNameError::Character('A')),
            ("é", ClusterNameError::Character('é')),
            ("-a", ClusterNameError::Character('-')),
            ("a-", ClusterNameError::Character('-')),
        ] {
            assert_eq!(check_cluster(bad), Err(why), "{bad}");
        }
    }
}
