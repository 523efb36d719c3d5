//! What certificates are made of: keys, what they say, the lists of those revoked, and the files that all of
//! it lies in. The program and the cluster make theirs here.

mod certificate;
mod files;
mod key;
mod names;
mod revoked;
mod validity;

pub use certificate::{NEVER, Wanted, authority, from_now, sign};
pub use files::{FileError, replace, write_new};
pub use key::{fresh_key, key_of};
pub use names::{ClusterNameError, any_host, check_cluster, cluster_of, host, host_id};
pub use revoked::Revoked;
#[cfg(feature = "cluster")]
pub(crate) use revoked::is_signed_by;
pub(crate) use validity::Dates;
pub use validity::{Untimely, Validity};
