//! Whom a host takes for one, and what is no identity.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::testing::{CLUSTER, Ca, For, Issued};
use super::*;

/// What a host shows.
fn chain(identity: &ClusterIdentity) -> &[CertificateDer<'static>] {
    identity.0.tls.chain()
}

fn shown_by(issued: &Issued) -> Vec<CertificateDer<'static>> {
    Identity::load(&issued.path).expect("an identity").chain().to_vec()
}

/// Why there is no identity in a folder.
#[track_caller]
fn refused(issued: &Issued, why: &str) {
    let error = ClusterIdentity::load(&issued.path, CLUSTER).expect_err(why).to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn hosts_of_one_authority_take_each_other_and_no_client() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let (a, b) = (ca.host("a"), ca.host("b"));
    assert_eq!(a.judge(chain(&b)), Ok(b.id()));
    assert_eq!(b.judge(chain(&a)), Ok(a.id()));
    assert!(b.fingerprint().to_string().starts_with(&b.id().to_string()));
    assert_eq!(a.judge(&[]), Err(NotAHost::NoCertificate));
    assert_eq!(a.host_in(&[CertificateDer::from(vec![1])]), Err(NotAHost::Broken));

    // TLS takes it, and it is no host.
    let client = shown_by(&ca.issue("client", For::Client));
    assert!(matches!(a.judge(&client), Err(NotAHost::Unnamed { .. })));
    // As is the host of another cluster of this authority.
    let key = pki::fresh_key().expect("a key");
    let foreign = ca.issue_key("foreign", For::Host, &key, "c2");
    foreign.write("ca.pem", &ca.pem());
    assert!(matches!(a.judge(&shown_by(&foreign)), Err(NotAHost::Unnamed { .. })));
    // TLS takes none of these.
    let stranger = other.host("stranger");
    let expired = ca.issue("expired", For::ExpiredHost);
    for chain in [chain(&stranger), &shown_by(&expired)] {
        assert!(matches!(a.judge(chain), Err(NotAHost::Refused(_))));
    }
}

#[test]
fn a_certificate_with_the_id_of_another_key_is_no_hosts() {
    let ca = Ca::new("ca");
    let a = ca.host("a");
    // Names of a host, but of another one.
    let key = pki::fresh_key().expect("a key");
    let dns = |name: String| SanType::DnsName(name.try_into().expect("a name"));
    let wanted = pki::Wanted {
        name: "thief".to_owned(),
        at: vec![dns(a.name_of(a.id())), dns(a.any_host())],
        serves: true,
        valid: pki::from_now(1),
    };
    let params = pki::authority("thief", pki::from_now(1));
    let issuer = Issuer::new(params, pki::fresh_key().expect("a key"));
    let stolen = pki::sign(wanted, &key, &issuer).expect("signed");
    assert!(matches!(a.host_in(&[stolen.der().clone()]), Err(NotAHost::Unnamed { .. })));
}

#[test]
fn what_the_other_hosts_would_not_take_is_no_identity() {
    let mut ca = Ca::new("ca");
    let other = Ca::new("other");
    refused(&ca.issue("client", For::Client), "none of a host of the cluster c1");
    let host = ca.issue("host", For::Host);
    let error = ClusterIdentity::load(&host.path, "c2").expect_err("of c1");
    assert!(matches!(error, ClusterIdentityError::Refused { .. }), "{error}");
    let error = ClusterIdentity::load(&host.path, "C").expect_err("no name");
    assert!(matches!(error, ClusterIdentityError::Name(_)), "{error}");
    host.write("ca.pem", &other.pem());
    refused(&host, "of no authority in ca.pem");
    host.write("ca.pem", &ca.pem());
    host.load();
    let list = ca.revoke(&host);
    host.write("crl.pem", &list);
    refused(&host, "has been revoked");
}

#[test]
fn a_list_of_revoked_certificates_is_of_an_authority_that_is_known_by_its_name() {
    let (mut ca, mut other, mut twin) = (Ca::new("ca"), Ca::new("other"), Ca::new("ca"));
    let host = ca.issue("host", For::Host);
    for (list, why) in [
        ("", "no list of revoked certificates"),
        ("-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n", "crl.pem: "),
        (&other.revoke(&host), "a list of no authority"),
        (&twin.revoke(&host), "a list of no authority"),
    ] {
        host.write("crl.pem", list);
        refused(&host, why);
    }
    let victim = ca.issue("victim", For::Host);
    host.write("crl.pem", &ca.revoke(&victim));
    let identity = host.load();
    let revoked = identity.judge(&shown_by(&victim));
    assert_eq!(
        revoked.map_err(|why| why.to_string()),
        Err("the certificate has been revoked".into())
    );
    host.write("ca.pem", &(ca.pem() + &twin.pem()));
    refused(&host, "two authorities in ca.pem are called");
}

