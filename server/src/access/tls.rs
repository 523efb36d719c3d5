//! TLS: the server's side of a handshake, bounded in time.
//!
//! rustls decides, by its own verifiers: a client is let through if it shows a certificate of one of the
//! server's authorities that is valid now and for clients, and proves to have its key. What it then gets
//! is not TLS's business.
//!
//! TLS 1.3 alone; sessions are not taken up again and nothing comes early, so that each connection proves
//! it all anew.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use killick_client::internal::{end_is_an_end, meaning};
use killick_client::{Fingerprint, Identity};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{InvalidMessage, ServerConfig};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::pki::Dates;
use crate::stats::Limit;

/// How a server shows itself over TLS, and whose certificates it takes.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    /// When its certificate is of use.
    dates: Dates,
}

/// Why an identity is none for a server.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// A server that shows `identity`, and takes clients with a certificate of its authorities.
    ///
    /// # Errors
    /// rustls does not take it, or its certificate is not for servers.
    pub fn new(identity: &Identity) -> Result<Self, TlsError> {
        let refused = |error: &dyn fmt::Display| TlsError(error.to_string());
        if identity.chain().first().is_some_and(|certificate| !is_for_servers(certificate)) {
            let why = "the certificate is one of a client, not of a server: 'killick cert host' makes those";
            return Err(TlsError(why.into()));
        }
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = identity.authorities().clone();
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider.clone())
            .build()
            .map_err(|error| refused(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain().to_vec(), identity.key().clone_key())
            .map_err(|error| refused(&error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        let dates = Dates::of(identity);
        let dates = dates.ok_or_else(|| TlsError("the certificate makes no sense".into()))?;
        Ok(Tls { config: Arc::new(config), fingerprint: identity.fingerprint(), dates })
    }

    /// What is to be said of the time in which the certificate is valid, if something is.
    pub(crate) fn untimely(&self) -> Option<String> {
        self.dates.warning(OffsetDateTime::now_utc(), ["the server's certificate", "client"])
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.fingerprint).finish()
    }
}

/// Whether clients take a certificate of a server: one that says what it is for says that.
fn is_for_servers(certificate: &[u8]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return true };
    match parsed.extended_key_usage() {
        Ok(Some(usage)) => usage.value.any || usage.value.server_auth,
        // What cannot be read is for rustls to judge.
        Ok(None) | Err(_) => true,
    }
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The server has nothing to show.
    NoIdentity,
    /// It did not end in time.
    TooLong(Duration),
    /// Another one has got its place.
    Displaced,
    /// What came is not TLS.
    NotTls,
    /// The client showed nothing that can be told by.
    NoKey,
    /// What rustls says.
    Failed(io::Error),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::NoIdentity => f.write_str("this server has no certificate"),
            HandshakeError::TooLong(time) => {
                write!(f, "no TLS handshake within {time:?}{}", Limit::HandshakeTimeout)
            }
            HandshakeError::Displaced => {
                write!(f, "other TLS handshakes have begun since{}", Limit::Handshakes)
            }
            HandshakeError::NotTls => f.write_str("what came is not TLS"),
            HandshakeError::NoKey => f.write_str("the certificate shows no key"),
            HandshakeError::Failed(error) => {
                write!(f, "TLS handshake: {error}")?;
                match meaning(&error.to_string(), "the client's", "this server's") {
                    Some(means) => write!(f, ": {means}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl HandshakeError {
    /// The limit that was met, if one was.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            HandshakeError::TooLong(_) => Some(Limit::HandshakeTimeout),
            HandshakeError::Displaced => Some(Limit::Handshakes),
            _ => None,
        }
    }
}

/// Makes the server's side of a handshake over `stream`, within `limit`: whose key it is.
pub(crate) async fn handshake(
    tls: Option<&Tls>,
    stream: TcpStream,
    limit: Duration,
) -> Result<(Secured, Fingerprint), HandshakeError> {
    let tls = tls.ok_or(HandshakeError::NoIdentity)?;
    let accepted = timeout(limit, TlsAcceptor::from(tls.config.clone()).accept(stream)).await;
    let stream = accepted.map_err(|_| HandshakeError::TooLong(limit))?.map_err(failed)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let key = certificate.and_then(Fingerprint::of).ok_or(HandshakeError::NoKey)?;
    Ok((Secured(Box::new(stream)), key))
}

fn failed(error: io::Error) -> HandshakeError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            HandshakeError::NotTls
        }
        _ => HandshakeError::Failed(error),
    }
}

/// A stream after its handshake. One that is broken off without a word is at its end, as a socket is.
pub(crate) struct Secured(Box<TlsStream<TcpStream>>);

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        end_is_an_end(Pin::new(&mut self.0).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
