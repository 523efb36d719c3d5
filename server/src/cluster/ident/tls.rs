//! TLS between hosts: what each shows, and how it judges what the other does.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, ServerConfig};

use super::{NotAHost, Shown};

/// What hosts speak with each other, in its first version.
const PROTOCOL: &[u8] = b"killick/1";

/// How a host is dialed, and how it dials.
pub(super) struct Tls {
    chain: Vec<CertificateDer<'static>>,
    server: ServerConfig,
    client: ClientConfig,
    /// By these it judges who dials, and who is dialed.
    dialers: Arc<dyn ClientCertVerifier>,
    dialed: Arc<WebPkiServerVerifier>,
}

impl Tls {
    pub(super) fn new(shown: Shown) -> Result<Self, rustls::Error> {
        let Shown { chain, key, authorities, revoked } = shown;
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let unusable =
            |error: rustls::client::VerifierBuilderError| rustls::Error::General(error.to_string());
        // An authority that has no list has revoked nothing.
        let dialers =
            WebPkiClientVerifier::builder_with_provider(authorities.clone(), provider.clone())
                .with_crls(revoked.iter().cloned())
                .allow_unknown_revocation_status()
                .build()
                .map_err(unusable)?;
        let dialed = WebPkiServerVerifier::builder_with_provider(authorities, provider.clone())
            .with_crls(revoked)
            .allow_unknown_revocation_status()
            .build()
            .map_err(unusable)?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(dialers.clone())
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(dialed.clone())
            .with_client_auth_cert(chain.clone(), key)?;
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Tls { chain, server, client, dialers, dialed })
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn server(&self) -> ServerConfig {
        self.server.clone()
    }

    pub(super) fn client(&self) -> ClientConfig {
        self.client.clone()
    }

    /// Whether who shows `chain` would be let through at `now`.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), NotAHost> {
        let (certificate, others) = chain.split_first().ok_or(NotAHost::NoCertificate)?;
        let judged = self.dialers.verify_client_cert(certificate, others, now);
        judged.map(drop).map_err(NotAHost::Refused)
    }

    /// Whether another host with the same files would take what is shown here, by this name and at some time:
    /// certificates are renewed.
    pub(super) fn judge_own(&self, name: &str) -> Result<(), NotAHost> {
        let (certificate, others) = self.chain.split_first().ok_or(NotAHost::NoCertificate)?;
        let name = ServerName::try_from(name).map_err(|_| NotAHost::Broken)?;
        let now = UnixTime::now();
        let judged = self.dialed.verify_server_cert(certificate, others, &name, &[], now);
        match (self.judge(&self.chain, now), judged) {
            (Err(NotAHost::Refused(error)), _) | (_, Err(error)) if !is_of_time(&error) => {
                Err(NotAHost::Refused(error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether another time is all that is needed.
fn is_of_time(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(error) = error else { return false };
    matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}
