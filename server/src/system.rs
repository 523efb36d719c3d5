//! What the operating system tells of this process.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// The processor time that this process has taken, in microseconds.
pub(crate) fn cpu_micros() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(micros).unwrap_or(0)
}

/// Has the allocator give back what it has kept. It puts that off until it is asked for something, which in a
/// server that nobody uses may be never; so this asks for something large and returns it.
pub(crate) fn give_back() {
    const BYTES: usize = 1 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BYTES)));
}

/// The resident memory of this process; 0 where the system does not tell it.
pub(crate) fn resident_bytes() -> u64 {
    resident_pages().map_or(0, |pages| pages * rustix::param::page_size() as u64)
}

fn resident_pages() -> Option<u64> {
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    sizes.split_ascii_whitespace().nth(1)?.parse().ok()
}
