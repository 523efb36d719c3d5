//! Sockets: binding them, and the loop that accepts connections and hands them to the workers.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::access::{Credentials, Place, Who, handshake, socket_mode};
use crate::config::Config;
use crate::hosts::HostId;
use crate::net::{self, HostStream, Streams};
use crate::refusals::Refusal;
use crate::shared::{Permit, Shared};
use crate::stats::{Limit, connections, counted};
use killick_client::Address;
use killick_client::internal::keep_alive;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait after accepting failed, at first and at most: it fails again at once while the
/// process has no file descriptor to spare.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// How long to wait for the lock of a socket's folder, and how often to try. Other servers hold it for
/// the time that it takes to bind.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why a server cannot listen on an address.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// A TCP address without TLS that other machines reach.
    NotLoopback {
        /// The address as given.
        address: Address,
        /// What it stands for.
        resolved: SocketAddr,
    },
    /// An address with TLS, and nothing to show there.
    NoIdentity {
        /// The address as given.
        address: Address,
    },
    /// Another server answers on the socket.
    InUse {
        /// The address as given.
        address: Address,
    },
    /// Something that is not a socket has the socket's path.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process kept the lock of the socket's folder, which a server holds while it binds.
    FolderLocked {
        /// The address as given.
        address: Address,
        /// The folder.
        folder: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The system refused.
    Io {
        /// The address as given.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::NotLoopback { address, resolved } => write!(
                f,
                "refused to listen on {address}: {} is not a loopback address, and without \
                 authentication everybody who can reach it could read and change the tree; use \
                 tls:{resolved}, tcp:127.0.0.1:{} or a Unix socket",
                resolved.ip(),
                resolved.port()
            ),
            ListenError::NoIdentity { address } => write!(
                f,
                "cannot listen on {address}: TLS takes a certificate and its key: --tls-identity, and \
                 'killick cert host' makes them"
            ),
            ListenError::InUse { address } => {
                write!(f, "cannot listen on {address}: a server already answers there")
            }
            ListenError::NotASocket { path } => {
                let path = path.display();
                write!(f, "cannot listen on unix:{path}: the file is there and is not a socket")
            }
            ListenError::FolderLocked { address, folder, waited } => write!(
                f,
                "cannot listen on {address}: another process keeps the folder {} locked (flock), \
                 waited for {waited:?}",
                folder.display()
            ),
            ListenError::Io { address, error } => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// An accepted connection on its way to a worker.
pub(crate) struct Incoming {
    pub(crate) socket: Socket,
    /// Who it is, for the log.
    pub(crate) peer: String,
    pub(crate) permit: Permit,
    /// Among the handshakes, if there has to be one.
    pub(crate) place: Option<Place>,
}

/// A socket in the form that passes from one runtime to another.
pub(crate) enum Socket {
    Unix(StdUnixStream, Who),
    Tcp(std::net::TcpStream),
    /// Those of another host.
    #[cfg_attr(not(feature = "cluster"), allow(dead_code, reason = "there is none"))]
    Host(Streams<Box<dyn HostStream>>, HostId, u64),
    /// Before the handshake, and where it comes from.
    Tls(std::net::TcpStream, IpAddr),
}

/// A bound socket. A Unix socket's file is removed when it is dropped.
pub(crate) enum Listener {
    Unix { listener: UnixListener, file: SocketFile },
    Tcp(TcpListener),
    Tls(TcpListener),
}

/// The file of a bound Unix socket.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file: not removed if another one has its path.
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // An error leaves a stale file, which the next server replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl SocketFile {
    /// Has those through whom `config` allows, if the file is still this one.
    fn set_mode(&self, config: &Config) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let mode = socket_mode(&config.allow_uids, &config.allow_gids);
            // An error leaves it as it was: whom the mode lets through too many, the credentials do not.
            let _ = fs::set_permissions(&self.path, fs::Permissions::from_mode(mode));
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Listener {
    /// Binds `address`. Must be called within a runtime.
    pub(crate) fn bind(address: &Address, config: &Config) -> Result<(Self, Address), ListenError> {
        let failed = |error| ListenError::Io { address: address.clone(), error };
        match address {
            Address::Unix(path) => {
                let listener = bind_unix(path, address)?;
                let inode = inode(path).map_err(failed)?;
                let file = SocketFile { path: path.clone(), inode };
                file.set_mode(config);
                Ok((Listener::Unix { listener, file }, address.clone()))
            }
            Address::Inherited => Err(failed(not_to_listen_on())),
            Address::Tcp(host_and_port) => {
                let listener = bind_tcp(&allowed(host_and_port, address, config)?, address)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok((Listener::Tcp(listener), Address::Tcp(bound.to_string())))
            }
            Address::Tls(host_and_port) => {
                let listener = bind_tcp(&allowed(host_and_port, address, config)?, address)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok((Listener::Tls(listener), Address::Tls(bound.to_string())))
            }
        }
    }

    /// Whether `address` is one that a server by `config` would bind, if nobody else has it.
    pub(crate) fn check(address: &Address, config: &Config) -> Result<(), ListenError> {
        match address {
            Address::Unix(_) => Ok(()),
            Address::Inherited => {
                Err(ListenError::Io { address: address.clone(), error: not_to_listen_on() })
            }
            Address::Tcp(at) | Address::Tls(at) => allowed(at, address, config).map(|_| ()),
        }
    }

    async fn accept(&self) -> io::Result<(Socket, String)> {
        match self {
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let (process, id) = Credentials::of(&stream)?;
                let peer = match id {
                    Some(id) => format!("unix, process {id}"),
                    None => "unix".to_owned(),
                };
                Ok((Socket::Unix(stream.into_std()?, Who::Process(process)), peer))
            }
            Listener::Tcp(listener) | Listener::Tls(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and waited for: never held back for more to come.
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                let stream = stream.into_std()?;
                Ok(match self {
                    Listener::Tls(_) => (Socket::Tls(stream, peer.ip()), format!("tls {peer}")),
                    _ => (Socket::Tcp(stream), format!("tcp {peer}")),
                })
            }
        }
    }

    /// The server has been told something new: whom the socket's file lets through may differ.
    fn reload(&self, config: &Config) {
        if let Listener::Unix { file, .. } = self {
            file.set_mode(config);
        }
    }
}

