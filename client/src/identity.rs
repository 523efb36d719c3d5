//! Who a client, or a server, is over TLS: a key, its certificate, and the authorities that it trusts.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::version::TLS13;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

/// The files of an identity's folder.
const AUTHORITIES: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// What a key is known by: the SHA-256 of its public half, as certificates hold it
/// (`SubjectPublicKeyInfo`, DER). A certificate that is renewed for the same key has the same one.
///
/// It is written as 64 hex digits.
///
/// # Examples
/// ```
/// use killick_client::Fingerprint;
///
/// let text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// assert_eq!(text.parse::<Fingerprint>()?.to_string(), text);
/// assert!("0011".parse::<Fingerprint>().is_err());
/// # Ok::<(), killick_client::FingerprintError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of the key in `certificate`; none if it is not a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Some(Fingerprint::of_key(&parsed.subject_public_key_info()))
    }

    /// That of a public key, as DER.
    pub fn of_key(public: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, public);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Fingerprint(bytes)
    }

    /// That of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }

    /// Its bytes, those that its digits write.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first 16 digits: enough to tell apart the keys of people who mean well, in a log.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Why a text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FingerprintError {
    /// It has another number of characters than 64.
    Length(usize),
    /// A character is not a hex digit.
    NotHex(char),
}

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint has 64 hex digits, ")?;
        match self {
            FingerprintError::Length(length) => write!(f, "not {length}"),
            FingerprintError::NotHex(found) => write!(f, "and {found:?} is none"),
        }
    }
}

impl std::error::Error for FingerprintError {}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        if let Some(found) = text.chars().find(|found| !found.is_ascii_hexdigit()) {
            return Err(FingerprintError::NotHex(found));
        }
        if text.len() != 64 {
            return Err(FingerprintError::Length(text.len()));
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = digits.iter().filter_map(|&digit| char::from(digit).to_digit(16));
            *byte = digits.fold(0, |value, digit| value << 4 | digit as u8);
        }
        Ok(Fingerprint(bytes))
    }
}

/// A key, its certificate, and the authorities whose certificates it trusts: what both sides of a
/// `tls:` address need.
///
/// It is a folder with three files in PEM: `ca.pem`, the authorities; `cert.pem`, the certificate, those
/// between it and an authority after it; `key.pem`, the key, which nobody but its owner may read.
/// `killick cert client` and `killick cert host` make one.
///
/// # Examples
/// ```
/// use killick_client::{Identity, IdentityError};
///
/// let error = Identity::load("/nowhere".as_ref()).unwrap_err();
/// assert!(matches!(error, IdentityError::Io { .. }));
/// assert!(error.to_string().starts_with("/nowhere/key.pem: "));
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    folder: PathBuf,
    authorities: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
    client: Arc<ClientConfig>,
}

/// Why there is no identity in a folder.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// In the place of a file there is a folder, a pipe or a device: reading it might never end.
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Others may read the key, or change it.
    KeyOpen {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds nothing of the kind that it should, or something broken.
    BadPem {
        /// The file.
        path: PathBuf,
        /// What is expected there.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key is not the one that the certificate is for.
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        certificate: PathBuf,
    },
    /// Key, certificate and authorities are of no use to TLS.
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            IdentityError::NotAFile { path } => {
                write!(f, "{}: not a regular file", path.display())
            }
            IdentityError::KeyOpen { path, mode } => write!(
                f,
                "{}: others may use this key (mode {mode:04o}, wanted 0600): not used",
                path.display()
            ),
            IdentityError::BadPem { path, expected, reason } => {
                write!(f, "{}: no {expected} in PEM: {reason}", path.display())
            }
            IdentityError::KeyMismatch { key, certificate } => {
                write!(f, "{}: not the key of {}", key.display(), certificate.display())
            }
            IdentityError::Unusable { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IdentityError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl Identity {
    /// Reads the identity in `folder`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the file that it is wrong in. Whether the certificate is
    /// still valid is for the other side to judge.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let [authorities, certificate, key] =
            [AUTHORITIES, CERTIFICATE, KEY].map(|name| folder.join(name));
        let private = read_key(&key)?;
        let chain = read_certificates(&certificate)?;
        let mut roots = RootCertStore::empty();
        for root in read_certificates(&authorities)? {
            roots.add(root).map_err(|error| bad_certificate(&authorities, &error))?;
        }
        let fingerprint = chain.first().and_then(Fingerprint::of);
        let unusable = |reason: String| IdentityError::Unusable { path: folder.to_owned(), reason };
        let fingerprint = fingerprint.ok_or_else(|| IdentityError::BadPem {
            path: certificate.clone(),
            expected: "certificate",
            reason: "it is broken".to_owned(),
        })?;
        let authorities = Arc::new(roots);
        let client =
            client_config(&authorities, &chain, &private).map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    IdentityError::KeyMismatch { key, certificate }
                }
                error => unusable(error.to_string()),
            })?;
        let client = Arc::new(client);
        let folder = folder.to_owned();
        Ok(Identity(Arc::new(Parts {
            folder,
            authorities,
            chain,
            key: private,
            fingerprint,
            client,
        })))
    }

    /// The folder that it was read from, as that was given.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The fingerprint of its key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The authorities whose certificates it trusts.
    pub fn authorities(&self) -> &Arc<RootCertStore> {
        &self.0.authorities
    }

    /// Its certificate, and those between it and an authority.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.key
    }

    /// How it connects.
    pub(crate) fn client(&self) -> &Arc<ClientConfig> {
        &self.0.client
    }
}

