//! Who may connect, and what they get.
//!
//! | comes over | is known by | gets |
//! |---|---|---|
//! | a Unix socket | its user and group, as the kernel tells them ([`unix`]) | the host |
//! | loopback TCP | nothing: whoever is on this machine | the host |
//! | TLS | the key that it proves to have ([`tls`]) | what its line in [`authorized`] says: the host, an anchor, or some rights to it within limits ([`granted`]) |
//!
//! Another host of the cluster gets what it has to ask by, for clients of its own
//! ([`service::peer`](crate::service)). A process that the server has started ([`process`](crate::process)) gets what whoever asked for it chose,
//! over a connection that nobody else can have.
//!
//! The bootstrap capability is the authority: there is no other check behind it. Who gets the host reaches
//! all of it and what tells of it; who gets an anchor reaches what is below that, as there is no way up.
//! Who gets nothing is closed, with one line in the log; who comes over a Unix socket is told why.
//!
//! What was granted is asked for again when the server is told something new: a connection whose grant is
//! gone, or another one, is closed ([`Admitted::is_revoked`]). Certificates are looked at in the handshake alone.

mod authorized;
mod granted;
mod places;
mod tls;
mod unix;

use std::fmt;
use std::sync::Arc;

use killick_client::Fingerprint;

pub(crate) use authorized::Grant;
pub use authorized::{Authorized, AuthorizedError, BadLine, LineError};
pub(crate) use granted::Granted;
pub(crate) use places::{Place, Places};
pub(crate) use tls::{HandshakeError, Secured, handshake};
pub use tls::{Tls, TlsError};
pub(crate) use unix::{Credentials, socket_mode};

use crate::cap::Own;
use crate::config::Config;
use crate::hosts::HostId;
use crate::process::Process;
use crate::shared::Shared;

/// Who a client is, as far as that is known for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A process that has opened the Unix socket.
    Process(Credentials),
    /// Whoever is on this machine.
    Local,
    /// The holder of a key.
    Key(Fingerprint),
    /// A process that the server has started, over the connection that it got.
    Child,
    /// Another host of the cluster, in its life that began with this generation.
    Host(HostId, u64),
}

/// Why a client gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(Who);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Who::Process(Credentials { user, group }) => {
                write!(f, "neither user {user} nor group {group} is allowed")
            }
            Who::Local | Who::Child | Who::Host(..) => f.write_str("not allowed"),
            Who::Key(key) => write!(f, "no line for {key} in the authorized file"),
        }
    }
}

impl Who {
    /// What `config` gives this client.
    pub(crate) fn grant(&self, config: &Config) -> Result<Grant, Refused> {
        let granted = match self {
            Who::Process(process) => {
                let (users, groups) = (&config.allow_uids, &config.allow_gids);
                process
                    .allowed(rustix::process::geteuid().as_raw(), users, groups)
                    .then(Grant::host)
            }
            // What a process, or another host, gets is decided elsewhere.
            Who::Local | Who::Child | Who::Host(..) => Some(Grant::host()),
            Who::Key(key) => config.authorized.grant(key),
        };
        granted.ok_or(Refused(*self))
    }
}

/// A client that was let in.
pub(crate) struct Admitted {
    pub(crate) who: Who,
    pub(crate) grant: Grant,
    /// Who it is, for people to read.
    pub(crate) peer: String,
    /// The process that it is, if the server has started it; in a box, as most are none.
    pub(crate) child: Option<Box<Child>>,
}

/// A process that the server has started.
pub(crate) struct Child {
    /// What it gets as its bootstrap capability.
    pub(crate) anchor: Own,
    pub(crate) process: Arc<Process>,
}

impl Admitted {
    /// Whether the client would not get what it has, by what the server was told last.
    pub(crate) fn is_revoked(&self, shared: &Shared) -> bool {
        self.who.grant(&shared.config()).as_ref() != Ok(&self.grant)
    }
}
