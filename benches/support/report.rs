//! What comes out: facts about the machine, a table, and JSON.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::thread;

/// Results: workload, then implementation, in the order of measuring.
#[derive(Default)]
pub(crate) struct Results {
    rows: Vec<Row>,
}

/// One workload.
pub(crate) struct Row {
    pub(crate) workload: String,
    /// By implementation; `None` where the workload makes no sense.
    pub(crate) values: Vec<(&'static str, Option<f64>)>,
    /// How much the rounds differed, as a part of the median; the worst of the row.
    pub(crate) noise: Option<f64>,
}

impl Row {
    /// The row on one line.
    pub(crate) fn line(&self) -> String {
        let values: Vec<String> = self
            .values
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name} {}", number(value))))
            .collect();
        format!("{}: {}", self.workload, values.join(", "))
    }
}

/// A number with three digits that say something; thousands are set apart, and more are `k` or `M`.
pub(crate) fn number(value: f64) -> String {
    match value {
        ..99.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        ..99_950.0 => {
            let value = value.round() as u32;
            format!("{},{:03}", value / 1000, value % 1000)
        }
        ..999_500.0 => format!("{:.0}k", value / 1e3),
        ..99_950_000.0 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.0}M", value / 1e6),
    }
}

impl Results {
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The table: `unit` for the first implementation, and for the others also the ratio to it.
    pub(crate) fn table(&self, unit: &str) -> String {
        let Some(first) = self.rows.first() else { return String::new() };
        let noisy = self.rows.iter().any(|row| row.noise.is_some());
        // Names of two words stand in two lines.
        let (mut above, mut below) = (vec![String::new()], vec![unit.to_owned()]);
        for name in first.values.iter().map(|(name, _)| *name).chain(noisy.then_some("noise")) {
            let (first, last) = name.split_once(' ').unwrap_or(("", name));
            above.push(first.to_owned());
            below.push(last.to_owned());
        }
        let mut lines = vec![above, below];
        for row in &self.rows {
            let ours = row.values.first().and_then(|(_, value)| *value);
            let mut line = vec![row.workload.clone()];
            for (column, (_, value)) in row.values.iter().enumerate() {
                line.push(match (value, ours) {
                    (None, _) => "n/a".to_owned(),
                    (Some(value), Some(ours)) if column > 0 && ours > 0.0 => {
                        format!("{} {:>6}", number(*value), format!("x{:.2}", value / ours))
                    }
                    (Some(value), _) => number(*value),
                });
            }
            if noisy {
                let noise = row.noise.map_or("n/a".to_owned(), |n| format!("±{:.0}%", n * 100.0));
                line.push(noise);
            }
            lines.push(line);
        }
        aligned(&lines)
    }

    /// Writes the results as JSON to `file`, if there is one.
    pub(crate) fn write(&self, file: Option<&Path>) -> Result<(), String> {
        let Some(file) = file else { return Ok(()) };
        fs::write(file, self.json()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// `{"workload": {"implementation": number}}`
    fn json(&self) -> String {
        let mut json = String::from("{");
        for (at, row) in self.rows.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            let values: Vec<String> = row
                .values
                .iter()
                .filter_map(|(name, value)| {
                    value.map(|value| format!("{}: {value:.3}", quoted(name)))
                })
                .collect();
            let workload = quoted(&row.workload);
            json.push_str(&format!("{separator}\n  {workload}: {{{}}}", values.join(", ")));
        }
        json.push_str("\n}\n");
        json
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => {
                write!(json, "\\u{:04x}", u32::from(c)).expect("a string takes every text");
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// Lines of cells as columns; the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut table = String::new();
    for line in lines {
        let mut text = format!("{:<1$}", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

/// What the numbers depend on: a line each.
pub(crate) fn facts(allocator: &str) -> String {
    let cores = thread::available_parallelism().map_or("?".to_owned(), |n| n.to_string());
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("unknown");
    let mut facts = vec![
        ("cpu", format!("{}, {cores} cores, load {load}", cpu())),
        ("allocator", allocator.to_owned()),
        ("rustc", output_of("rustc", &["-V"]).unwrap_or_else(|| "unknown".to_owned())),
    ];
    if let Some(commit) = output_of("git", &["rev-parse", "--short=12", "HEAD"]) {
        let changed = output_of("git", &["status", "--porcelain"]).is_some_and(|s| !s.is_empty());
        facts.push(("commit", commit + if changed { ", with changes" } else { "" }));
    }
    let mut text = String::new();
    for (name, fact) in facts {
        text.push_str(&format!("{name:<10}{fact}\n"));
    }
    text
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned())
}

/// What `program` prints, run in the folder of the package; `None` if it fails.
fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Prints to standard output. That nobody reads on is no error.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Whether `file`, if there is one to write, can be written; leaves what is in it. To be asked
/// before anything is measured.
pub(crate) fn writable(file: Option<&Path>) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| format!("{}: {error}", file.display()))
}
