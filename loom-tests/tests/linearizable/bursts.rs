//! A scheduler for races in which one thread has to do much while another one does little, several
//! times over. Where each step goes to any thread they advance alike, and a few changes of priority
//! are used up soon.

use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

/// Each thread runs in bursts. Their mean length is its own in an execution: from one step to 128.
pub(crate) struct Bursts {
    /// Counts the executions, and has the random numbers of their threads.
    executions: RandomScheduler,
    random: u64,
    /// For each thread, the logarithm of its mean burst.
    lengths: Vec<u32>,
}

impl Bursts {
    pub(crate) fn new(seed: u64, schedules: usize) -> Self {
        let executions = RandomScheduler::new_from_seed(seed, schedules);
        Bursts { executions, random: seed, lengths: Vec::new() }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Scheduler for Bursts {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.lengths.clear();
        self.executions.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        if let Some(current) = current.filter(|id| runnable.iter().any(|task| task.id() == *id)) {
            let thread = usize::from(current);
            while self.lengths.len() <= thread {
                let length = self.next() % 8;
                self.lengths.push(length as u32);
            }
            if self.next() % (1 << self.lengths[thread]) != 0 {
                return Some(current);
            }
        }
        let chosen = self.next() % runnable.len() as u64;
        Some(runnable[chosen as usize].id())
    }

    fn next_u64(&mut self) -> u64 {
        self.executions.next_u64()
    }
}
