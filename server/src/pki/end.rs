//! When certificates end.

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How long before its end a certificate is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When a certificate ends.
pub(crate) fn end_of(certificate: &[u8]) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// What is to be said at `now` of `what`, a certificate that ends at `end`, if something is; and who will not
/// take it then.
pub(crate) fn warning(end: SystemTime, now: SystemTime, [what, who]: [&str; 2]) -> Option<String> {
    let days = |time: Duration| time.as_secs() / (24 * 60 * 60);
    match end.duration_since(now) {
        Ok(left) if left > SOON => None,
        Ok(left) => Some(format!("{what} ends in {} days", days(left))),
        Err(ago) => {
            let days = days(ago.duration());
            Some(format!("{what} has ended {days} days ago: no {who} will take it"))
        }
    }
}
