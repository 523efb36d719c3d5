//! Who a host of the cluster is, and whom it takes for one.
//!
//! Both sides of a connection show a certificate of the cluster's authority. rustls' own verifiers decide, with
//! the list of revoked certificates if there is one. A host's certificate names the cluster and the id, which
//! is the fingerprint of its key ([`pki::host`]): who dials a host checks that it is that one. A client's
//! certificate has no such name, so that it is none of a host's, whoever signed it.
//!
//! The authority is a key that lies elsewhere, and its certificate in `ca.pem` ([`ClusterIdentity::load`]); or
//! it is made of a secret that all hosts have ([`ClusterIdentity::from_secret`]), each of which signs its own
//! certificate when it starts. Such a cluster can put out nobody but by another secret.
//!
//! TLS 1.3 alone; sessions are not taken up again and nothing comes early.

mod error;
mod folder;
mod key;
mod revocation;
mod secret;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use killick_client::{Fingerprint, Identity};
use rcgen::{Issuer, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
    UnixTime,
};
use rustls::server::ParsedCertificate;
use time::OffsetDateTime;

use super::HostId;
use crate::pki::{self, Dates};

pub use error::ClusterIdentityError;
pub(crate) use error::NotAHost;
pub(crate) use folder::Lookout;
use folder::Source;
pub use secret::{ClusterSecret, ClusterSecretError};
use tls::Tls;

/// What a host of a cluster shows to the others, and whom it takes for one.
///
/// # Examples
/// ```
/// use killick_server::{ClusterIdentity, ClusterIdentityError, ClusterSecret};
///
/// let secret = ClusterSecret::fresh();
/// let one = ClusterIdentity::from_secret(&secret, "c1", None)?;
/// let other = ClusterIdentity::from_secret(&secret, "c1", None)?;
/// assert_ne!(one.fingerprint(), other.fingerprint());
/// let error = ClusterIdentity::from_secret(&secret, "no name", None).unwrap_err();
/// assert!(matches!(error, ClusterIdentityError::Name(_)));
/// # Ok::<(), ClusterIdentityError>(())
/// ```
#[derive(Clone)]
pub struct ClusterIdentity(Arc<Parts>);

struct Parts {
    cluster: String,
    id: HostId,
    fingerprint: Fingerprint,
    /// When its certificate is of use, if not at all times.
    dates: Option<Dates>,
    key: PrivateKeyDer<'static>,
    tls: Tls,
    /// The folder that it was read from; a secret's has none.
    source: Option<Source>,
}

