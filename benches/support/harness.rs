//! Measuring side by side: the implementations take turns in short slices, so that whatever else
//! the machine does hits all of them alike, and the median over the rounds is what counts. A slice
//! is shorter than what a scheduler gives at a time, so that on a busy machine most are undisturbed.

use std::time::{Duration, Instant};

use super::fixtures::Job;
use super::shapes::Noise;

/// Before each slice a part of it, one in so many, is run to get the others out of the caches.
const WARM_UP: u64 = 16;
/// How many times a slice a job may take, with what it does not time.
const UNTIMED: u32 = 4;

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// One turn of one implementation.
    pub(crate) slice: Duration,
    /// How often everything is built anew: where the heap happens to put things makes a difference
    /// that no number of turns evens out. At least three, for a median.
    pub(crate) lives: usize,
    /// How many turns each has in a life.
    pub(crate) rounds: usize,
    /// After this long in one life no further round is begun.
    pub(crate) budget: Duration,
    /// How many nodes a tree has that is built and taken down whole.
    pub(crate) nodes: usize,
}

impl Plan {
    pub(crate) const FULL: Plan = Plan {
        slice: Duration::from_millis(2),
        lives: 5,
        rounds: 41,
        budget: Duration::from_secs(1),
        nodes: 1_000_000,
    };
    pub(crate) const QUICK: Plan = Plan {
        slice: Duration::from_millis(1),
        lives: 3,
        rounds: 15,
        budget: Duration::from_millis(150),
        nodes: 20_000,
    };

    /// How the numbers came about: a line for the report.
    pub(crate) fn describe(&self, took: Duration) -> String {
        format!(
            "{} times built anew, up to {} rounds of {} ms each; {:.0} s in all",
            self.lives,
            self.rounds,
            self.slice.as_millis(),
            took.as_secs_f64()
        )
    }
}

/// Time per operation, over the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Stats {
    pub(crate) median: f64,
    /// Half the distance between the quartiles, as a part of the median.
    pub(crate) spread: f64,
}

impl Stats {
    pub(crate) fn of(mut samples: Vec<f64>) -> Stats {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
        let median = at(0.5);
        let spread = if median > 0.0 { (at(0.75) - at(0.25)) / 2.0 / median } else { 0.0 };
        Stats { median, spread }
    }

    /// The worst spread of a row.
    pub(crate) fn worst_spread(row: &[Option<Stats>]) -> Option<f64> {
        row.iter().flatten().map(|stats| stats.spread).reduce(f64::max)
    }
}

/// How many iterations of `job` fill one slice. Warms it up besides.
///
/// A job may do much that it does not time; then the slice is less than filled.
fn calibrate(job: &mut Job, slice: Duration) -> u64 {
    let mut iterations = 1_u64;
    loop {
        let start = Instant::now();
        let timed = job(iterations);
        let whole = start.elapsed();
        if timed * 4 >= slice || whole >= slice * UNTIMED {
            let by_time = slice.as_secs_f64() / timed.as_secs_f64();
            let by_whole = (slice * UNTIMED).as_secs_f64() / whole.as_secs_f64();
            return ((iterations as f64 * by_time.min(by_whole)) as u64).max(1);
        }
        iterations *= 4;
    }
}

/// One implementation in its turns.
struct Column {
    job: Job,
    iterations: u64,
    /// Where its samples go.
    index: usize,
}

/// Measures what `prepare` makes, a job for each implementation, each of whose iterations is
/// `operations` operations: nanoseconds for one.
pub(crate) fn measure(
    prepare: impl Fn() -> Vec<Option<Job>>,
    operations: f64,
    plan: &Plan,
) -> Vec<Option<Stats>> {
    let mut noise = Noise::new(0);
    let mut samples: Vec<Vec<f64>> = Vec::new();
    for _ in 0..plan.lives {
        let jobs = prepare();
        samples.resize_with(jobs.len(), Vec::new);
        let mut columns: Vec<Column> = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let Some(mut job) = job else { continue };
            let iterations = calibrate(&mut job, plan.slice);
            columns.push(Column { job, iterations, index });
        }
        let start = Instant::now();
        for round in 0..plan.rounds {
            if round > 0 && start.elapsed() > plan.budget {
                break;
            }
            // In another order each time, so that none always follows the same neighbour's mess.
            noise.shuffle(&mut columns);
            for Column { job, iterations, index } in &mut columns {
                if *iterations >= WARM_UP {
                    job(*iterations / WARM_UP);
                }
                let took = job(*iterations).as_secs_f64() * 1e9;
                samples[*index].push(took / *iterations as f64 / operations);
            }
        }
    }
    samples.into_iter().map(|samples| (!samples.is_empty()).then(|| Stats::of(samples))).collect()
}
