//! Identities as they lie in their folders.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use killick_server::{Identity, IdentityError};
use support::pki::{Ca, For, VALID};

#[test]
fn an_identity_that_is_none_is_told_with_its_file() {
    let (folder, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let fresh = |name: &str| ca.issue(folder.path(), name, For::Client, VALID).path;
    let error = |path: &Path| Identity::load(path).expect_err("none");

    let path = fresh("open");
    fs::set_permissions(path.join("key.pem"), fs::Permissions::from_mode(0o604)).expect("opened");
    let told = error(&path);
    assert!(matches!(told, IdentityError::KeyOpen { .. }), "{told:?}");
    assert!(
        told.to_string()
            .ends_with("key.pem: others may use this key (mode 0604, wanted 0600): not used")
    );

    let path = fresh("mixed");
    fs::copy(fresh("other").join("key.pem"), path.join("key.pem")).expect("copied");
    let told = error(&path);
    assert!(matches!(told, IdentityError::KeyMismatch { .. }), "{told:?}");
    assert!(told.to_string().contains("key.pem: not the key of "), "{told}");

    for (file, expected) in
        [("ca.pem", "certificate"), ("cert.pem", "certificate"), ("key.pem", "private key")]
    {
        for text in
            ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let path = fresh("broken");
            fs::write(path.join(file), text).expect("written");
            let told = error(&path).to_string();
            let wanted = format!("{file}: no {expected} in PEM: ");
            assert!(told.contains(&wanted), "{file} {text:?}: {told}");
        }
        let path = fresh("missing");
        fs::remove_file(path.join(file)).expect("removed");
        let told = error(&path);
        assert!(matches!(told, IdentityError::Io { .. }), "{told:?}");
        assert!(told.to_string().contains(file), "{told}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let (folder, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        let path = ca.issue(folder.path(), "alice", For::Client, VALID).path.join(file);
        for make in ["mkdir", "mkfifo"] {
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).expect("removed");
            assert!(Command::new(make).arg(&path).status().expect(make).success());
            let told = Identity::load(path.parent().expect("a folder")).expect_err("none");
            let told = told.to_string();
            assert!(told.ends_with(&format!("{file}: not a regular file")), "{make}: {told}");
        }
        fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn a_group_may_read_a_key_only_if_it_is_roots() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = Ca::new().issue(folder.path(), "alice", For::Client, VALID).path;
    let key = path.join("key.pem");
    for (mode, of_root) in [(0o600, true), (0o400, true), (0o440, true), (0o460, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("set");
        let roots = fs::metadata(&key).expect("there").uid() == 0;
        let expected = mode & 0o077 == 0 || (roots && of_root);
        assert_eq!(Identity::load(&path).is_ok(), expected, "{mode:o}");
    }
}
