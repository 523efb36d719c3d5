//! What comes out: facts about the machine, a table, and JSON.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::{fmt, thread};

use serde::{Deserialize, Serialize};

/// Everything that a run of a bench found out.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) bench: String,
    /// How it was asked for.
    pub(crate) command: String,
    pub(crate) facts: Facts,
    pub(crate) table: Table,
}

/// What was measured, in the order of measuring.
#[derive(Serialize, Deserialize)]
pub(crate) struct Table {
    /// What the numbers are.
    pub(crate) unit: String,
    /// How they came about.
    pub(crate) method: String,
    /// Implementations.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    #[serde(skip)]
    ratio: Ratio,
}

/// What ratios beside the numbers are to.
#[derive(Clone, Copy, Default)]
pub(crate) enum Ratio {
    #[default]
    None,
    FirstColumn,
    /// The first row of which this part of the name is the same.
    FirstRowOf(fn(&str) -> Option<&str>),
}

/// One workload.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// By implementation; `None` where the workload makes no sense.
    pub(crate) values: Vec<Option<f64>>,
    /// How much the rounds differed, as a part of the median; the worst of the row.
    pub(crate) noise: Option<f64>,
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

impl Table {
    pub(crate) fn new(unit: &str, columns: &[&str], ratio: Ratio) -> Self {
        Table {
            unit: unit.to_owned(),
            method: String::new(),
            columns: columns.iter().copied().map(String::from).collect(),
            rows: Vec::new(),
            ratio,
        }
    }

    /// Adds a row, and says on standard error how far it is.
    pub(crate) fn push(&mut self, row: Row) {
        let values: Vec<String> = (self.columns.iter().zip(&row.values))
            .filter_map(|(name, value)| value.map(|value| format!("{name} {}", number(value))))
            .collect();
        eprintln!("{}: {}", row.name, values.join(", "));
        self.rows.push(row);
    }

    /// What the number in a cell is compared with.
    fn base(&self, row: usize, column: usize) -> Option<f64> {
        let (base_row, base_column) = match self.ratio {
            Ratio::None => return None,
            Ratio::FirstColumn => (row, 0),
            Ratio::FirstRowOf(part) => {
                let same = |other: &Row| part(&other.name) == part(&self.rows[row].name);
                (self.rows.iter().position(same)?, column)
            }
        };
        let base = self.rows[base_row].values[base_column].filter(|base| *base > 0.0);
        base.filter(|_| (base_row, base_column) != (row, column))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noisy = self.rows.iter().any(|row| row.noise.is_some());
        // Names of two words stand in two lines.
        let (mut above, mut below) = (vec![String::new()], vec![self.unit.clone()]);
        for name in self.columns.iter().map(String::as_str).chain(noisy.then_some("noise")) {
            let (first, last) = name.split_once(' ').unwrap_or(("", name));
            above.push(first.to_owned());
            below.push(last.to_owned());
        }
        let mut lines = vec![above, below];
        for (at, row) in self.rows.iter().enumerate() {
            let mut line = vec![row.name.clone()];
            for (column, value) in row.values.iter().enumerate() {
                line.push(match (value, self.base(at, column)) {
                    (None, _) => "n/a".to_owned(),
                    (Some(value), None) => number(*value),
                    (Some(value), Some(base)) => {
                        format!("{} {:>6}", number(*value), format!("x{:.2}", value / base))
                    }
                });
            }
            if noisy {
                line.push(row.noise.map_or("n/a".to_owned(), |n| format!("±{:.0}%", n * 100.0)));
            }
            lines.push(line);
        }
        f.write_str(&aligned(&lines))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { cpu, cores, load, allocator, rustc, commit } = &self.facts;
        writeln!(f, "{:<10}{cpu}, {cores} cores, load {load}", "cpu")?;
        writeln!(f, "{:<10}{allocator}", "allocator")?;
        writeln!(f, "{:<10}{rustc}", "rustc")?;
        writeln!(f, "{:<10}{commit}", "commit")?;
        writeln!(f, "{:<10}{}", "method", self.table.method)?;
        write!(f, "\n{}", self.table)
    }
}

impl Report {
    /// Writes it as JSON to `file`.
    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(file, json + "\n").map_err(|error| format!("{}: {error}", file.display()))
    }
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

/// What the numbers depend on.
#[derive(Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// How busy the machine was.
    pub(crate) load: String,
    pub(crate) allocator: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
}

impl Facts {
    pub(crate) fn now(allocator: &str) -> Self {
        let unknown = || "unknown".to_owned();
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.as_deref().and_then(|text| text.split(' ').next());
        let commit = output_of("git", &["rev-parse", "--short=12", "HEAD"]).map(|commit| {
            let status = output_of("git", &["status", "--porcelain"]);
            commit + if status.is_some_and(|s| !s.is_empty()) { ", with changes" } else { "" }
        });
        Facts {
            cpu: cpu(),
            cores: cores(),
            load: load.map_or_else(unknown, String::from),
            allocator: allocator.to_owned(),
            rustc: output_of("rustc", &["-V"]).unwrap_or_else(unknown),
            commit: commit.unwrap_or_else(unknown),
        }
    }
}

/// How many threads can run at a time.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
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

/// Whether `file` can be written; leaves what is in it. To be asked before anything is measured.
pub(crate) fn writable(file: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).map_err(|error| format!("{}: {error}", file.display()))
}