/// Of a connection that this process has, which no others come to.
fn not_to_listen_on() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is a connection already")
}

/// Binds a Unix socket that only this user may connect to, in place of a stale one.
fn bind_unix(path: &Path, address: &Address) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Io { address: address.clone(), error };
    let in_use = || ListenError::InUse { address: address.clone() };
    // While this server looks, removes and binds, no other one may.
    let _locked = lock_folder(path.parent().unwrap_or(Path::new("/")), address)?;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match try_connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            // As many wait to be accepted as may: somebody listens, and does not accept.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(in_use()),
            Err(error) => return Err(failed(error)),
            Ok(()) => return Err(in_use()),
        },
    }
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    // Before it listens nobody can connect, so nobody else ever could.
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, private).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)
}

/// Connects to the socket at `path`, without waiting.
fn try_connect(path: &Path) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// Takes the lock of `folder` itself, which is held until the file is dropped.
fn lock_folder(folder: &Path, address: &Address) -> Result<File, ListenError> {
    let failed = |error| ListenError::Io { address: address.clone(), error };
    let file = File::open(folder).map_err(failed)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let (address, folder) = (address.clone(), folder.to_owned());
                return Err(ListenError::FolderLocked { address, folder, waited: LOCK_TIMEOUT });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

fn resolve(host_and_port: &str, address: &Address) -> Result<Vec<SocketAddr>, ListenError> {
    let failed = |error| ListenError::Io { address: address.clone(), error };
    Ok(host_and_port.to_socket_addrs().map_err(failed)?.collect())
}

/// What `address` stands for, if a server by `config` may listen there.
fn allowed(
    host_and_port: &str,
    address: &Address,
    config: &Config,
) -> Result<Vec<SocketAddr>, ListenError> {
    let tls = matches!(address, Address::Tls(_));
    if tls && config.tls.is_none() {
        return Err(ListenError::NoIdentity { address: address.clone() });
    }
    let resolved = resolve(host_and_port, address)?;
    let foreign = resolved.iter().find(|at| !at.ip().to_canonical().is_loopback());
    match foreign {
        Some(&resolved) if !tls => {
            Err(ListenError::NotLoopback { address: address.clone(), resolved })
        }
        _ => Ok(resolved),
    }
}

fn bind_tcp(resolved: &[SocketAddr], address: &Address) -> Result<TcpListener, ListenError> {
    let failed = |error| ListenError::Io { address: address.clone(), error };
    let bound = std::net::TcpListener::bind(resolved).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address: address.clone() },
        _ => failed(error),
    })?;
    bound.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(bound).map_err(failed)
}