/// What a host shows, and by what it judges what others show.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl ClusterIdentity {
    /// Reads the identity in `folder`, as `killick cert host --cluster` makes it: `key.pem`, `cert.pem`, the
    /// authorities in `ca.pem`, and the lists of what they have revoked in `crl.pem`, if it is there.
    ///
    /// # Errors
    /// The first thing that is wrong: a certificate that is none of a host of `cluster`, or that the other
    /// hosts would not take. One that is not valid yet, or no longer, is no error.
    pub fn load(folder: &Path, cluster: &str) -> Result<Self, ClusterIdentityError> {
        pki::check_cluster(cluster)?;
        let source = Source::of(folder);
        let identity = Identity::load(folder)?;
        let shown = Shown {
            chain: identity.chain().to_vec(),
            key: identity.key().clone_key(),
            authorities: identity.authorities().clone(),
            revoked: revocation::read(folder)?,
        };
        let refused = |why: NotAHost| ClusterIdentityError::refused(folder, why);
        let dates = Dates::of(&identity);
        let identity = Self::of(shown, cluster, identity.fingerprint(), dates, Some(source))?;
        let id = identity.host_in(identity.0.tls.chain()).map_err(refused)?;
        identity.0.tls.judge_own(&identity.name_of(id)).map_err(refused)?;
        Ok(identity)
    }

    /// The identity of a host that has the cluster's secret, and the key in the file at `key`; without one, a
    /// key that is gone with this process.
    ///
    /// The file is made if it is not there, with a new ed25519 key in PKCS#8.
    ///
    /// # Errors
    /// `cluster` is no name, or the key's file cannot be made or read, is for others too, or holds something
    /// else.
    pub fn from_secret(
        secret: &ClusterSecret,
        cluster: &str,
        key: Option<&Path>,
    ) -> Result<Self, ClusterIdentityError> {
        pki::check_cluster(cluster)?;
        let key = match key {
            Some(path) => key::load_or_make(path)?,
            None => pki::fresh_key()?,
        };
        // No clock is asked: what each host makes for itself is valid at all times.
        let valid = (OffsetDateTime::UNIX_EPOCH, pki::NEVER);
        let authority = pki::authority(cluster, valid);
        let pair = secret.authority(cluster)?;
        let mut authorities = RootCertStore::empty();
        authorities.add(authority.self_signed(&pair)?.der().clone())?;
        let (chain, fingerprint) = own_chain(cluster, &key, &Issuer::new(authority, pair))?;
        let shown = Shown {
            chain,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            authorities: Arc::new(authorities),
            revoked: Vec::new(),
        };
        Self::of(shown, cluster, fingerprint, None, None)
    }

    fn of(
        shown: Shown,
        cluster: &str,
        fingerprint: Fingerprint,
        dates: Option<Dates>,
        source: Option<Source>,
    ) -> Result<Self, ClusterIdentityError> {
        let key = shown.key.clone_key();
        let (tls, id) = (Tls::new(shown)?, HostId::of(&fingerprint));
        let cluster = cluster.to_owned();
        Ok(ClusterIdentity(Arc::new(Parts { cluster, id, fingerprint, dates, key, tls, source })))
    }

    /// The fingerprint of its key: the first half of it is the host's id.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    pub(crate) fn id(&self) -> HostId {
        self.0.id
    }

    /// Whether it is made of the cluster's secret.
    pub(crate) fn is_of_secret(&self) -> bool {
        self.0.source.is_none()
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// When its certificate ends, if it does.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        self.0.dates.as_ref().map(|dates| dates.end().into())
    }

    /// What is to be said of the time in which the certificate is valid, if something is.
    pub(crate) fn untimely(&self) -> Option<String> {
        let dates = self.0.dates.as_ref()?;
        dates.warning(OffsetDateTime::now_utc(), ["the host's certificate for the cluster", "host"])
    }

    /// How it is dialed.
    pub(crate) fn server(&self) -> rustls::ServerConfig {
        self.0.tls.server()
    }

    /// How it dials.
    pub(crate) fn dial(&self) -> rustls::ClientConfig {
        self.0.tls.client()
    }

    /// The name by which the host with this id is dialed, and no other.
    pub(crate) fn name_of(&self, id: HostId) -> String {
        pki::host(id, &self.0.cluster)
    }

    /// The name by which a host of the cluster is dialed whose id is not known.
    pub(crate) fn any_host(&self) -> String {
        pki::any_host(&self.0.cluster)
    }

    /// The host that `chain` is of, which TLS has judged: its certificate has both names, one with the id of its
    /// key.
    ///
    /// # Errors
    /// It is none of a host of this cluster.
    pub(crate) fn host_in(&self, chain: &[CertificateDer<'_>]) -> Result<HostId, NotAHost> {
        let certificate = chain.first().ok_or(NotAHost::NoCertificate)?;
        let key = Fingerprint::of(certificate).ok_or(NotAHost::Broken)?;
        let parsed = ParsedCertificate::try_from(certificate).map_err(|_| NotAHost::Broken)?;
        let id = HostId::of(&key);
        for name in [self.name_of(id), self.any_host()] {
            let name = ServerName::try_from(name).map_err(|_| NotAHost::Broken)?;
            verify_server_name(&parsed, &name)
                .map_err(|_| NotAHost::Unnamed { key, cluster: self.0.cluster.clone() })?;
        }
        Ok(id)
    }

    /// Whether a connection would be made to who shows `chain`: the host that it is.
    ///
    /// # Errors
    /// It would not, as when its certificate has been revoked.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<HostId, NotAHost> {
        self.0.tls.judge(chain, UnixTime::now())?;
        self.host_in(chain)
    }

    /// 32 bytes for one purpose, which this host has in each of its lives and nobody else knows.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        secret::derive(b"killick host key", self.0.key.secret_der(), &[purpose.as_bytes()])
    }
}

impl fmt::Debug for ClusterIdentity {
    /// Not the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { cluster, fingerprint, .. } = &*self.0;
        f.debug_tuple("ClusterIdentity").field(cluster).field(fingerprint).finish()
    }
}

/// The certificate that a host makes for itself, and the fingerprint of its key.
fn own_chain(
    cluster: &str,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(Vec<CertificateDer<'static>>, Fingerprint), rcgen::Error> {
    let fingerprint = Fingerprint::of_key(&rcgen::PublicKeyData::subject_public_key_info(key));
    let id = HostId::of(&fingerprint);
    let name = |name: String| Ok::<_, rcgen::Error>(SanType::DnsName(name.try_into()?));
    let wanted = pki::Wanted {
        name: id.to_string(),
        at: vec![name(pki::host(id, cluster))?, name(pki::any_host(cluster))?],
        serves: true,
        valid: (OffsetDateTime::UNIX_EPOCH, pki::NEVER),
    };
    Ok((vec![pki::sign(wanted, key, issuer)?.der().clone()], fingerprint))
}
