//! Authorities of tests, and the folders of their hosts and clients.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{Certificate, Issuer, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::ClusterIdentity;
use crate::pki::{self, Revoked};
use killick_client::Fingerprint;

/// The cluster of all tests.
pub(crate) const CLUSTER: &str = "c1";

/// What a test's certificate is for, and when.
#[derive(Clone, Copy)]
pub(crate) enum For {
    Host,
    ExpiredHost,
    Client,
}

/// An authority.
pub(crate) struct Ca {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    revoked: Revoked,
}

/// The folder of a host or client.
pub(crate) struct Issued {
    pub(crate) path: PathBuf,
}

fn write(path: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::create_dir_all(path).expect("a folder");
        pki::replace(path, name, text).expect("written");
    }
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let params = pki::authority(name, pki::from_now(10));
        let key = pki::fresh_key().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let issuer = Issuer::new(params, key);
        let folder = tempfile::tempdir().expect("a folder");
        Ca { folder, issuer, certificate, revoked: Revoked::default() }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A new key, and its certificate, in a folder of their own.
    pub(crate) fn issue(&self, name: &str, what: For) -> Issued {
        let issued = self.issue_key(name, what, &pki::fresh_key().expect("a key"), CLUSTER);
        write(&issued.path, &[("ca.pem", &self.pem())]);
        issued
    }

    /// The same for this key, and a host's of this cluster.
    pub(crate) fn issue_key(&self, name: &str, what: For, key: &KeyPair, cluster: &str) -> Issued {
        let fingerprint = Fingerprint::of_key(&key.subject_public_key_info());
        let now = OffsetDateTime::now_utc();
        let dns = |name: String| SanType::DnsName(name.try_into().expect("a name"));
        let at = [pki::host(pki::host_id(&fingerprint), cluster), pki::any_host(cluster)];
        let wanted = pki::Wanted {
            name: name.to_owned(),
            at: match what {
                For::Client => Vec::new(),
                _ => at.into_iter().map(dns).collect(),
            },
            serves: !matches!(what, For::Client),
            valid: match what {
                For::ExpiredHost => (now - Duration::DAY, now - Duration::HOUR),
                _ => pki::from_now(10),
            },
        };
        let certificate = pki::sign(wanted, key, &self.issuer).expect("signed").pem();
        let path = self.folder.path().join(name);
        write(&path, &[("cert.pem", &certificate), ("key.pem", &key.serialize_pem())]);
        Issued { path }
    }

    /// An identity of a new host.
    pub(crate) fn host(&self, name: &str) -> ClusterIdentity {
        self.issue(name, For::Host).load()
    }

    /// The list of the revoked, with this one's certificate in it.
    pub(crate) fn revoke(&mut self, issued: &Issued) -> String {
        let pem = fs::read(issued.path.join("cert.pem")).expect("read");
        let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        self.revoked.add(parsed.raw_serial(), OffsetDateTime::now_utc());
        self.revoked.sign(&self.issuer).expect("signed")
    }
}

impl Issued {
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.path, &[(name, text)]);
    }

    pub(crate) fn load(&self) -> ClusterIdentity {
        ClusterIdentity::load(&self.path, CLUSTER).expect("an identity")
    }
}
