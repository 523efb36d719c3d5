//! info, clients, top, bench, man: a server as those who run it see it.

use serde_json::Value as Json;

use super::support::{Server, eventually, program, run, wait};

fn count(json: &Json, key: &str) -> u64 {
    json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"))
}

#[test]
fn clients_lists_who_is_connected_and_what_they_hold() {
    let server = Server::start();
    let mut holder = server.begin(&["walk", "held"], "holding held");
    let listed = server.run(&["clients", "--json"]).json();
    let [held, asks] = &listed[..] else { panic!("{listed:#?}") };
    assert!(count(held, "id") < count(asks, "id"));
    assert!(held["peer"].as_str().expect("text").contains(&holder.id().to_string()), "{held}");
    // The host and the anchor.
    assert_eq!((count(held, "handles"), count(held, "calls"), count(held, "running")), (2, 1, 0));
    assert_eq!((count(held, "hosted"), count(asks, "running")), (0, 1));
    assert!(count(held, "bytesRead") > 100 && count(held, "bytesWritten") > 50, "{held}");
    // Who has asked before may still be on the way out.
    eventually("a line for each of both", || {
        let text = server.run(&["clients"]);
        let lines: Vec<_> = text.ok().lines().collect();
        lines[0].starts_with("id  peer") && lines.len() == 3
    });
    holder.kill().expect("to kill");
    wait(&mut holder);
    eventually("its end", || server.run(&["clients", "--json"]).json().len() == 1);
    let info = &server.run(&["info", "--json"]).json()[0];
    assert!(count(info, "calls") > 3 && count(info, "cpuMicros") > 0, "{info}");
    assert!(count(info, "threads") > 0, "{info}");
}

#[test]
fn clients_tells_watches_and_channels() {
    let server = Server::start();
    let mut watching = server.begin(&["watch", "a"], "empty 0");
    let clients = server.run(&["clients", "--json"]).json();
    assert_eq!(clients.iter().map(|client| count(client, "watches")).sum::<u64>(), 1);
    assert_eq!(clients.iter().map(|client| count(client, "channels")).sum::<u64>(), 0);
    watching.kill().expect("to kill");
    wait(&mut watching);
}

#[test]
fn info_tells_the_bytes_of_values() {
    let server = Server::start();
    server.run(&["store", "a", &"x".repeat(1000)]).ok();
    let info = &server.run(&["info", "--json"]).json()[0];
    assert!((1000..1100).contains(&count(info, "storedBytes")), "{info}");
    server.run(&["clear", "a"]).ok();
    eventually("the room given back", || {
        count(&server.run(&["info", "--json"]).json()[0], "storedBytes") == 0
    });
}

#[test]
fn top_shows_what_happens_between_two_looks() {
    let server = Server::start();
    let looks = server.run(&["top", "--interval", "50ms", "--count", "2", "--json"]).json();
    assert_eq!(looks.len(), 2);
    for look in &looks {
        // It looks itself: two calls each time.
        assert!(count(look, "callsPerSecond") > 0, "{look}");
        assert_eq!(count(&look["host"], "connections"), 1);
        assert_eq!(look["clients"].as_array().expect("a list").len(), 1);
    }
    let text = server.run(&["top", "--interval", "10ms", "--count", "1", "--clients", "0"]);
    assert!(text.ok().contains("calls/s") && text.ok().contains("and 1 more"), "{text:?}");
    assert!(!text.ok().contains('\x1b'), "only a terminal is cleared");
    server.run(&["top", "--interval", "0"]).error(2);
    server.run(&["top", "--count", "0"]).error(2);
}

#[test]
fn bench_measures_every_workload_and_leaves_nothing() {
    let server = Server::start();
    let file = server.folder().join("all.hgrm");
    let path = file.to_str().expect("UTF-8");
    let bench = ["bench", "--duration", "300ms", "--children", "10", "--connections", "2"];
    let rest = ["--in-flight", "1,20", "--histogram", path, "--json"];
    let rows = server.run(&[&bench[..], &rest[..]].concat()).json();
    let workloads = ["walk", "get", "load", "store", "create", "ls", "send", "mixed"];
    let expected =
        workloads.iter().flat_map(|workload| [1, 20].map(|each| (workload.to_string(), 2, each)));
    let told = rows.iter().map(|row| {
        let workload = row["workload"].as_str().expect("text").to_owned();
        assert!(count(row, "operations") > 0 && count(row, "perSecond") > 0, "{row}");
        assert!(row["p50Micros"].as_f64() <= row["p99Micros"].as_f64(), "{row}");
        assert!(row["serverCpuMicros"].as_f64().expect("a number") > 0.0, "{row}");
        (workload, count(row, "connections"), count(row, "inFlight"))
    });
    assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let histograms = std::fs::read_to_string(&file).expect("a file");
    assert_eq!(histograms.matches("#[Max").count(), rows.len());
    eventually("an empty tree", || server.nodes() == 1);

    let text = server.run(&["bench", "walk", "--duration", "10ms", "--in-flight", "2"]);
    let lines: Vec<_> = text.ok().lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("server cpu"), "{lines:#?}");
}

