//! ca, cert: what they make, renew and show, and what they leave as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::support::{at, has, run, told};

#[test]
fn what_is_made_is_for_its_user_alone_and_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let ca = ["ca", "new", "--out", "new/ca", "--name", "ours", "--days", "100"];
    at(path, &ca).ok();
    let host =
        ["cert", "host", "a.example", "192.0.2.7", "[::1]", "--ca", "new/ca", "--out", "host"];
    at(path, &host).ok();
    let client = ["cert", "client", "alice", "--ca", "new/ca", "--out", "alice"];
    at(path, &client).ok();
    let files = [
        "new/ca/ca.pem",
        "new/ca/ca-key.pem",
        "host/ca.pem",
        "host/cert.pem",
        "host/key.pem",
        "alice/ca.pem",
        "alice/cert.pem",
        "alice/key.pem",
    ];
    let read = || files.map(|file| fs::read_to_string(path.join(file)).expect(file));
    let before = read();
    for file in files {
        let mode = fs::metadata(path.join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for (again, file) in [(&ca[..], "ca-key.pem"), (&host, "key.pem"), (&client, "key.pem")] {
        let ran = at(path, again);
        assert!(ran.error(1).ends_with(&format!("{file}: already there, and not overwritten")));
    }
    // One of the files is enough to make none.
    fs::remove_file(path.join("alice/key.pem")).expect("removed");
    at(path, &client).error(1);
    assert!(!path.join("alice/key.pem").exists());
    fs::write(path.join("alice/key.pem"), &before[7]).expect("written");
    assert_eq!(read(), before);

    // A year is more than the authority has left.
    let ends = |file: &str| at(path, &["cert", "show", file, "--json"]).json()[0]["ends"].clone();
    assert_eq!(ends("alice"), ends("new/ca"));
    let shown = at(path, &["cert", "show", "host"]);
    assert_eq!(told(&shown, "names"), "a.example, 192.0.2.7, ::1");
    assert_eq!((told(&shown, "may"), told(&shown, "issuer")), ("serve, connect", "ours"));
    assert_eq!(told(&at(path, &["cert", "show", "alice/cert.pem"]), "may"), "connect");
    assert_eq!(told(&at(path, &["cert", "show", "new/ca"]), "may"), "sign");
}

#[test]
fn what_does_not_fit_on_the_disk_leaves_nothing_and_can_be_made_again() {
    if !has("unshare", &["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    at(folder.path(), &["ca", "new", "--out", "ca"]).ok();
    // Room for one file, which takes a page; and then for all of them.
    let script = "
mkdir disk && mount -t tmpfs -o size=4k none disk || exit 9
for what in 'ca new' 'cert host localhost --ca ca' 'cert client alice --ca ca'; do
    mount -o remount,size=4k none disk || exit 9
    $1 $what --out disk && exit 1
    ls -A disk
    mount -o remount,size=1m none disk
    $1 $what --out disk > made || exit 2
    rm disk/*
done";
    let mut unshare = Command::new("unshare");
    unshare.current_dir(folder.path()).args(["-rm", "sh", "-c", script, "sh"]);
    let ran = run(unshare.arg(env!("CARGO_BIN_EXE_killick")), b"");
    assert_eq!((ran.code, ran.text()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stderr.matches("No space left on device").count(), 3, "{ran:?}");
}

#[test]
fn a_certificate_near_its_end_says_so_and_is_renewed_with_the_same_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    at(path, &["ca", "new", "--out", "ca"]).ok();
    let make = ["cert", "host", "a.example", "--ca", "ca", "--out", "host", "--days", "12"];
    let made = at(path, &make);
    assert_eq!(told(&made, "warning"), "it ends in 11 days");
    let renewed = at(path, &["cert", "renew", "host", "--ca", "ca"]);
    for key in ["fingerprint", "subject", "names", "may"] {
        assert_eq!(told(&made, key), told(&renewed, key));
    }
    assert!(!renewed.ok().contains("warning"), "{renewed:?}");
    assert_eq!(at(path, &["cert", "show", "host"]).ok(), renewed.ok());
}

#[test]
fn a_certificate_is_renewed_only_by_an_authority_that_its_folder_trusts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    at(path, &["ca", "new", "--out", "ca"]).ok();
    at(path, &["ca", "new", "--out", "other"]).ok();
    at(path, &["cert", "client", "alice", "--ca", "ca", "--out", "alice"]).ok();
    let before = fs::read(path.join("alice/cert.pem")).expect("read");
    let renew = || at(path, &["cert", "renew", "alice", "--ca", "other"]);
    let ran = renew();
    let line = ran.error(1);
    assert!(line.starts_with("killick: alice/ca.pem: "), "{line}");
    assert!(line.contains("append other/ca.pem to it"), "{line}");
    assert_eq!(fs::read(path.join("alice/cert.pem")).expect("read"), before);
    // Both, as on the way from one to the other.
    let [ca, other] = ["ca/ca.pem", "other/ca.pem"]
        .map(|file| fs::read_to_string(path.join(file)).expect("read"));
    fs::write(path.join("alice/ca.pem"), ca + &other).expect("written");
    let line = renew().error(1).to_owned();
    assert!(
        line.ends_with("alice/cert.pem: not signed by the authority in other/ca.pem"),
        "{line}"
    );
    at(path, &["cert", "renew", "alice", "--ca", "other", "--signed-by", "ca"]).ok();
    renew().ok();
}

#[test]
fn what_somebody_has_put_into_a_folder_is_not_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for ca in ["ca", "mine"] {
        at(path, &["ca", "new", "--out", ca]).ok();
    }
    at(path, &["cert", "client", "alice", "--ca", "ca", "--out", "alice"]).ok();
    at(path, &["cert", "client", "bob", "--ca", "ca", "--out", "bob"]).ok();
    at(path, &["cert", "host", "db.example", "--ca", "mine", "--out", "host"]).ok();
    let renew = || at(path, &["cert", "renew", "alice", "--ca", "ca"]);
    let good = fs::read(path.join("alice/cert.pem")).expect("read");
    // A certificate of a host, with its key, that another authority has signed.
    for file in ["cert.pem", "key.pem"] {
        fs::copy(path.join("host").join(file), path.join("alice").join(file)).expect("copied");
    }
    assert!(renew().error(1).contains("not signed by the authority in ca/ca.pem"));
    // Her own, and the key of somebody else.
    fs::write(path.join("alice/cert.pem"), good).expect("written");
    fs::copy(path.join("bob/key.pem"), path.join("alice/key.pem")).expect("copied");
    assert!(renew().error(1).contains("alice/key.pem: not the key of alice/cert.pem"));
    let serial = |name: &str| {
        let text = fs::read(path.join(name).join("cert.pem")).expect("read");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).expect("PEM");
        pem.parse_x509().expect("a certificate").raw_serial_as_string()
    };
    let before = serial("bob");
    at(path, &["cert", "renew", "bob", "--ca", "ca"]).ok();
    assert_ne!(before, serial("bob"));
}

#[test]
fn what_makes_no_certificate_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    at(path, &["ca", "new", "--out", "ca"]).ok();
    at(path, &["cert", "client", "alice", "--ca", "ca", "--out", "alice"]).ok();
    for name in ["a b", "a/b", "..", ".", "", "a\\b", &"x".repeat(65)] {
        let ran = at(path, &["cert", "client", name, "--ca", "ca", "--out", "x"]);
        assert_eq!(ran.code, Some(2), "{name:?}: {ran:?}");
    }
    for name in ["not a name", "-", "a..b", "192.0.2"] {
        let ran = at(path, &["cert", "host", "--ca", "ca", "--out", "x", "--", name]);
        assert_eq!(ran.code, Some(2), "{name:?}: {ran:?}");
    }
    assert_eq!(at(path, &["ca", "new", "--days", "0"]).code, Some(2));
    assert_eq!(at(path, &["cert", "client", "a", "--out", "x", "--root", "a"]).code, Some(2));
    let make = |ca| at(path, &["cert", "client", "a", "--ca", ca, "--out", "x"]);
    assert!(make("nowhere").error(1).contains("nowhere/ca.pem: No such file"));
    // Not an authority's.
    fs::copy(path.join("alice/cert.pem"), path.join("alice/ca.pem")).expect("copied");
    fs::copy(path.join("alice/key.pem"), path.join("alice/ca-key.pem")).expect("copied");
    assert!(make("alice").error(1).contains("the certificate is no authority's"));
    fs::copy(path.join("ca/ca-key.pem"), path.join("alice/ca-key.pem")).expect("copied");
    assert!(make("alice").error(1).contains("ca-key.pem: not the key of alice/ca.pem"));
    let key = path.join("ca/ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("opened");
    assert!(make("ca").error(1).contains("others may use this key (mode 0640"));
    assert!(!path.join("x").exists());
    let shown = at(path, &["cert", "show", "ca/ca-key.pem"]);
    assert!(shown.error(1).ends_with("ca-key.pem: no certificate in PEM"), "{shown:?}");
}

#[test]
fn a_host_of_a_cluster_has_two_more_names_which_a_renewal_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    at(path, &["ca", "new", "--out", "ca"]).ok();
    let make = ["cert", "host", "a.example", "--cluster", "c1", "--ca", "ca", "--out", "host"];
    let made = at(path, &make);
    let id = &told(&made, "fingerprint")[..32];
    assert_eq!((told(&made, "host id"), told(&made, "cluster")), (id, "c1"));
    let names = format!("a.example, {id}.host.c1.killick.internal, host.c1.killick.internal");
    assert_eq!(told(&made, "names"), names);
    assert_eq!(told(&made, "may"), "serve, connect");
    at(path, &["cert", "renew", "host", "--ca", "ca"]).ok();
    let shown = at(path, &["cert", "show", "host"]);
    assert_eq!((told(&shown, "names"), told(&shown, "host id")), (&*names, id));
    let json = at(path, &["cert", "show", "host", "--json"]).json();
    assert_eq!((json[0]["host"].as_str(), json[0]["cluster"].as_str()), (Some(id), Some("c1")));

    // Those names alone are enough; a host of none has no id, and has to have names.
    let alone = at(path, &["cert", "host", "--cluster", "c1", "--ca", "ca", "--out", "alone"]);
    assert_eq!(told(&alone, "subject"), &told(&alone, "fingerprint")[..32]);
    let other = at(path, &["cert", "host", "a.example", "--ca", "ca", "--out", "other"]);
    assert!(!other.ok().contains("host id"), "{other:?}");
    assert_eq!(at(path, &["cert", "host", "--ca", "ca", "--out", "x"]).code, Some(2));
    for bad in ["", "a.b", "A", "-a", "a_b", &"x".repeat(64)] {
        let ran = at(path, &["cert", "host", "--cluster", bad, "--ca", "ca", "--out", "x"]);
        assert_eq!(ran.code, Some(2), "{bad:?}: {ran:?}");
    }
    assert!(!path.join("x").exists());
}

#[test]
fn what_is_revoked_stays_so_and_only_its_own_authority_can_say_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for ca in ["ca", "other"] {
        at(path, &["ca", "new", "--out", ca]).ok();
    }
    for name in ["a", "b"] {
        at(path, &["cert", "host", "--cluster", "c1", "--ca", "ca", "--out", name]).ok();
    }
    let revoke = |what: &str, ca: &str| at(path, &["ca", "revoke", what, "--ca", ca]);
    let line = revoke("a", "other").error(1).to_owned();
    assert!(line.ends_with("a/cert.pem: not signed by the authority in other/ca.pem"), "{line}");
    let line = revoke("ca", "ca").error(1).to_owned();
    assert!(line.contains("ca/ca.pem: an authority's"), "{line}");
    assert!(revoke("nowhere", "ca").error(1).contains("nowhere: No such file"));
    for ca in ["ca", "other"] {
        assert!(!path.join(ca).join("crl.pem").exists());
    }

    assert_eq!(told(&revoke("a", "ca"), "list"), "ca/crl.pem: copy it to every host");
    at(path, &["cert", "client", "alice", "--ca", "other", "--out", "alice"]).ok();
    let ran = revoke("alice", "other");
    assert!(told(&ran, "list").ends_with("line out of the authorized file"), "{ran:?}");
    fs::remove_file(path.join("other/crl.pem")).expect("removed");
    let count = |what: &str| {
        let ran = at(path, &["ca", "revoke", what, "--ca", "ca", "--json"]);
        ran.json()[0]["count"].as_u64()
    };
    // Once more is the same, and the first is not lost over the second.
    assert_eq!((count("a"), count("b/cert.pem"), count("a")), (Some(1), Some(2), Some(2)));
    let serials = || {
        let text = fs::read(path.join("ca/crl.pem")).expect("read");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).expect("PEM");
        let (_, list) = x509_parser::parse_x509_crl(&pem.contents).expect("a list");
        let found = list.iter_revoked_certificates().map(|entry| entry.raw_serial_as_string());
        found.collect::<Vec<_>>()
    };
    let serial = |name: &str| {
        let text = fs::read(path.join(name).join("cert.pem")).expect("read");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).expect("PEM");
        pem.parse_x509().expect("a certificate").raw_serial_as_string()
    };
    assert_eq!(serials(), [serial("a"), serial("b")]);
    if has("openssl", &["version"]) {
        let mut openssl = Command::new("openssl");
        let verify = ["crl", "-in", "ca/crl.pem", "-CAfile", "ca/ca.pem", "-noout", "-verify"];
        let ran = run(openssl.current_dir(path).args(verify), b"");
        assert!(ran.stderr.contains("verify OK"), "{ran:?}");
    }

    // A list of another's, or none at all, is not added to.
    let good = fs::read(path.join("ca/crl.pem")).expect("read");
    fs::write(path.join("other/crl.pem"), &good).expect("written");
    at(path, &["cert", "host", "--cluster", "c1", "--ca", "other", "--out", "c"]).ok();
    assert!(revoke("c", "other").error(1).ends_with("crl.pem: not signed by this authority"));
    assert_eq!(fs::read(path.join("other/crl.pem")).expect("read"), good);
    fs::write(path.join("ca/crl.pem"), "nothing").expect("written");
    assert!(revoke("a", "ca").error(1).ends_with("no list of revoked certificates in PEM"));
}

#[cfg(feature = "cluster")]
#[test]
fn a_secret_is_another_each_time_and_its_file_is_for_its_user_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let shown = at(path, &["secret"]);
    let text = shown.ok().trim_end();
    assert!(text.starts_with("killick-secret-") && text.len() == 87, "{shown:?}");
    assert_ne!(at(path, &["secret"]).ok(), shown.ok());
    let make = ["secret", "--out", "new/secret"];
    let made = at(path, &make);
    assert_eq!(told(&made, "secret"), "new/secret");
    let file = path.join("new/secret");
    let before = fs::read_to_string(&file).expect("read");
    assert!(before.starts_with("killick-secret-") && before.ends_with('\n'), "{before:?}");
    assert!(!made.text().contains(before.trim_end()));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let line = at(path, &make).error(1).to_owned();
    assert!(line.ends_with("new/secret: already there, and not overwritten"), "{line}");
    assert_eq!(fs::read_to_string(&file).expect("read"), before);
    at(path, &["secret", "--out", "new/.."]).error(2);
    at(path, &["secret", "--out", "new/secret/x"]).error(1);
}