#[test]
fn with_two_roots_hosts_of_both_are_taken_and_one_list_is_enough() {
    let (mut ca, other) = (Ca::new("ca"), Ca::new("other"));
    let (host, victim) = (ca.issue("host", For::Host), ca.issue("victim", For::Host));
    let theirs = other.host("theirs");
    assert!(host.load().judge(chain(&theirs)).is_err());
    host.write("ca.pem", &(ca.pem() + &other.pem()));
    host.write("crl.pem", &ca.revoke(&victim));
    let both = host.load();
    assert_eq!(both.judge(chain(&theirs)), Ok(theirs.id()));
    assert!(both.judge(&shown_by(&victim)).is_err());
}

#[test]
fn hosts_with_one_secret_take_each_other_and_keep_their_id_with_their_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/host.pem");
    let (secret, other) = (ClusterSecret::fresh(), ClusterSecret::fresh());
    let of = |secret, key| ClusterIdentity::from_secret(secret, CLUSTER, key).expect("a host");
    let (a, b) = (of(&secret, Some(&path)), of(&secret, None));
    assert_eq!((a.judge(chain(&b)), b.judge(chain(&a))), (Ok(b.id()), Ok(a.id())));
    assert_eq!((a.untimely(), a.ends()), (None, None));
    let mode = fs::metadata(&path).expect("made").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let again = of(&secret, Some(&path));
    assert_eq!((again.id(), again.derive("x")), (a.id(), a.derive("x")));
    assert_ne!(a.derive("x"), a.derive("y"));
    assert_ne!(a.derive("x"), b.derive("x"));
    assert!(a.judge(chain(&of(&other, None))).is_err());
    let elsewhere = ClusterIdentity::from_secret(&secret, "c2", None).expect("a host");
    assert!(a.judge(chain(&elsewhere)).is_err());

    let wrong = |why: &str| {
        let made = ClusterIdentity::from_secret(&secret, CLUSTER, Some(&path));
        let error = made.expect_err(why).to_string();
        assert!(error.contains(why) && error.contains("host.pem"), "{error}");
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
    wrong("others may use this key (mode 0644");
    pki::replace(&folder.path().join("new"), "host.pem", "nothing").expect("written");
    wrong("no private key in PEM");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    pki::replace(&folder.path().join("new"), "host.pem", &key.serialize_pem()).expect("written");
    wrong("not an ed25519 key");
}

#[test]
fn a_certificate_near_its_end_is_told() {
    let ca = Ca::new("ca");
    let told = |issued: Issued| issued.load().untimely().expect("a warning");
    assert!(told(ca.issue("host", For::Host)).ends_with(" ends in 9 days"));
    // It is let start all the same: its certificate can be renewed then.
    assert!(told(ca.issue("expired", For::ExpiredHost)).ends_with("no host will take it"));
}

#[test]
fn what_changes_in_the_folder_is_read_once_it_is_steady_and_what_is_broken_is_told_once() {
    let mut ca = Ca::new("ca");
    let (a, b) = (ca.issue("a", For::Host), ca.issue("b", For::Host));
    let (shown, mut lookout) = (a.load(), Lookout::default());
    // How often there is something, and the last of it.
    let mut looks = |identity: &ClusterIdentity| {
        let told: Vec<_> = (0..5).filter_map(|_| lookout.look(identity)).collect();
        (told.len(), told.into_iter().next_back())
    };
    assert!(matches!(looks(&shown), (0, None)));

    a.write("crl.pem", "no list");
    let (count, told) = looks(&shown);
    assert!(matches!((count, told), (1, Some(Err(ClusterIdentityError::List { .. })))));
    assert!(matches!(looks(&shown), (0, None)), "it has been told");
    a.write("crl.pem", "none either");
    assert!(matches!(looks(&shown), (1, Some(Err(_)))), "it is another one");

    a.write("crl.pem", &ca.revoke(&b));
    let (count, told) = looks(&shown);
    assert_eq!(count, 1);
    let newer = told.expect("told").expect("an identity");
    assert!(matches!(newer.judge(&shown_by(&b)), Err(NotAHost::Refused(_))));
    assert_eq!(shown.judge(&shown_by(&b)), Ok(b.load().id()));
    assert!(matches!(looks(&newer), (0, None)), "it is what is there");

    // A file of the same size at the same place, and one that is gone.
    let list = fs::read(a.path.join("crl.pem")).expect("read");
    fs::write(a.path.join("crl.pem"), &list).expect("written");
    let (count, again) = looks(&newer);
    assert_eq!(count, 1);
    let again = again.expect("told").expect("an identity");
    fs::remove_file(a.path.join("crl.pem")).expect("removed");
    let (count, told) = looks(&again);
    let free = told.expect("told").expect("an identity");
    assert_eq!((count, free.judge(&shown_by(&b))), (1, Ok(b.load().id())));
}

#[test]
fn what_is_still_being_written_is_not_read() {
    let ca = Ca::new("ca");
    let a = ca.issue("a", For::Host);
    let (shown, mut lookout) = (a.load(), Lookout::default());
    for text in ["one", "three", "fifteen"] {
        a.write("crl.pem", text);
        assert!(lookout.look(&shown).is_none());
    }
    assert!(lookout.look(&shown).is_some());
    let secret = ClusterIdentity::from_secret(&ClusterSecret::fresh(), CLUSTER, None);
    assert!(lookout.look(&secret.expect("an identity")).is_none(), "it has no folder");
}
