//! Signals by their numbers, those for real time included, and what this process hands on of them.

use std::ffi::c_int;
use std::io;
use std::num::NonZeroU32;

/// The numbers that signals have. Those between the named ones and those for real time are the C library's own.
const NUMBERS: [std::ops::RangeInclusive<c_int>; 2] = [1..=31, 34..=64];

/// Has the system do what it does by default.
const DEFAULT: usize = 0;

unsafe extern "C" {
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
}

/// Sends a signal, by its number, to all processes of a group.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput): there is no such signal, or no such number of a group; or the
/// system's, if there is no such group or it is another user's.
pub fn signal_group(group: NonZeroU32, number: u32) -> io::Result<()> {
    let none = || io::Error::from(io::ErrorKind::InvalidInput);
    let number = c_int::try_from(number).map_err(|_| none())?;
    // 1 with a minus is everybody.
    let group = c_int::try_from(group.get()).ok().filter(|group| *group > 1).ok_or_else(none)?;
    if !NUMBERS.iter().any(|range| range.contains(&number)) {
        return Err(none());
    }
    // SAFETY: the call takes two numbers, and touches no memory of this process.
    match unsafe { kill(-group, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has every signal do what it does by default: signals that are ignored stay so in the program that a process
/// becomes. For a process of one thread that is about to become one.
pub fn default_signals() {
    for number in NUMBERS.into_iter().flatten() {
        // SAFETY: what is set is no code of this process's, but the default. What was set before is needed no more:
        // this process is about to be another program. An error is of a signal that cannot be set, and has it.
        unsafe { signal(number, DEFAULT) };
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    fn group(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not 0")
    }

    #[test]
    fn a_group_is_sent_every_signal_that_there_is_and_no_other() {
        for number in [15, 34, 64] {
            let mut sleeping =
                Command::new("sleep").arg("60").process_group(0).spawn().expect("sleep");
            for bad in [0, 32, 33, 65, u32::MAX] {
                let error = signal_group(group(sleeping.id()), bad).expect_err("no signal");
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            }
            signal_group(group(sleeping.id()), number).expect("sent");
            let ended = sleeping.wait().expect("waited for").signal();
            assert_eq!(ended, i32::try_from(number).ok());
            assert!(signal_group(group(sleeping.id()), number).is_err(), "there is none");
        }
        for everybody in [1, 1 << 31, u32::MAX] {
            let error = signal_group(group(everybody), 15).expect_err("no group");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
