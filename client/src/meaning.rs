//! What the words mean that a TLS handshake ends with, for those who have the files.

/// The certificate of `peer` ("the server's") is not taken by `own` ("your") authorities.
const JUDGED: [(&str, &str); 2] = [
    ("UnknownIssuer", "is of no authority in"),
    ("BadSignature", "is of another authority than the one with the same name in"),
];

/// The other side says so of one's own.
const ALERTS: [(&str, &str); 2] = [
    ("UnknownCA", "is of no authority in"),
    ("DecryptError", "is of another authority than the one with the same name in"),
];

/// What else that may come from.
const WRONG: &str = "one of the two clocks may be wrong";

/// It is not valid by `own` clock, or by `peer`'s.
const TIMES: [(&str, &str); 2] =
    [("certificate expired", "has ended"), ("certificate not valid yet", "is not valid yet")];

/// What the end of a handshake with `words` means, if it takes words to say: to whom the other side is `peer`,
/// as in "the server's", and this one is `own`, as in "your".
pub fn meaning(words: &str, peer: &str, own: &str) -> Option<String> {
    let find = |table: &[(&str, &'static str)], start: &str| {
        let rest = words.split_once(start)?.1;
        table.iter().find(|(name, _)| rest.starts_with(name)).map(|(_, means)| *means)
    };
    let judged = "invalid peer certificate: ";
    if let Some(means) = find(&JUDGED, judged) {
        return Some(format!("{peer} certificate {means} {own} ca.pem"));
    }
    if let Some(means) = find(&TIMES, judged) {
        return Some(format!("{peer} certificate {means} by {own} clock: {WRONG}"));
    }
    let alert = "received fatal alert: ";
    if let Some(means) = find(&ALERTS, alert) {
        return Some(format!("{own} certificate {means} {peer} ca.pem"));
    }
    if find(&[("CertificateExpired", "")], alert).is_some() {
        return Some(format!(
            "{own} certificate is not valid at this time by {peer} clock: {WRONG}"
        ));
    }
    let others = [
        ("UnsupportedCertificate", "is not one for this side"),
        ("BadCertificate", "does not have the name that it was called by, or is broken"),
    ];
    find(&others, alert).map(|means| format!("{own} certificate {means}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_with_whose_it_is_and_by_which_file() {
        let told = |words| meaning(words, "the server's", "your");
        for (words, means) in [
            (
                "invalid peer certificate: UnknownIssuer",
                "the server's certificate is of no authority in your ca.pem",
            ),
            (
                "received fatal alert: UnknownCA",
                "your certificate is of no authority in the server's ca.pem",
            ),
            (
                "received fatal alert: CertificateExpired",
                "your certificate is not valid at this time by the server's clock: one of the two clocks may be wrong",
            ),
            (
                "invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but …",
                "the server's certificate is not valid yet by your clock: one of the two clocks may be wrong",
            ),
            (
                "invalid peer certificate: certificate expired: verification time 3 (UNIX), but …",
                "the server's certificate has ended by your clock: one of the two clocks may be wrong",
            ),
        ] {
            assert_eq!(told(words).as_deref(), Some(means));
        }
        assert_eq!(told("received fatal alert: InternalError"), None);
        assert_eq!(told("connection refused"), None);
    }
}
