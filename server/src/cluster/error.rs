//! Why a host does not take part in a cluster.

use std::fmt;
use std::net::SocketAddr;

use super::fabric::FabricError;
use super::members::RecordTooLarge;

/// Why a host does not take part in a cluster.
#[derive(Debug)]
pub struct ClusterError(Why);

#[derive(Debug)]
pub(super) enum Why {
    Fabric(FabricError),
    /// The others could not reach it there.
    Unspecified(SocketAddr),
    Record(RecordTooLarge),
    /// The name of the machine, and what others would not be shown as itself there.
    Hostname(String, String),
    /// There is no multicast DNS.
    #[cfg(feature = "mdns")]
    Lan(mdns_sd::Error),
}

impl From<Why> for ClusterError {
    fn from(why: Why) -> Self {
        ClusterError(why)
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Fabric(error) => error.fmt(f),
            Why::Unspecified(at) => write!(
                f,
                "{at} is every address of this machine, and none that others reach it at: say one of them \
                 (--advertise)"
            ),
            Why::Record(error) => error.fmt(f),
            Why::Hostname(name, has) => {
                write!(f, "the machine's name '{}' has {has}", name.escape_debug())
            }
            #[cfg(feature = "mdns")]
            Why::Lan(error) => write!(f, "multicast DNS (--join mdns): {error}"),
        }
    }
}

impl std::error::Error for ClusterError {}
