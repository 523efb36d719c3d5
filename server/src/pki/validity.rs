//! From when to when certificates are valid, by this machine's clock.

use std::fmt;
use std::path::PathBuf;

use killick_client::Identity;
use killick_client::internal::read_certificates;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How long before its end a certificate is worth a warning.
const SOON: Duration = Duration::days(30);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second of it.
    pub begin: OffsetDateTime,
    /// The last one.
    pub end: OffsetDateTime,
}

/// What is to be known of a certificate's time. Displays what follows its name in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Untimely {
    /// It is not valid yet: it was made by another clock than this one, which may be wrong.
    NotYet {
        /// From when on it is.
        begin: OffsetDateTime,
        /// What this machine's clock says.
        now: OffsetDateTime,
    },
    /// It ends in less than 30 days.
    Soon {
        /// In how many.
        days: i64,
    },
    /// It has ended, or this machine's clock is wrong.
    Ended {
        /// When it has.
        end: OffsetDateTime,
        /// What this machine's clock says.
        now: OffsetDateTime,
    },
}

impl Validity {
    /// That of a certificate that makes sense.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Validity { begin: validity.not_before.to_datetime(), end: validity.not_after.to_datetime() }
    }

    /// What is to be known of it at `now`, if something is.
    pub fn at(&self, now: OffsetDateTime) -> Option<Untimely> {
        let Validity { begin, end } = *self;
        match end - now {
            _ if now < begin => Some(Untimely::NotYet { begin, now }),
            left if left < Duration::ZERO => Some(Untimely::Ended { end, now }),
            left if left < SOON => Some(Untimely::Soon { days: left.whole_days() }),
            _ => None,
        }
    }

    /// When both are valid.
    fn and(self, other: Self) -> Self {
        Validity { begin: self.begin.max(other.begin), end: self.end.min(other.end) }
    }
}

impl fmt::Display for Untimely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |now: &OffsetDateTime| {
            format!("this machine's clock says {}, which may be wrong", second(*now))
        };
        match self {
            Untimely::NotYet { begin, now } => {
                write!(f, "is not valid before {}, and {}", second(*begin), clock(now))
            }
            Untimely::Soon { days } => write!(f, "ends in {days} days"),
            Untimely::Ended { end, now } => {
                let (days, end) = ((*now - *end).whole_days(), second(*end));
                write!(f, "has ended {days} days ago, at {end}, and {}", clock(now))
            }
        }
    }
}

/// A time, to the second.
fn second(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.time().as_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
}

/// When an identity is of use: by what it shows, and by the authority that has signed that.
#[derive(Clone, Debug)]
pub(crate) struct Dates {
    folder: PathBuf,
    shown: Validity,
    /// The certificates of that authority: it may have renewed its own.
    authorities: Vec<Validity>,
}

impl Dates {
    /// Those of an identity whose certificates make sense.
    pub(crate) fn of(identity: &Identity) -> Option<Self> {
        let parse = |der| X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed);
        let chain: Option<Vec<_>> = identity.chain().iter().map(|der| parse(der)).collect();
        let chain = chain?;
        let shown = chain.iter().map(Validity::of).reduce(Validity::and)?;
        let folder = identity.folder().to_owned();
        let roots = read_certificates(&folder.join("ca.pem")).unwrap_or_default();
        let has_signed = |root: &X509Certificate<'_>| {
            chain.last().is_some_and(|last| {
                let signed = || last.verify_signature(Some(root.public_key())).is_ok();
                last.issuer() == root.subject() && signed()
            })
        };
        let roots = roots.iter().filter_map(|der| parse(der)).filter(has_signed);
        let authorities = roots.map(|root| Validity::of(&root)).collect();
        Some(Dates { folder, shown, authorities })
    }

    /// The end of what it shows.
    #[cfg(feature = "cluster")]
    pub(crate) fn end(&self) -> OffsetDateTime {
        self.shown.end
    }

    /// What is to be said at `now`, if something is: of `what`, its certificate, and of `who` does not take it then.
    pub(crate) fn warning(&self, now: OffsetDateTime, [what, who]: [&str; 2]) -> Option<String> {
        let in_file = |name: &str| self.folder.join(name).display().to_string();
        if let Some(untimely) = self.shown.at(now) {
            let warning = format!("{}: {what} {untimely}", in_file("cert.pem"));
            return Some(match untimely {
                Untimely::Soon { .. } => warning,
                _ => format!("{warning}: no {who} will take it"),
            });
        }
        // One that is valid is enough.
        let untimely: Option<Vec<_>> = self.authorities.iter().map(|one| one.at(now)).collect();
        let untimely = untimely?.pop()?;
        Some(format!("{}: the authority that has signed {what} {untimely}", in_file("ca.pem")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const DAY: Duration = Duration::DAY;
    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn valid(from: Duration, to: Duration) -> Validity {
        Validity { begin: NOW + from, end: NOW + to }
    }

    #[test]
    fn a_certificate_is_told_of_before_its_time_near_its_end_and_after_it() {
        assert_eq!(valid(-DAY, 31 * DAY).at(NOW), None);
        assert_eq!(valid(Duration::ZERO, 31 * DAY).at(NOW), None, "the first second is in it");
        for (validity, words) in [
            (
                valid(Duration::SECOND, 10 * DAY),
                "is not valid before 1970-01-01 00:00:01 UTC, and this machine's clock says \
                 1970-01-01 00:00:00 UTC, which may be wrong",
            ),
            (valid(-DAY, Duration::ZERO), "ends in 0 days"),
            (valid(-DAY, 30 * DAY - Duration::SECOND), "ends in 29 days"),
            (
                valid(-DAY, -Duration::SECOND),
                "has ended 0 days ago, at 1969-12-31 23:59:59 UTC, and this machine's clock says 1970-01-01 \
                 00:00:00 UTC, which may be wrong",
            ),
        ] {
            assert_eq!(validity.at(NOW).expect(words).to_string(), words);
        }
    }

    #[test]
    fn an_authority_is_told_of_unless_one_of_its_certificates_is_valid() {
        let good = valid(-DAY, 100 * DAY);
        let warning = |shown: Validity, authorities: &[Validity]| {
            let (folder, authorities) = (Path::new("/x").to_owned(), authorities.to_owned());
            Dates { folder, shown, authorities }.warning(NOW, ["a certificate", "host"])
        };
        let (early, late) = (valid(DAY, 100 * DAY), valid(-9 * DAY, -DAY));
        assert_eq!(warning(good, &[]), None);
        assert_eq!(warning(good, &[early, good, late]), None);
        let told = warning(good, &[late, early]).expect("a warning");
        assert!(
            told.starts_with("/x/ca.pem: the authority that has signed a certificate is not valid before 1970-01-02 "),
            "{told}"
        );
        let told = warning(early, &[early]).expect("a warning");
        assert!(told.starts_with("/x/cert.pem: a certificate is not valid before "), "{told}");
        assert!(told.ends_with("may be wrong: no host will take it"), "{told}");
    }
}
