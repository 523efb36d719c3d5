//! Why a host has no identity, and why another is none.

use std::fmt;
use std::path::{Path, PathBuf};

use killick_client::{Fingerprint, IdentityError};
use rustls::CertificateError;

use crate::pki::ClusterNameError;

/// Why a host has no identity in a cluster.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterIdentityError {
    /// The cluster's name is none.
    Name(ClusterNameError),
    /// A file of its folder is not there, or not what it should be.
    Identity(IdentityError),
    /// The certificate is none of a host of the cluster, or no other host would take it.
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The lists of revoked certificates are of no use.
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key's file holds no key of the kind that is made here, or cannot be made.
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS makes nothing of it.
    Tls(String),
}

impl ClusterIdentityError {
    /// The certificate in `folder` is not what it should be.
    pub(super) fn refused(folder: &Path, why: NotAHost) -> Self {
        ClusterIdentityError::Refused { path: folder.to_owned(), reason: why.to_string() }
    }
}

impl fmt::Display for ClusterIdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterIdentityError::Name(error) => error.fmt(f),
            ClusterIdentityError::Identity(error) => error.fmt(f),
            ClusterIdentityError::Refused { path, reason }
            | ClusterIdentityError::List { path, reason }
            | ClusterIdentityError::Key { path, reason } => {
                write!(f, "{}: {reason}", path.display())
            }
            ClusterIdentityError::Tls(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ClusterIdentityError {}

impl From<ClusterNameError> for ClusterIdentityError {
    fn from(error: ClusterNameError) -> Self {
        ClusterIdentityError::Name(error)
    }
}

impl From<IdentityError> for ClusterIdentityError {
    fn from(error: IdentityError) -> Self {
        ClusterIdentityError::Identity(error)
    }
}

impl From<rcgen::Error> for ClusterIdentityError {
    fn from(error: rcgen::Error) -> Self {
        ClusterIdentityError::Tls(error.to_string())
    }
}

impl From<rustls::Error> for ClusterIdentityError {
    fn from(error: rustls::Error) -> Self {
        ClusterIdentityError::Tls(error.to_string())
    }
}

/// Why somebody is no host of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NotAHost {
    /// It shows no certificate.
    NoCertificate,
    /// What it shows is none.
    Broken,
    /// Its certificate does not have the names of a host of this cluster, with the id of its key.
    Unnamed { key: Fingerprint, cluster: String },
    /// TLS does not take its certificate.
    Refused(rustls::Error),
}

impl fmt::Display for NotAHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAHost::NoCertificate => f.write_str("no certificate"),
            NotAHost::Broken => f.write_str("the certificate makes no sense"),
            NotAHost::Unnamed { key, cluster } => write!(
                f,
                "the certificate for the key {key} is none of a host of the cluster {cluster}: \
                 'killick cert host --cluster {cluster}' makes those"
            ),
            NotAHost::Refused(rustls::Error::InvalidCertificate(error)) => match error {
                CertificateError::Revoked => f.write_str("the certificate has been revoked"),
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    f.write_str("the certificate is of no authority in ca.pem")
                }
                error => write!(f, "the certificate is not taken: {error}"),
            },
            NotAHost::Refused(error) => error.fmt(f),
        }
    }
}
