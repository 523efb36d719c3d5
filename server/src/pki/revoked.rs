//! The certificates that an authority has revoked.

use std::fmt;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::NEVER;

/// The list of the certificates that one authority has revoked, by their serial numbers.
#[derive(Default)]
pub struct Revoked {
    /// The number of the list: each is followed by a higher one.
    number: u64,
    entries: Vec<(Vec<u8>, OffsetDateTime)>,
}

impl Revoked {
    /// Reads the list in `pem`, which `authority` has signed.
    ///
    /// # Errors
    /// It is none, or another's, and why.
    pub fn read(pem: &[u8], authority: &CertificateDer<'_>) -> Result<Self, String> {
        let der = CertificateRevocationListDer::from_pem_slice(pem);
        let der = der.map_err(|_| "no list of revoked certificates in PEM")?;
        if !is_signed_by(&der, authority) {
            return Err("not signed by this authority".to_owned());
        }
        let (_, list) = parse(&der).ok_or("the list makes no sense")?;
        let number = list.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        let entry = |entry: &x509_parser::revocation_list::RevokedCertificate<'_>| {
            let at = OffsetDateTime::from_unix_timestamp(entry.revocation_date.timestamp());
            (entry.raw_serial().to_owned(), at.unwrap_or(OffsetDateTime::UNIX_EPOCH))
        };
        Ok(Revoked { number, entries: list.iter_revoked_certificates().map(entry).collect() })
    }

    /// Adds the certificate with this serial number: since when it is revoked.
    pub fn add(&mut self, serial: &[u8], now: OffsetDateTime) -> OffsetDateTime {
        if let Some((_, since)) = self.entries.iter().find(|(known, _)| known == serial) {
            return *since;
        }
        self.entries.push((serial.to_owned(), now));
        now
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The list, signed, in PEM.
    pub fn sign(&self, issuer: &Issuer<'_, KeyPair>) -> Result<String, rcgen::Error> {
        let entry = |(serial, at): &(Vec<u8>, OffsetDateTime)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: *at,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: OffsetDateTime::now_utc(),
            // It holds until there is another.
            next_update: NEVER,
            crl_number: SerialNumber::from(self.number + 1),
            issuing_distribution_point: None,
            revoked_certs: self.entries.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer)?.pem()
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revoked").field(&self.entries.len()).finish()
    }
}

fn parse<'a>(
    der: &'a CertificateRevocationListDer<'_>,
) -> Option<(&'a [u8], CertificateRevocationList<'a>)> {
    CertificateRevocationList::from_der(der).ok()
}

/// Whether `authority` has signed this list.
pub(crate) fn is_signed_by(
    list: &CertificateRevocationListDer<'_>,
    authority: &CertificateDer<'_>,
) -> bool {
    let Some((_, list)) = parse(list) else { return false };
    let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
    list.issuer() == authority.subject() && list.verify_signature(authority.public_key()).is_ok()
}
