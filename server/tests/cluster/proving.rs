//! Who is taken for a host: by certificates of an authority, and by a secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use killick_client::MemberState;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
};
use rustix::process::Signal;
use time::OffsetDateTime;

use super::failing::becomes;
use super::harness::{CLUSTER, Host, Hosts, cli, eventually, members, run, sees, write};

/// Authorities, and the folders of hosts that they have signed for.
pub(crate) struct Authorities(PathBuf);

impl Authorities {
    /// None, below this folder.
    fn new(folder: &Path) -> Self {
        Authorities(folder.to_owned())
    }

    /// One, `ca`, of which the hosts have certificates, in the folders `a`, `b` and so on.
    pub(crate) fn of(hosts: &mut Hosts) -> Self {
        let authorities = Authorities::new(hosts.folder());
        authorities.add("ca");
        for (host, name) in hosts.iter_mut().zip('a'..) {
            host.proof = authorities.host(&name.to_string(), "ca");
        }
        authorities
    }

    fn run(&self, arguments: &[&str]) -> String {
        cli(&self.0, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn add(&self, name: &str) {
        self.run(&["ca", "new", "--out", name, "--name", name]);
    }

    /// The folder of a new host: what it shows.
    fn host(&self, name: &str, ca: &str) -> Vec<String> {
        self.run(&["cert", "host", "--cluster", CLUSTER, "--ca", ca, "--out", name]);
        self.proof(name)
    }

    fn proof(&self, name: &str) -> Vec<String> {
        vec!["--cluster-identity".to_owned(), self.0.join(name).display().to_string()]
    }

    /// Has the hosts in these folders trust these authorities.
    fn trust(&self, folders: &[&str], authorities: &[&str]) {
        let pem = authorities.iter().map(|ca| fs::read_to_string(self.0.join(ca).join("ca.pem")));
        let pem = pem.collect::<Result<String, _>>().expect("read");
        folders.iter().for_each(|folder| write(&self.0.join(folder).join("ca.pem"), &pem, 0o600));
    }

    /// Has the certificate in this folder be one that is valid from one day to another, counted from today, by the same
    /// authority and for the same key.
    fn date(&self, name: &str, ca: &str, [from, to]: [i64; 2]) {
        let read = |path: PathBuf| fs::read_to_string(path).expect("read");
        let key = |path| KeyPair::from_pem(&read(path)).expect("a key");
        let authority = key(self.0.join(ca).join("ca-key.pem"));
        let authority = Issuer::from_ca_cert_pem(&read(self.0.join(ca).join("ca.pem")), authority);
        let shown = self.run(&["cert", "show", name, "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let names = shown["names"].as_array().expect("names").iter();
        let names = names.map(|name| name.as_str().expect("a name").to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a host");
        params.not_before = OffsetDateTime::now_utc() + time::Duration::days(from);
        params.not_after = OffsetDateTime::now_utc() + time::Duration::days(to);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let own = key(self.0.join(name).join("key.pem"));
        let signed = params.signed_by(&own, &authority.expect("an authority")).expect("signed");
        write(&self.0.join(name).join("cert.pem"), &signed.pem(), 0o600);
    }
}

/// Two hosts that know each other, and a third one that is not started.
async fn two_and_another(prepare: impl FnOnce(&mut Hosts)) -> Hosts {
    let mut hosts = Hosts::new(3);
    prepare(&mut hosts);
    hosts[0].launch();
    hosts[1].launch();
    hosts.whole().await;
    hosts
}

/// How often a host has let somebody not in who got as far as to be judged.
fn refused(host: &Host) -> f64 {
    let samples = host.samples().into_iter();
    let refused = samples.filter(|(name, _)| {
        name.starts_with("killick_cluster_refused_handshakes") && !name.contains("broken")
    });
    refused.map(|(_, count)| count).sum()
}

/// Why a log says that a host is not let in.
fn refusals(log: &str, host: &Host) -> Vec<String> {
    let start = format!("WARN somebody is not let into the cluster at={} reason=", host.at);
    let lines = log.lines().filter_map(|line| line.split_once(&start));
    lines.map(|(_, reason)| reason.to_owned()).collect()
}

/// Starts a third host, which the others do not take, and which does not take them; `why` is in its log.
async fn stays_alone(hosts: &mut Hosts, why: &str) {
    let names = hosts.names();
    hosts[2].launch();
    let what = format!("a log that says {why:?}");
    eventually(&what, async || hosts[2].log().contains(why)).await;
    let told =
        |host: &Host| host.log().contains("WARN no host of this cluster at a seed's address");
    eventually("a warning", async || told(&hosts[2])).await;
    // However often it tries, whoever runs the others is told once of each reason.
    eventually("some attempts", async || hosts[..2].iter().any(|host| refused(host) > 3.0)).await;
    for host in &hosts[..2] {
        let mut told = refusals(&host.log(), &hosts[2]);
        let all = told.len();
        told.sort();
        told.dedup();
        assert!((1..=2).contains(&told.len()) && told.len() == all, "{}", host.log());
    }
    let alone = [hosts[2].name().to_owned()];
    assert!(sees(&hosts[2].client().await, &alone).await, "{}", hosts[2].log());
    for host in &hosts[..2] {
        assert!(sees(&host.client().await, &names).await, "{}", host.log());
        assert!(
            !host.told(&["hosts", "--json"]).iter().any(|told| told["id"] == alone[0].as_str())
        );
    }
}

#[test]
fn who_has_another_secret_stays_alone() {
    run(async {
        let mut hosts = two_and_another(|hosts| {
            cli(hosts.folder(), &["secret", "--out", "other"]).expect("a secret");
            hosts[2].proof[1] = hosts.folder().join("other").display().to_string();
        })
        .await;
        stays_alone(&mut hosts, "it has another --cluster-secret").await;
        hosts.iter().for_each(|host| assert!(!host.log().contains("ca.pem"), "{}", host.log()));
        hosts.calm().await;
    });
}

#[test]
fn who_is_of_another_cluster_stays_alone_though_it_has_the_secret() {
    run(async {
        let mut hosts = two_and_another(|hosts| hosts[2].cluster = "c2").await;
        stays_alone(&mut hosts, "nobody at a seed's address").await;
    });
}

#[test]
fn who_is_of_another_authority_stays_alone() {
    run(async {
        let mut hosts = two_and_another(|hosts| {
            let authorities = Authorities::new(hosts.folder());
            ["ours", "theirs"].iter().for_each(|ca| authorities.add(ca));
            hosts[0].proof = authorities.host("a", "ours");
            hosts[1].proof = authorities.host("b", "ours");
            hosts[2].proof = authorities.host("c", "theirs");
        })
        .await;
        stays_alone(&mut hosts, "is of no authority in this host's ca.pem").await;
        // Nor do those of the cluster let in who takes them, and whom they do not take.
        hosts[2].kill();
        let authorities = Authorities::new(hosts.folder());
        authorities.trust(&["c"], &["theirs", "ours"]);
        let names = hosts.names();
        hosts[2].launch();
        tokio::time::sleep(Duration::from_secs(1)).await;
        for host in &hosts[..2] {
            assert!(sees(&host.client().await, &names).await, "{}", host.log());
        }
    });
}

/// A host whose certificate is valid from one day to another is told of that by its own log, with its file, and by what
/// the others are: `told` and `refused`.
async fn untimely(days: [i64; 2], told: &str, refused: &str) {
    let mut hosts = two_and_another(|hosts| {
        let authorities = Authorities::of(hosts);
        authorities.date("c", "ca", days);
    })
    .await;
    let file = hosts.folder().join("c/cert.pem").display().to_string();
    let told = format!("{file}: the host's certificate for the cluster {told}");
    let checked = hosts[2].command().arg("--check-config").output().expect("to run the program");
    let warning = String::from_utf8(checked.stderr).expect("text");
    assert!(checked.status.success(), "{warning}");
    assert!(warning.starts_with(&format!("killick: warning: {told}")), "{warning}");
    stays_alone(&mut hosts, &told).await;
    assert!(hosts[2].log().contains("no host will take it"));
    let log = hosts[2].log();
    let is_of_peer = "this host's certificate is not valid at this time by the other host's clock";
    let line = log.lines().find(|line| line.contains("no host of this cluster at a seed"));
    let line = line.expect("a warning");
    assert!(line.contains(is_of_peer) && line.contains("clocks may be wrong"), "{line}");
    let refused = format!("the other host's certificate {refused} by this host's clock");
    let tells = |host: &Host| host.log().contains(&refused);
    eventually("a warning", async || hosts[..2].iter().any(tells)).await;
}

#[test]
fn who_has_a_certificate_that_has_ended_is_told_and_stays_alone() {
    run(untimely([-3, -1], "has ended 1 days ago, at ", "has ended"));
}

#[test]
fn who_has_a_certificate_that_is_not_valid_yet_is_told_and_stays_alone() {
    run(untimely([1, 3], "is not valid before ", "is not valid yet"));
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_shown_as_that() {
    let hosts = Hosts::new(1);
    let authorities = Authorities::new(hosts.folder());
    authorities.add("ca");
    authorities.host("a", "ca");
    authorities.date("a", "ca", [1, 3]);
    let shown = authorities.run(&["cert", "show", "a"]);
    let warning = shown.lines().find(|line| line.starts_with("warning")).expect("a warning");
    assert!(warning.contains(" it is not valid before "), "{warning}");
    assert!(warning.ends_with(" UTC, which may be wrong"), "{warning}");
    let shown = authorities.run(&["cert", "show", "a", "--json"]);
    assert!(shown.contains("\"warning\":\"it is not valid before "), "{shown}");
}

#[test]
fn who_answers_at_the_address_of_another_host_is_not_taken_for_that_one() {
    run(async {
        let mut hosts = two_and_another(|_| {}).await;
        let one = hosts[0].client().await;
        let (name, path) = (hosts[1].name().to_owned(), hosts[1].path("mail"));
        one.store_at(&path, "its own", false).await.expect("stored");
        hosts[1].kill();
        hosts[2].at = hosts[1].at;
        hosts[2].launch();
        hosts[2].run(&["store", "mail", "another's"]).expect("stored");
        let fails = async || match one.load_at(&path).await {
            Ok(loaded) => panic!("it has answered: {:?}", loaded.text()),
            Err(_) => members(&one).await[&name].state == MemberState::Failed,
        };
        eventually("it is missed", fails).await;
        hosts.whole().await;
        assert!(one.load_at(&path).await.is_err());
        let loaded = one.load_at(hosts[2].path("mail")).await.expect("loaded");
        assert_eq!(loaded.text(), Some("another's"));
        let log = hosts[0].log();
        assert!(log.contains(&format!("certificate not valid for name \"{name}")), "{log}");
        let called = "this host's certificate does not have the name that it was called by";
        let told = || refusals(&hosts[2].log(), &hosts[0]);
        let is_told = async || told().iter().any(|told| told.contains(called));
        eventually("a warning", is_told).await;
    });
}

#[test]
fn a_clients_certificate_is_none_to_serve_with() {
    let mut hosts = Hosts::new(1);
    let authorities = Authorities::new(hosts.folder());
    authorities.add("ca");
    authorities.run(&["cert", "client", "alice", "--ca", "ca", "--out", "alice"]);
    hosts[0].proof = authorities.proof("alice");
    let complained = hosts[0].refuses();
    assert!(
        complained.contains("alice") && complained.contains("is none of a host"),
        "{complained}"
    );
}

#[test]
fn a_revoked_certificate_ends_live_connections_on_reload() {
    run(async {
        let mut hosts = Hosts::new(3);
        let authorities = Authorities::of(&mut hosts);
        hosts.launch();
        hosts.whole().await;
        let [one, other] = [hosts[0].client().await, hosts[1].client().await];
        let (path, name) = (hosts[2].path("mail"), hosts[2].name().to_owned());
        let anchor = one.walk(&path).await.expect("walked");
        let near = one.walk(hosts[1].path("x")).await.expect("walked");

        authorities.run(&["ca", "revoke", "c", "--ca", "ca"]);
        for folder in ["a", "b"] {
            fs::copy(
                hosts.folder().join("ca/crl.pem"),
                hosts.folder().join(folder).join("crl.pem"),
            )
            .expect("copied");
        }
        hosts[..2].iter().for_each(|host| host.signal(Signal::HUP));
        let ended = eventually("the connection ends", async || anchor.load().await.is_err()).await;
        println!(
            "measured: SIGHUP until the revoked host's calls fail: {:.2} s",
            ended.as_secs_f64()
        );
        for client in [&one, &other] {
            becomes(client, &name, MemberState::Failed).await;
        }
        assert!(near.load().await.is_ok(), "the others have theirs");
        // It stays out, whatever it tries, and with another life.
        hosts[2].kill();
        hosts[2].launch();
        tokio::time::sleep(Duration::from_secs(2)).await;
        for client in [&one, &other] {
            assert_eq!(members(client).await[&name].state, MemberState::Failed);
        }
        hosts[2].kill();
        drop((anchor, near, one, other));
        hosts.whole().await;
        hosts.calm().await;
    });
}

#[test]
fn certificates_and_authorities_are_changed_while_hosts_run() {
    run(async {
        const FOLDERS: [&str; 3] = ["a", "b", "c"];
        let mut hosts = Hosts::new(4);
        let authorities = Authorities::new(hosts.folder());
        ["old", "new"].iter().for_each(|ca| authorities.add(ca));
        for (host, name) in hosts.iter_mut().zip(FOLDERS) {
            host.proof = authorities.host(name, "old");
            host.launch();
        }
        hosts.whole().await;
        let one = hosts[0].client().await;
        let anchor = one.walk(hosts[2].path("mail")).await.expect("walked");
        anchor.store("hello", false).await.expect("stored");
        let former = members(&one).await;
        let reload = async || {
            let reloaded = |host: &Host| host.log().matches("reloaded").count();
            for host in hosts.iter().filter(|host| host.runs()) {
                let before = reloaded(host);
                host.signal(Signal::HUP);
                eventually("a reload", async || reloaded(host) > before).await;
                assert!(!host.log().contains("not reloaded"), "{}", host.log());
            }
            hosts.whole().await;
        };
        let lives = async || assert_eq!(anchor.load().await.expect("loaded").text(), Some("hello"));
        authorities.trust(&FOLDERS, &["old", "new"]);
        reload().await;
        lives().await;
        for folder in FOLDERS {
            authorities.run(&["cert", "renew", folder, "--ca", "new", "--signed-by", "old"]);
            reload().await;
            lives().await;
        }
        // Connections that were made by what the old one has signed end; others are made.
        authorities.trust(&FOLDERS, &["new"]);
        reload().await;
        let anchor = one.walk(hosts[2].path("mail")).await.expect("walked");
        assert_eq!(anchor.load().await.expect("loaded").text(), Some("hello"));
        for host in &hosts[..3] {
            assert!(!host.log().contains("does not answer any more"), "{}", host.log());
        }
        let generations = |members: &std::collections::BTreeMap<String, killick_client::Member>| {
            members.values().map(|member| (member.id, member.generation)).collect::<Vec<_>>()
        };
        assert_eq!(generations(&members(&one).await), generations(&former));
        anchor.clear().await.expect("cleared");

        hosts[3].proof = authorities.host("d", "new");
        hosts[3].launch();
        hosts.whole().await;
        hosts[3].kill();
        let names = hosts.names();
        eventually("it is gone", async || sees(&one, &names).await).await;
        hosts[3].proof = authorities.host("late", "old");
        authorities.trust(&["late"], &["old", "new"]);
        hosts[3].launch();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(sees(&one, &names).await, "{}", hosts[0].log());
    });
}
