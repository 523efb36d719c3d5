//! Pictures of what the other benches measure: throughput by threads, latency, growth, ratios.
//!
//! `cargo bench --bench plots -- --help` says how. Run by `cargo test`, it checks instead that a
//! picture of made-up numbers is drawn.

use std::cmp::Ordering;
use std::env;
use std::error::Error;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

#[allow(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::args::{Args, Mode};
use support::report::{self, Facts, Ratio, Report, Row, Table, number};

const HELP: &str = "\
Draws SVGs into benches/plots/: scaling, latency, growth and memory as lines, compare as bars.
Without files it first runs these benches, which takes some 50 minutes.

Usage: cargo bench --bench plots -- [OPTIONS] [FILE]...

  FILE                    what a bench has written with --json; only these are drawn. cargo runs
                          benches in the folder of the package, so a relative path begins there
      --quick             run the benches with --quick: some 2 minutes
      --impl SUBSTRING    run them for implementations whose name holds it; may be repeated
      --check             draw nothing that stays (also what happens without --bench)
  -h, --help              this text
";

/// The benches that pictures are drawn of, the longest last.
const BENCHES: [&str; 5] = ["scaling", "latency", "memory", "compare", "growth"];

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 242;
const ROW_HEIGHT: u32 = 17;
const HEAD: u32 = 64;
const FOOT: u32 = 46;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
/// One for each implementation, in their order; all can be told from paper in light and in dark.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0xe0, 0x3a, 0x3e),
    RGBColor(0x1f, 0x6f, 0xeb),
    RGBColor(0x5c, 0xad, 0xf2),
    RGBColor(0x2d, 0xa4, 0x4e),
    RGBColor(0xc6, 0x8a, 0x00),
    RGBColor(0x94, 0x63, 0xe8),
    RGBColor(0x82, 0x8a, 0x94),
];
/// What paper, ink and grid become where the reader prefers dark.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#FFFFFF\"] { fill: #0d1117 } [fill=\"#1F2328\"] { fill: #e6edf3 } \
    [stroke=\"#1F2328\"] { stroke: #e6edf3 } [stroke=\"#D8DEE4\"] { stroke: #30363d } }</style>";

fn main() -> ExitCode {
    let done = Args::parse(env::args_os().skip(1), &[])
        .map_err(|error| format!("{error}; --help says what there is").into())
        .and_then(|args| match args.mode {
            Mode::Help | Mode::List => {
                report::print(HELP);
                Ok(())
            }
            _ if args.strict || args.json.is_some() => {
                Err("neither --filter nor --json; --help says what there is".into())
            }
            Mode::Check => check(),
            Mode::Measure => draw_all(&args),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plots: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Draws a picture of each report, and says where it is.
fn draw_all(args: &Args) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/plots");
    fs::create_dir_all(&folder)?;
    let mut files: Vec<PathBuf> = args.filters.iter().map(PathBuf::from).collect();
    if files.is_empty() {
        files = BENCHES.iter().map(|bench| run(bench, args)).collect::<Outcome<_>>()?;
    }
    for file in files {
        let report = read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let picture = folder.join(&report.bench).with_extension("svg");
        fs::write(&picture, draw(&report)?)?;
        println!("{}", picture.display());
    }
    Ok(())
}

/// Runs a bench; the file with what it found.
fn run(bench: &str, args: &Args) -> Outcome<PathBuf> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(bench).with_extension("json");
    let quick = args.quick.then_some("--quick");
    let impls = args.impls.filters.iter().map(|filter| format!("--impl={filter}"));
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["bench", "--bench", bench, "--"])
        .args(quick)
        .args(impls)
        .arg("--json")
        .arg(&file)
        .status()?;
    if status.success() { Ok(file) } else { Err(format!("{bench}: {status}").into()) }
}

fn read(file: &Path) -> Outcome<Report> {
    let report: Report = serde_json::from_str(&fs::read_to_string(file)?)?;
    if !BENCHES.contains(&report.bench.as_str()) {
        return Err(format!("there is no picture of {}", report.bench).into());
    }
    Ok(report)
}

/// The picture of one report, as SVG.
fn draw(report: &Report) -> Outcome<String> {
    let mut svg = String::new();
    match report.bench.as_str() {
        "compare" => draw_ratios(report, &mut svg)?,
        "scaling" => draw_panels(report, 4, "million operations / s", Scale::Linear, &mut svg)?,
        "latency" => draw_panels(report, 4, "nanoseconds", Scale::Log, &mut svg)?,
        "memory" => draw_panels(report, 4, "bytes per node", Scale::Log, &mut svg)?,
        _ => draw_panels(report, 3, "ns per node", Scale::Log, &mut svg)?,
    }
    Ok(svg.replacen("<rect", &format!("{DARK}\n<rect"), 1))
}

fn text(size: i32, position: HPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&INK);
    style.pos(Pos::new(position, VPos::Center))
}