#[test]
fn bench_tells_no_times_where_no_operation_was_measured() {
    let server = Server::start();
    // No answer comes within a microsecond.
    let bench = ["bench", "walk", "--duration", "0.001ms", "--in-flight", "1"];
    let row = &server.run(&[&bench[..], &["--json"]].concat()).json()[0];
    assert_eq!((count(row, "operations"), count(row, "perSecond")), (0, 0), "{row}");
    for time in
        ["p50Micros", "p90Micros", "p99Micros", "p999Micros", "maxMicros", "serverCpuMicros"]
    {
        assert!(row[time].is_null(), "{time}: {row}");
    }
    let text = server.run(&bench);
    assert_eq!(text.ok().matches(" -").count(), 5, "{text:?}");
}

#[test]
fn bench_ends_with_the_error_that_it_meets() {
    let server = Server::with(&["--max-children", "5"]);
    let ran = server.run(&["bench", "ls", "--children", "10", "--duration", "10ms"]);
    assert!(ran.error(1).contains("children"), "{ran:?}");
    let ran = server.run(&["bench", "--histogram", "/nowhere/at/all"]);
    assert!(ran.error(1).starts_with("killick: /nowhere/at/all: "), "{ran:?}");
    server.run(&["bench", "--in-flight", "0"]).error(2);
    server.run(&["bench", "--connections", "0"]).error(2);
    server.run(&["bench", "--duration", "0"]).error(2);
    assert_eq!(server.run(&["bench", "run"]).code, Some(2));
}

#[test]
fn a_manual_page_tells_what_options_take_and_shows_examples_as_they_are() {
    let section = |command: &[&str], heading: &str| {
        let page = run(program().arg("man").args(command), b"").ok().to_owned();
        let (_, rest) = page.split_once(&format!(".SH {heading}\n")).expect("a section");
        let text = rest.split("\n.SH ").next().expect("a part").to_owned();
        ["\\fB", "\\fI", "\\fR", "\\"].iter().fold(text, |text, font| text.replace(font, ""))
    };
    let common = "[-h|--help] [--connect ADDR] [--identity FOLDER] [--through PATH] [--timeout TIME] [--json]";
    for (command, synopsis) in [
        (
            &["store"][..],
            "killick store [--data] [--no-overwrite] [--if-revision N] [--bound] {} PATH VALUE",
        ),
        (&["kill"], "killick kill [-s|--signal SIGNAL] {} PATH"),
        (&["ls"], "killick ls [-l|--long] {} [PATH]"),
        (&["ca", "new"], "killick ca new [--out FOLDER] [--name NAME] [--days N] {}"),
        (
            &["cert", "client"],
            "killick cert client --out FOLDER [--root PATH] [--ca FOLDER] [--days N] {} NAME",
        ),
        (&["chan"], "killick chan {} COMMAND ..."),
    ] {
        assert_eq!(
            section(command, "SYNOPSIS").lines().next().unwrap_or(""),
            synopsis.replace("{}", common)
        );
    }
    let serve = section(&["serve"], "SYNOPSIS");
    assert!(
        serve.starts_with("killick serve [--listen ADDR]... [--tls-identity FOLDER] "),
        "{serve}"
    );
    assert!(serve.contains(" [--metrics IP:PORT] [--threads N] [--max-connections N] "), "{serve}");
    let examples = section(&["load"], "EXAMPLES");
    let lines: Vec<_> = examples.lines().collect();
    assert!(lines[0] == ".nf" && lines.last() == Some(&".fi"), "{lines:?}");
    assert!(lines[1].starts_with("  killick load "), "{lines:?}");
    assert!(section(&[], "NOTES").contains("\n  0 done   1 failed   2 usage"));
}

#[test]
fn every_command_has_a_manual_page() {
    let page = run(program().args(["man"]), b"");
    assert!(page.ok().contains(".TH killick 1"), "{page:?}");
    let page = run(program().args(["man", "store"]), b"");
    assert!(page.ok().contains("if\\-revision"), "{page:?}");
    for command in [&["cert-host"][..], &["cert", "host"]] {
        let page = run(program().arg("man").args(command), b"");
        let title = page.ok().lines().find(|line| line.starts_with(".TH")).expect("a title");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(title.trim(), format!(".TH killick-cert-host 1  \"killick {version}\""));
    }
    run(program().args(["man", "nothing"]), b"").error(2);
    run(program().args(["man", "store", "nothing"]), b"").error(2);
    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("man1");
    run(program().args(["man", "--all"]).arg(&all), b"").ok();
    let names: Vec<_> = std::fs::read_dir(&all).expect("made").flatten().collect();
    assert!(names.len() > 15 && all.join("killick-bench.1").exists(), "{names:?}");
    assert!(!all.join("killick-demo-client.1").exists(), "a hidden command shows");
}