impl fmt::Debug for Identity {
    /// Not the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.fingerprint).finish()
    }
}

/// TLS 1.3 alone, a certificate shown, the server's checked against the authorities and its name;
/// sessions are not taken up again, so that each connection is checked anew.
fn client_config(
    authorities: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(authorities.clone(), provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain.to_vec(), key.clone_key())?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Opens a file that ends: of a pipe even the opening may never end.
fn open(path: &Path) -> Result<fs::File, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.to_owned(), error };
    match fs::metadata(path).map_err(failed)?.is_file() {
        true => fs::File::open(path).map_err(failed),
        false => Err(IdentityError::NotAFile { path: path.to_owned() }),
    }
}

/// Reads a secret, which must be for its owner alone: of the system's own files a group may read it, which
/// is how it hands a service its secrets.
///
/// # Errors
/// It cannot be read, or others may read it.
pub fn read_private(path: &Path) -> Result<String, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.to_owned(), error };
    let file = open(path)?;
    let found = file.metadata().map_err(failed)?;
    let mode = found.permissions().mode() & 0o777;
    let forbidden = if found.uid() == 0 { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(IdentityError::KeyOpen { path: path.to_owned(), mode });
    }
    io::read_to_string(file).map_err(failed)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let text = read_private(path)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| IdentityError::BadPem {
        path: path.to_owned(),
        expected: "private key",
        reason: pem_reason(&error),
    })
}

/// Reads the certificates in the file at `path`.
///
/// # Errors
/// It cannot be read, or holds none, or a broken one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.to_owned(), error };
    let mut text = Vec::new();
    open(path)?.read_to_end(&mut text).map_err(failed)?;
    let bad =
        |reason| IdentityError::BadPem { path: path.to_owned(), expected: "certificate", reason };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| bad(pem_reason(&error)))?;
    match all.is_empty() {
        true => Err(bad("there is none".to_owned())),
        false => Ok(all),
    }
}

fn bad_certificate(path: &Path, error: &rustls::Error) -> IdentityError {
    let (path, reason) = (path.to_owned(), error.to_string());
    IdentityError::BadPem { path, expected: "certificate", reason }
}

fn pem_reason(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => "there is none".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_64_hex_digits_of_either_case_and_nothing_else() {
        let text = "0123456789abcdef".repeat(4);
        let read: Fingerprint = text.parse().expect("a fingerprint");
        assert_eq!((read.to_string(), read.short()), (text.clone(), "0123456789abcdef".into()));
        assert_eq!(text.to_uppercase().parse(), Ok(read));
        assert_eq!(text[1..].parse::<Fingerprint>(), Err(FingerprintError::Length(63)));
        assert_eq!("".parse::<Fingerprint>(), Err(FingerprintError::Length(0)));
        let colons = text.replace("ab", ":b");
        assert_eq!(colons.parse::<Fingerprint>(), Err(FingerprintError::NotHex(':')));
        let foreign = format!("{}é", &text[..62]);
        assert_eq!(foreign.parse::<Fingerprint>(), Err(FingerprintError::NotHex('é')));
    }
}