fn colour(column: usize) -> RGBColor {
    COLOURS[column % COLOURS.len()]
}

/// Title and legend above, facts below; what is left between.
fn frame<'a>(area: &Area<'a>, title: &str, report: &Report) -> Outcome<Area<'a>> {
    area.fill(&PAPER)?;
    let (head, rest) = area.split_vertically(HEAD);
    let (middle, foot) = rest.split_vertically(rest.dim_in_pixel().1 - FOOT);
    head.draw(&Text::new(title.to_owned(), (14, 18), text(17, HPos::Left)))?;
    let mut x = 14;
    for (column, name) in report.table.columns.iter().enumerate() {
        head.draw(&Rectangle::new([(x, 41), (x + 14, 53)], colour(column).filled()))?;
        head.draw(&Text::new(name.clone(), (x + 20, 47), text(13, HPos::Left)))?;
        x += 40 + 8 * name.len() as i32;
    }
    let Facts { cpu, cores, allocator, rustc, commit, .. } = &report.facts;
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let facts = format!("{cpu}, {cores} cores, {rustc}, allocator: {allocator}, commit {commit}");
    for (y, line) in [(12, facts), (30, format!("{}; {}", report.command, report.table.method))] {
        foot.draw(&Text::new(line, (14, y), text(12, HPos::Left)))?;
    }
    Ok(middle)
}

#[derive(Clone, Copy)]
enum Scale {
    Linear,
    Log,
}

impl Scale {
    /// Where `value` stands on an axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.log10(),
        }
    }

    /// Round numbers from `low` to `high`, as many as there is room for.
    fn ticks(self, low: f64, high: f64) -> Vec<f64> {
        let powers = |factors: &'static [f64]| {
            (-9..15).flat_map(move |power| factors.iter().map(move |f| f * 10_f64.powi(power)))
        };
        let within = |tick: &f64| (low..=high).contains(tick);
        match self {
            Scale::Log if high / low > 1000.0 => powers(&[1.0]).filter(within).collect(),
            Scale::Log if high / low > 10.0 => powers(&[1.0, 2.0, 5.0]).filter(within).collect(),
            Scale::Log => powers(&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]).filter(within).collect(),
            Scale::Linear => {
                let step = powers(&[1.0, 2.0, 5.0]).find(|step| high / step <= 6.0).unwrap_or(high);
                (0..7).map(|tick| f64::from(tick) * step).filter(within).collect()
            }
        }
    }
}

/// An axis with labels of its own at some places.
struct Axis {
    range: Range<f64>,
    labels: Vec<(f64, String)>,
}

impl Axis {
    /// One for numbers from `low` to `high`, which `label` writes.
    fn new(scale: Scale, low: f64, high: f64, label: impl Fn(f64) -> String) -> Axis {
        let ticks = scale.ticks(low, high).into_iter();
        Axis {
            range: scale.place(low)..scale.place(high),
            labels: ticks.map(|tick| (scale.place(tick), label(tick))).collect(),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }
    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.labels.iter().map(|(place, _)| *place).collect()
    }
    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let label = self.labels.iter().find(|(place, _)| place == value);
        label.map_or(String::new(), |(_, label)| label.clone())
    }
}

/// One small chart: a line for each implementation over the same steps.
struct Panel {
    title: String,
    /// What the steps are.
    axis: String,
    steps: Vec<String>,
    /// From which step on there are more threads than cores.
    crowded: Option<usize>,
    /// By implementation, then by step.
    lines: Vec<Vec<Option<f64>>>,
}