/// Accepts connections and deals them out to `workers`, until the server stops.
pub(crate) async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Incoming>>,
    mut stop: watch::Receiver<bool>,
) {
    let [mut back_off, longest] = BACK_OFF;
    let mut changes = shared.changes();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Ok(()) = changes.changed() => {
                listener.reload(&shared.config());
                continue;
            }
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                back_off = BACK_OFF[0];
                take_in(socket, peer, &shared, &workers);
            }
            Err(error) => {
                warn!(%error, "accepting failed");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(longest);
            }
        }
    }
}

/// Hands a connection to a worker, if its client may be here and there is room for it.
fn take_in(
    socket: Socket,
    peer: String,
    shared: &Arc<Shared>,
    workers: &[UnboundedSender<Incoming>],
) {
    let config = shared.config();
    if let Socket::Unix(_, who) = &socket
        && let Err(refused) = who.grant(&config)
    {
        shared.refusals.note(Refusal::Stranger, &peer, &refused);
        return tell(socket, net::refusal(&refused.to_string()), shared);
    }
    let Some(permit) = Permit::take(shared) else {
        let limit = config.max_connections;
        let reason = format!("the server already has its limit of {}", connections(limit));
        let limit = (Limit::Connections, Refusal::Full);
        return refuse(socket, &peer, &reason, limit, shared);
    };
    let place = match &socket {
        Socket::Tls(_, address) => match Place::take(shared, *address) {
            None => {
                let limit = config.handshakes();
                let limit = counted(limit, "TLS handshake", "TLS handshakes");
                let reason = format!("more than the limit of {limit} are under way");
                let limit = (Limit::Handshakes, Refusal::Handshakes);
                return refuse(socket, &peer, &reason, limit, shared);
            }
            place => place,
        },
        Socket::Unix(..) | Socket::Tcp(_) | Socket::Host(..) => None,
    };
    // An error means that the server stops.
    drop(workers[permit.worker()].send(Incoming { socket, peer, permit, place }));
}

/// Refuses a client because the server is full, by its `limit`.
fn refuse(
    socket: Socket,
    peer: &str,
    words: &str,
    (limit, kind): (Limit, Refusal),
    shared: &Arc<Shared>,
) {
    shared.hits.count(limit);
    let reason = format!("{words}{limit}");
    shared.refusals.note(kind, peer, &reason);
    tell(socket, net::abort(&reason), shared);
}

/// Tells a client by `message` why there is nothing for it, and closes.
fn tell(socket: Socket, message: Vec<u8>, shared: &Arc<Shared>) {
    // It fits the buffer of a fresh socket; if it does not, the client learns less.
    let _ = match socket {
        Socket::Unix(mut socket, _) => socket.write_all(&message),
        Socket::Tcp(mut socket) => socket.write_all(&message),
        Socket::Host(..) => Ok(()),
        Socket::Tls(socket, address) => {
            if let Some(place) = Place::take(shared, address) {
                tokio::spawn(tell_over_tls(socket, message, place, shared.config()));
            }
            Ok(())
        }
    };
}

/// Tells a client over TLS when it has shown that it may be here: before that there are no words for it, and
/// who may not learns nothing. It has its `place` among the handshakes for as long as that takes.
async fn tell_over_tls(
    socket: std::net::TcpStream,
    message: Vec<u8>,
    mut place: Place,
    config: Arc<Config>,
) {
    let limit = config.handshake_timeout;
    let told = async {
        let stream = TcpStream::from_std(socket).ok()?;
        let (mut stream, key) = handshake(config.tls.as_ref(), stream, limit).await.ok()?;
        Who::Key(key).grant(&config).ok()?;
        stream.write_all(&message).await.ok()?;
        stream.shutdown().await.ok()
    };
    tokio::select! {
        () = place.lost() => {}
        // Who cannot be told learns less.
        _ = timeout(limit, told) => {}
    }
}
