//! `killick bench`: a load on a server, and what it costs.

mod frames;
mod load;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join_all;
use serde_json::json;

use self::load::{Load, LoadError, Measured, Span, Workload, warm_up};
use super::connection::{Connection, why_unreachable, within};
use super::error::CliError;
use super::info::HostInfo;
use super::text::{columns, grouped};
use super::{Context, time_above};

const AFTER_HELP: &str = "\
Each connection sends the next operation when one is done, so that as many as --in-flight are
always under way. An answer's time is from the moment when its question was ready to be sent.
'server cpu' is what the server's whole process took for one operation, other clients included:
use a server of its own. It is told only to those who have the whole host. Messages are built once
and sent many times: the client takes little of the machine. Where no operation was
measured, as all took longer, there is '-', and null with --json.

The anchors that it works on lie under one whose name begins with 'bench-' and go with it.

Examples:
  killick bench
  killick bench walk get --connections 4 --in-flight 1,64 --duration 5s
  killick bench ls --children 10000 --json
  killick bench mixed --histogram mixed.hgrm      for the plotter of HdrHistogram";

/// Put a server under load and measure it.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Bench {
    /// What to do; all of it, one after the other, if none is named.
    #[arg(value_enum)]
    workloads: Vec<Workload>,

    /// How many connections to use at a time.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    connections: Vec<u32>,

    /// How many operations of one connection to have under way at a time.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,64")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    in_flight: Vec<u32>,

    /// How long to measure each: 500ms, 2s, 1m or plain seconds.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    duration: Duration,

    /// How many children 'ls' lists.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    children: u32,

    /// Write the distribution of every measurement to this file.
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    time_above("0 would measure nothing", text)
}

/// One measurement.
struct Row {
    workload: Workload,
    connections: u32,
    in_flight: u32,
    duration: Duration,
    measured: Measured,
    /// Processor time of the server for one operation, in microseconds, if the server tells and any was measured.
    cpu_micros: Option<f64>,
}

const COLUMNS: [&str; 9] = [
    "workload",
    " connections",
    " in flight",
    " ops/s",
    " p50 µs",
    " p99 µs",
    " p99.9 µs",
    " max µs",
    " server cpu µs",
];

impl Row {
    fn name(&self) -> String {
        name(self.workload)
    }

    fn per_second(&self) -> f64 {
        self.measured.latency.len() as f64 / self.duration.as_secs_f64()
    }

    /// Nothing if no operation was measured.
    fn micros(&self, quantile: f64) -> Option<f64> {
        let latency = &self.measured.latency;
        (!latency.is_empty()).then(|| latency.value_at_quantile(quantile) as f64 / 1e3)
    }

    fn cells(&self) -> [String; 9] {
        let none = || "-".to_owned();
        let micros =
            |quantile| self.micros(quantile).map_or_else(none, |micros| format!("{micros:.1}"));
        [
            self.name(),
            grouped(self.connections.into()),
            grouped(self.in_flight.into()),
            grouped(self.per_second().round() as u64),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            micros(1.0),
            self.cpu_micros.map_or_else(none, |micros| format!("{micros:.2}")),
        ]
    }

    /// The heading and the row, in columns that are as wide as they get.
    fn lines(&self) -> [String; 2] {
        let widest = COLUMNS.map(|name| " ".repeat(name.trim().len().max(10)));
        let mut lines = columns(&COLUMNS, &[widest, self.cells()]).into_iter();
        let names = lines.next().unwrap_or_default();
        [names, lines.nth(1).unwrap_or_default()]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "workload": self.name(),
            "connections": self.connections,
            "inFlight": self.in_flight,
            "seconds": self.duration.as_secs_f64(),
            "operations": self.measured.latency.len(),
            "perSecond": self.per_second().round() as u64,
            "p50Micros": self.micros(0.5),
            "p90Micros": self.micros(0.9),
            "p99Micros": self.micros(0.99),
            "p999Micros": self.micros(0.999),
            "maxMicros": self.micros(1.0),
            "serverCpuMicros": self.cpu_micros.map(|micros| (micros * 1e3).round() / 1e3),
        })
    }

    /// The distribution, in the form that HdrHistogram's own tools write and read.
    fn write_histogram(&self, out: &mut impl Write) -> io::Result<()> {
        let Row { connections, in_flight, .. } = self;
        writeln!(out, "#[{}, {connections} connections, {in_flight} in flight]", self.name())?;
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let latency = &self.measured.latency;
        let mut count = 0;
        for value in latency.iter_quantiles(5) {
            count += value.count_since_last_iteration();
            let quantile = value.quantile_iterated_to();
            let micros = value.value_iterated_to() as f64 / 1e3;
            write!(out, "{micros:>12.3} {quantile:>2.12} {count:>10}")?;
            match quantile < 1.0 {
                true => writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?,
                false => writeln!(out)?,
            }
        }
        let (mean, deviation) = (latency.mean() / 1e3, latency.stdev() / 1e3);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, total) = (latency.max() as f64 / 1e3, latency.len());
        writeln!(out, "#[Max     = {max:>12.3}, Total count    = {total:>12}]\n")
    }
}