impl Panel {
    /// The panels of a report whose rows are called `panel, axis: step` or `panel, percentile`.
    fn all(report: &Report) -> Vec<Panel> {
        let mut panels: Vec<(&str, Vec<(&str, &Row)>)> = Vec::new();
        for row in &report.table.rows {
            let (title, step) = row.name.rsplit_once(", ").unwrap_or((&row.name, ""));
            match panels.iter_mut().find(|(other, _)| *other == title) {
                Some((_, steps)) => steps.push((step, row)),
                None => panels.push((title, vec![(step, row)])),
            }
        }
        // Of one step there is no line.
        panels.retain(|(_, steps)| steps.len() > 1);
        panels.into_iter().map(|(title, steps)| Panel::new(title, steps, report)).collect()
    }

    /// Its steps stand in the order of their sizes, if they have one.
    fn new(title: &str, steps: Vec<(&str, &Row)>, report: &Report) -> Panel {
        let axis = steps[0].0.split_once(": ").map_or("percentile", |(axis, _)| axis);
        let mut steps: Vec<(&str, Option<f64>, &Row)> = steps
            .into_iter()
            .map(|(step, row)| {
                let step = step.rsplit(": ").next().and_then(|step| step.split(' ').next());
                let step = step.unwrap_or_default();
                (step, step.parse().ok(), row)
            })
            .collect();
        steps.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal));
        let short = |(step, size, _): &(&str, Option<f64>, &Row)| match size {
            Some(size) if *size >= 1e6 => format!("{}M", size / 1e6),
            Some(size) if *size >= 1e3 => format!("{}k", size / 1e3),
            _ => (*step).to_owned(),
        };
        let line = |column: usize| steps.iter().map(|(_, _, row)| row.values[column]).collect();
        let cores = report.facts.cores as f64;
        let crowded = steps.iter().position(|(_, size, _)| *size > Some(cores));
        Panel {
            title: title.to_owned(),
            axis: axis.to_owned(),
            steps: steps.iter().map(short).collect(),
            crowded: crowded.filter(|_| axis == "threads"),
            lines: (0..report.table.columns.len()).map(line).collect(),
        }
    }

    fn draw(&self, area: &Area<'_>, unit: &str, scale: Scale) -> Outcome {
        let values = || self.lines.iter().flatten().flatten().copied().filter(|value| *value > 0.0);
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        let (low, high) = match scale {
            Scale::Linear => (0.0, high * 1.08),
            Scale::Log => (low / 1.2, high * 1.2),
        };
        let right = self.steps.len() as f64 - 0.7;
        let steps = (0..).map(f64::from).zip(self.steps.iter().cloned());
        let x = Axis { range: -0.3..right, labels: steps.collect() };
        let y = Axis::new(scale, low, high, label);
        let (bottom, top) = (y.range.start, y.range.end);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, text(14, HPos::Left))
            .margin(8)
            .set_label_area_size(LabelAreaPosition::Left, 58)
            .set_label_area_size(LabelAreaPosition::Bottom, 36)
            .build_cartesian_2d(x, y)?;
        if let Some(crowded) = self.crowded {
            let corners = [(crowded as f64 - 0.5, bottom), (right, top)];
            chart.draw_series([Rectangle::new(corners, INK.mix(0.08).filled())])?;
        }
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text(11, HPos::Center))
            .y_label_style(text(11, HPos::Right))
            .x_desc(&self.axis)
            .y_desc(unit)
            .axis_desc_style(text(11, HPos::Center))
            .draw()?;
        // The first implementation on top of the others.
        for (column, line) in self.lines.iter().enumerate().rev() {
            let colour = colour(column);
            let place = |(x, y): (i32, &Option<f64>)| Some((f64::from(x), scale.place((*y)?)));
            let points = || (0..).zip(line).filter_map(place);
            let width = if column == 0 { 3 } else { 2 };
            chart.draw_series(LineSeries::new(points(), colour.stroke_width(width)))?;
            chart.draw_series(points().map(|point| Circle::new(point, width, colour.filled())))?;
        }
        Ok(())
    }
}

/// A number on an axis, without zeros that say nothing.
fn label(value: f64) -> String {
    let text = if value < 9.95 { format!("{value:.2}") } else { number(value) };
    match text.split_once('.') {
        Some((whole, part)) if part.trim_end_matches('0').is_empty() => whole.to_owned(),
        Some(_) => text.trim_end_matches('0').to_owned(),
        None => text,
    }
}

