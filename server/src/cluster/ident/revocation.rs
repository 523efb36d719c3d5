//! The lists of revoked certificates in an identity's folder.

use std::fs;
use std::io;
use std::path::Path;

use killick_client::internal::read_certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ClusterIdentityError;
use crate::pki;

const LISTS: &str = "crl.pem";
const AUTHORITIES: &str = "ca.pem";

/// Reads the lists in `folder`: none if there is no file for them.
///
/// Each must be of one of the authorities there: by one that is not, TLS would take nobody's certificate.
pub(super) fn read(
    folder: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, ClusterIdentityError> {
    let path = folder.join(LISTS);
    let bad = |reason: String| ClusterIdentityError::List { path: path.clone(), reason };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(bad(error.to_string())),
    };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    let lists = lists.map_err(|error| bad(error.to_string()))?;
    if lists.is_empty() {
        return Err(bad("no list of revoked certificates in PEM".to_owned()));
    }
    let authorities = read_certificates(&folder.join(AUTHORITIES))?;
    // A list is found by its authority's name alone.
    if let Some(name) = twice(&authorities) {
        let why = format!("two authorities in {AUTHORITIES} are called {name}: no list is of one");
        return Err(bad(why));
    }
    let is_known = |list| authorities.iter().any(|authority| pki::is_signed_by(list, authority));
    match lists.iter().all(is_known) {
        true => Ok(lists),
        false => Err(bad(format!("a list of no authority in {AUTHORITIES}"))),
    }
}

/// The name of two authorities that have the same one, and not the same key.
fn twice(authorities: &[CertificateDer<'_>]) -> Option<String> {
    let parsed: Vec<_> = authorities
        .iter()
        .filter_map(|authority| X509Certificate::from_der(authority).ok())
        .map(|(_, parsed)| parsed)
        .collect();
    let clash = |one: &X509Certificate<'_>, other: &X509Certificate<'_>| {
        one.subject() == other.subject() && one.public_key() != other.public_key()
    };
    let found = parsed.iter().find(|one| parsed.iter().any(|other| clash(one, other)))?;
    Some(found.subject().to_string())
}
