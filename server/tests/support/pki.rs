//! Authorities, and identities of any validity, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use killick_server::{Fingerprint, Identity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PKCS_ED25519, PublicKeyData,
};
use time::{Duration, OffsetDateTime};

/// From when to when something is valid, in days from now.
pub type Days = (i64, i64);
pub const VALID: Days = (-1, 100);
pub const EXPIRED: Days = (-10, -1);
pub const NOT_YET: Days = (1, 10);

/// What a certificate is for.
#[derive(Clone, Copy)]
pub enum For<'a> {
    Client,
    /// A server of this name.
    Host(&'a str),
}

/// An authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn params(name: &str, (from, to): Days) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() + Duration::days(from);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(to);
    params
}

/// A key as OpenSSL 3.0 reads it: in the first version of PKCS#8, which has no public half.
fn key() -> KeyPair {
    let whole = KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_der();
    let mut first = whole[..48].to_vec();
    // The length of all, and the version.
    (first[1], first[4]) = (46, 0);
    KeyPair::try_from(first).expect("the same key")
}

impl Ca {
    pub fn new() -> Self {
        let mut params = params("test CA", VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let pem = params.self_signed(&key).expect("signed").pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `key`, in PEM.
    fn sign(&self, key: &KeyPair, purpose: For<'_>, days: Days) -> String {
        let mut params = params("test", days);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let For::Host(name) = purpose {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names =
                CertificateParams::new([name.to_owned()]).expect("a name").subject_alt_names;
        }
        params.use_authority_key_identifier_extension = true;
        params.signed_by(key, &self.issuer).expect("signed").pem()
    }

    /// A new identity in `folder/name`, which trusts this authority.
    pub fn issue(&self, folder: &Path, name: &str, purpose: For<'_>, days: Days) -> Issued {
        let (key, path) = (key(), folder.join(name));
        let certificate = self.sign(&key, purpose, days);
        fs::create_dir_all(&path).expect("a folder");
        let write = |name: &str, text: &str| {
            fs::write(path.join(name), text).expect("written");
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(path.join(name), private).expect("private");
        };
        write("ca.pem", &self.pem);
        write("cert.pem", &certificate);
        write("key.pem", &key.serialize_pem());
        let fingerprint = Fingerprint::of_key(&key.subject_public_key_info());
        let identity = Identity::load(&path).expect("an identity");
        Issued { path, fingerprint, identity }
    }
}

/// An identity, and where it lies.
pub struct Issued {
    pub path: PathBuf,
    pub fingerprint: Fingerprint,
    pub identity: Identity,
}