/// All panels of a report, so many in a line.
fn draw_panels(
    report: &Report,
    columns: usize,
    unit: &str,
    scale: Scale,
    svg: &mut String,
) -> Outcome {
    let panels = Panel::all(report);
    if panels.is_empty() {
        return Err(format!("{}: too few rows for a line", report.bench).into());
    }
    let rows = panels.len().div_ceil(columns);
    let size = (WIDTH, rows as u32 * PANEL_HEIGHT + HEAD + FOOT);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    let crowded = panels.iter().any(|panel| panel.crowded.is_some());
    let shade = if crowded { "; shaded: more threads than cores" } else { "" };
    let title = format!("{}: {unit}{shade}", report.bench);
    let middle = frame(&area, &title, report)?;
    for (panel, area) in panels.iter().zip(middle.split_evenly((rows, columns))) {
        panel.draw(&area, unit, scale)?;
    }
    area.present()?;
    Ok(())
}

/// What the others take, by what the first takes: a bar to the fastest of them, a dot for each.
fn draw_ratios(report: &Report, svg: &mut String) -> Outcome {
    let ratios: Vec<(&str, Vec<Option<f64>>)> =
        report.table.rows.iter().filter_map(ratio).collect();
    let all = || ratios.iter().flat_map(|(_, ratios)| ratios).flatten().copied();
    let (low, high) = (all().fold(0.5, f64::min) / 1.2, all().fold(2.0, f64::max) * 1.2);
    let size = (WIDTH, ratios.len() as u32 * ROW_HEIGHT + HEAD + FOOT + 52);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    let ours = report.table.columns.first().map_or("", String::as_str);
    let title = format!(
        "compare: time per operation, divided by {ours}'s; right of 1 {ours} is faster; bars end at \
         the fastest of the others"
    );
    let middle = frame(&area, &title, report)?;
    let x = Axis::new(Scale::Log, low, high, |ratio| format!("x{}", label(ratio)));
    let mut chart = ChartBuilder::on(&middle)
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, 250)
        .set_label_area_size(LabelAreaPosition::Bottom, 36)
        .build_cartesian_2d(x, ratios.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(11, HPos::Center))
        .x_desc(format!("time / {ours}'s time"))
        .axis_desc_style(text(11, HPos::Center))
        .draw()?;
    for (y, (name, ratios)) in (0..).map(|row| f64::from(row) + 0.5).zip(&ratios) {
        let (_, label) = chart.backend_coord(&(0.0, y));
        let top = middle.get_base_pixel().1;
        middle.draw(&Text::new((*name).to_owned(), (250, label - top), text(12, HPos::Right)))?;
        if let Some(best) = ratios.iter().flatten().copied().reduce(f64::min) {
            let colour = if best < 1.0 { INK.mix(0.2) } else { colour(0).mix(0.4) };
            let bar = Rectangle::new([(0.0, y - 0.35), (best.log10(), y + 0.35)], colour.filled());
            chart.draw_series([bar])?;
        }
        let dot = |(column, ratio): (usize, &Option<f64>)| {
            Some(Circle::new(((*ratio)?.log10(), y), 3, colour(column + 1).filled()))
        };
        chart.draw_series(ratios.iter().enumerate().filter_map(dot))?;
    }
    let one = [(0.0, 0.0), (0.0, ratios.len() as f64)];
    chart.draw_series(LineSeries::new(one, INK.stroke_width(1)))?;
    area.present()?;
    Ok(())
}

/// The others' numbers of a row by the first.
fn ratio(row: &Row) -> Option<(&str, Vec<Option<f64>>)> {
    let (ours, others) = row.values.split_first()?;
    let ours = (*ours).filter(|ours| *ours > 0.0)?;
    let by_ours = |other: &Option<f64>| other.map(|other| other / ours);
    Some((row.name.as_str(), others.iter().map(by_ours).collect()))
}

/// Draws every picture of made-up numbers.
fn check() -> Outcome {
    for bench in BENCHES {
        let mut table = Table::new("ns", &["killick", "other"], Ratio::None);
        for step in [1000, 2000] {
            let name = format!("{bench}, nodes: {step}");
            let values = vec![Some(1.0), Some(f64::from(step))];
            table.rows.push(Row { name, values, noise: None });
        }
        let (bench, command) = (bench.to_owned(), String::new());
        let svg = draw(&Report { bench, command, facts: Facts::now("none"), table })?;
        if !svg.contains(DARK) || !svg.contains("other") || !svg.trim_end().ends_with("</svg>") {
            return Err("a picture lacks something".into());
        }
    }
    println!("check every picture is drawn ... ok");
    Ok(())
}
