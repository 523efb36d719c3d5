//! A stream to a server, whatever its address is.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::alive::{gone, keep_alive};
use crate::meaning::meaning;
use crate::{Address, Identity};

/// A stream to a server.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    /// Whether being broken off is the error that it is, and no end.
    tells_breaks: bool,
}

#[derive(Debug)]
enum Kind {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A `tls:` address was to be connected to without an identity to show there.
#[derive(Clone, Copy, Debug)]
struct NoIdentity;

impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tls: address takes an identity: a key, its certificate and an authority")
    }
}

impl std::error::Error for NoIdentity {}

/// How long to wait before a Unix socket is tried again at which too many wait already: at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// Connects to `address`; waits for as long as the system does, over TLS for as long as the other side
/// keeps silent, and at a Unix socket for as long as others who wait there leave no room. A `tls:` address
/// takes an `identity` to show there; others do without.
///
/// Over TCP and TLS a stream ends, with [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), two minutes after
/// the machine at its other end has vanished: [`Options`](crate::Options#machines-that-vanish).
///
/// Over TLS the stream is there as soon as the server has shown that it is who `address` says: whether it
/// takes this identity is known when something is read.
///
/// # Errors
/// What the system says; of TLS, [`InvalidData`](io::ErrorKind::InvalidData) with what is wrong with the
/// other side, and [`InvalidInput`](io::ErrorKind::InvalidInput) without an identity.
pub async fn dial(address: &Address, identity: Option<&Identity>) -> io::Result<Stream> {
    match address {
        Address::Unix(path) => Ok(Kind::Unix(connect_unix(path).await?).into()),
        Address::Tcp(at) => Ok(Kind::Tcp(connect(at).await?).into()),
        Address::Inherited => {
            let stream = std::os::unix::net::UnixStream::from(killick::inherited()?);
            stream.set_nonblocking(true)?;
            Ok(Kind::Unix(UnixStream::from_std(stream)?).into())
        }
        Address::Tls(at) => {
            let bad = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
            let identity = identity.ok_or_else(|| bad(Box::<Error>::from(NoIdentity)))?;
            let name = server_name(at).map_err(|error| bad(error.into()))?;
            let connector = TlsConnector::from(identity.client().clone());
            let connected = connector.connect(name, connect(at).await?).await;
            let stream = connected.map_err(explained)?;
            Ok(Kind::Tls(Box::new(stream)).into())
        }
    }
}

impl From<Kind> for Stream {
    fn from(kind: Kind) -> Self {
        Stream { kind, tells_breaks: false }
    }
}

impl Stream {
    /// The same stream, which ends with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if it is broken
    /// off without a word.
    pub(crate) fn telling_breaks(self) -> Self {
        Stream { tells_breaks: true, ..self }
    }
}

type Error = dyn std::error::Error + Send + Sync;

/// An error of a handshake, with what it means to whoever has the files.
fn explained(error: io::Error) -> io::Error {
    match meaning(&error.to_string(), "the server's", "your") {
        Some(means) => io::Error::new(error.kind(), format!("{means} ({error})")),
        None => error,
    }
}

/// Connects to the socket at `path`. Where TCP waits for room among those that are to be accepted, a Unix
/// socket says [`WouldBlock`](io::ErrorKind::WouldBlock), and nothing tells when there is some.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let [mut pause, longest] = PAUSES;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            connected => return connected,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

async fn connect(at: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at).await?;
    // Calls are small and waited for: never held back for more to come.
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    Ok(stream)
}

/// The name that the certificate of the server at `HOST:PORT` has to be for.
fn server_name(at: &str) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned())
}

/// A stream over TLS that is broken off without a word is at its end, as one without TLS is: what it
/// carries says itself where it is complete.
pub fn end_is_an_end<T: Default>(read: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    match read {
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Poll::Ready(Ok(T::default()))
        }
        read => read,
    }
}

/// Has the stream that there is do `$call`.
macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().kind {
            Kind::Unix($stream) => $call,
            Kind::Tcp($stream) => $call,
            Kind::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tells_breaks = self.tells_breaks;
        let read = delegate!(self, stream => Pin::new(stream).poll_read(context, buffer));
        let read = read.map_err(gone);
        if tells_breaks { read } else { end_is_an_end(read) }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write(context, bytes)).map_err(gone)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written =
            delegate!(self, stream => Pin::new(stream).poll_write_vectored(context, parts));
        written.map_err(gone)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Unix(stream) => stream.is_write_vectored(),
            Kind::Tcp(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_flush(context)).map_err(gone)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_full_unix_socket_is_waited_for_until_there_is_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let socket = tokio::net::UnixSocket::new_stream().expect("a socket");
        socket.bind(&path).expect("bound");
        let listener = socket.listen(0).expect("listening");
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let address = Address::Unix(path);
        let dialled = tokio::spawn(async move { dial(&address, None).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!dialled.is_finished(), "it did not wait");
        for _ in 0..=waiting.len() {
            listener.accept().await.expect("accepted");
        }
        dialled.await.expect("no panic").expect("connected");
    }

    /// A machine that takes nothing any more is as one that is gone, to a system that is told to wait for less.
    #[tokio::test]
    async fn what_waits_for_a_machine_that_is_gone_is_disconnected() {
        for reads in [true, false] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
            let at = listener.local_addr().expect("an address").to_string();
            let mut stream = dial(&Address::Tcp(at), None).await.expect("connected");
            let Kind::Tcp(tcp) = &stream.kind else { panic!("a stream of TCP") };
            assert!(rustix::net::sockopt::socket_keepalive(tcp).expect("an option"));
            rustix::net::sockopt::set_tcp_user_timeout(tcp, 100).expect("an option");
            while let Ok(1..) = tcp.try_write(&[0; 1 << 16]) {}
            let waited = match reads {
                true => stream.read(&mut [0]).await.map(drop),
                false => stream.write_all(&[0; 1 << 24]).await,
            };
            let error = waited.expect_err("an end");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
            assert_eq!(capnp::Error::from(error).kind, capnp::ErrorKind::Disconnected);
        }
    }

    #[test]
    fn a_server_is_to_be_who_the_address_names() {
        for (at, name) in [("a.example:1", "a.example"), ("127.0.0.1:1", "127.0.0.1")] {
            assert_eq!(server_name(at).expect(at).to_str(), name);
        }
        assert_eq!(server_name("[::1]:2016").expect("an address").to_str(), "::1");
        assert!(server_name("not a name:1").is_err());
    }
}
