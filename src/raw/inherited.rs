//! Descriptors that this process was given by whoever started it.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that says its number.
const VARIABLE: &str = "KILLICK_FD";

/// Whether somebody has it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The socket whose number the variable `KILLICK_FD` says, for the first who asks.
///
/// # Errors
/// [`NotFound`](io::ErrorKind::NotFound): there is no such variable, or the socket has been taken;
/// [`InvalidInput`](io::ErrorKind::InvalidInput): it names no open socket.
pub fn inherited() -> io::Result<OwnedFd> {
    let none = |words: &str| io::Error::new(io::ErrorKind::NotFound, words);
    let bad = || {
        let words = format!("{VARIABLE} is not the number of an open socket");
        io::Error::new(io::ErrorKind::InvalidInput, words)
    };
    let number = env::var_os(VARIABLE)
        .ok_or_else(|| none("KILLICK_FD is not set: no killick server has started this process"))?;
    let number: i32 = number.to_str().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
    let what = fs::metadata(format!("/proc/self/fd/{number}")).map_err(|_| bad())?;
    if number < 3 || !what.file_type().is_socket() {
        return Err(bad());
    }
    // Relaxed: the exchange alone decides who is first, and publishes nothing. No partner, no model.
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(none("the connection that this process was given has been taken"));
    }
    // SAFETY: the descriptor is open. It is nobody else's: the variable says that whoever started this process
    // has left it open for the one who reads that, here and once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor but the standard streams and `kept`, in a process that has only just begun, before
/// anything in it has opened one that it still needs: those that its parent had open and did not mean to hand on.
///
/// # Errors
/// They cannot be listed: none is closed.
pub fn close_all_but(kept: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let kept = kept.map(|kept| kept.as_raw_fd());
    let listed = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name()));
    // The list itself is closed before the first of them is.
    let listed = listed.collect::<io::Result<Vec<_>>>()?;
    let numbers = listed.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| *number > 2 && !kept.contains(number)) {
        if fs::metadata(format!("/proc/self/fd/{number}")).is_ok() {
            // SAFETY: the descriptor is open, and no one's here: those of this process's own are kept.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_the_variable_there_is_none() {
        let error = super::inherited().expect_err("not started by a server");
        assert!(error.to_string().starts_with("KILLICK_FD is not set"), "{error}");
    }
}