/// What the server tells of itself, for the command `what`.
async fn ask(connection: &Connection, what: &str) -> Result<Option<HostInfo>, CliError> {
    HostInfo::ask_if_told(connection).await.map_err(|error| error.of(what))
}

fn name(workload: Workload) -> String {
    let value = clap::ValueEnum::to_possible_value(&workload);
    value.map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Bench {
    pub(super) async fn run(mut self, context: &mut Context) -> Result<(), CliError> {
        if self.workloads.is_empty() {
            self.workloads = clap::ValueEnum::value_variants().to_vec();
        }
        // Whoever is not let in is told why; the connections that measure do not know.
        ask(&context.connection, "bench").await?;
        let mut file = self.histogram.as_deref().map(Distributions::create).transpose()?;
        let mut first = true;
        for &workload in &self.workloads {
            for &connections in &self.connections {
                for &in_flight in &self.in_flight {
                    let row = self.measure(context, workload, connections, in_flight).await?;
                    if let Some(file) = &mut file {
                        file.write(&row)?;
                    }
                    let output = &mut context.output;
                    if output.is_json() {
                        output.line(row.json())?;
                    } else {
                        let [names, cells] = row.lines();
                        if std::mem::take(&mut first) {
                            output.line(names)?;
                        }
                        output.line(cells)?;
                    }
                    context.output.flush()?;
                }
            }
        }
        Ok(())
    }

    async fn measure(
        &self,
        context: &Context,
        workload: Workload,
        connections: u32,
        in_flight: u32,
    ) -> Result<Row, CliError> {
        let what = format!("bench {}", name(workload));
        let connection = &context.connection;
        let failed = |error| match error {
            LoadError::Call(error) => CliError::call(&what, &error),
            LoadError::Io(error) => {
                let address = connection.address();
                CliError::failed(
                    &what,
                    match error.kind() {
                        io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::BrokenPipe
                        | io::ErrorKind::ConnectionReset => {
                            format!("{address} closed the connection")
                        }
                        _ => format!("{address}: {}", why_unreachable(address, &error)),
                    },
                )
            }
        };
        let prepare = (0..connections).map(|number| async move {
            let path = format!("bench-{}/{number}", std::process::id());
            let at = (connection.address(), connection.identity(), context.timeout);
            Load::prepare(at, workload, &path, self.children).await
        });
        let mut loads = try_join_all(prepare).await.map_err(failed)?;
        let before = ask(connection, &what).await?;
        let from = Instant::now() + warm_up(self.duration);
        let span = Span { from, until: from + self.duration };
        let runs = try_join_all(loads.iter_mut().map(|load| load.run(in_flight, span)));
        // As long as a load may take, and as one answer may.
        let limit = context.timeout.map(|limit| limit + self.duration + warm_up(self.duration));
        let stuck = || CliError::failed(&what, "the last operations were not answered");
        let runs = within(limit, runs).await.ok_or_else(stuck)?.map_err(failed)?;
        let after = ask(connection, &what).await?;
        let mut measured = Measured::new();
        for run in runs {
            measured.done += run.done;
            // Both have the same bounds.
            let _ = measured.latency.add(&run.latency);
        }
        let told = before.zip(after).filter(|_| !measured.latency.is_empty());
        let cpu_micros = told.map(|(before, after)| {
            let cpu = after.cpu_micros.saturating_sub(before.cpu_micros);
            cpu as f64 / measured.done as f64
        });
        let duration = self.duration;
        Ok(Row { workload, connections, in_flight, duration, measured, cpu_micros })
    }
}

/// The file for the distributions.
struct Distributions {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Distributions {
    fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|error| failed(path, &error))?;
        Ok(Distributions { path: path.to_owned(), out: BufWriter::new(file) })
    }

    fn write(&mut self, row: &Row) -> Result<(), CliError> {
        let written = row.write_histogram(&mut self.out).and_then(|()| self.out.flush());
        written.map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(path.display().to_string(), error)
}
