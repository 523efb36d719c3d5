//! The streams of a process: pipes, which hold some bytes and make the process wait for the rest. Each is closed
//! as soon as nothing more can come of it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;

/// How much is read at most, where a reader does not say.
const READ_BYTES: usize = 64 * 1024;

/// What comes out of a process. Readers have turns.
pub(crate) struct Source(Mutex<Option<pipe::Receiver>>);

impl Source {
    /// Must be called within a runtime, which reads then, also for those on other threads.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(pipe).map(|pipe| Source(Mutex::new(Some(pipe))))
    }

    /// Some bytes, `most` of them or fewer, as soon as there are any; none at the end. If it is given up, it
    /// has read nothing.
    pub(crate) async fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut source = self.0.lock().await;
        let Some(pipe) = &*source else { return Ok(Vec::new()) };
        loop {
            pipe.readable().await?;
            // Only now: who waits takes no room.
            let mut bytes = vec![0; if most == 0 { READ_BYTES } else { most.min(READ_BYTES) }];
            match pipe.try_read(&mut bytes) {
                Ok(count) => {
                    bytes.truncate(count);
                    if count == 0 {
                        *source = None;
                    }
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it has been read to its end: if nobody is about to, it is looked at.
    pub(super) fn is_over(&self) -> bool {
        let Ok(mut source) = self.0.try_lock() else { return false };
        if let Some(pipe) = &*source {
            let mut looked = [PollFd::new(pipe, PollFlags::IN)];
            // An error: it is looked at another time.
            let _ = poll(&mut looked, Some(&Timespec::default()));
            let found = looked[0].revents();
            // Nobody is left who could write, and nothing is in it.
            if found.contains(PollFlags::HUP) && !found.contains(PollFlags::IN) {
                *source = None;
            }
        }
        source.is_none()
    }
}

/// What goes into a process. Writers have turns.
pub(crate) struct Sink(Mutex<Option<pipe::Sender>>);

impl Sink {
    /// As [`Source::new`].
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        pipe::Sender::from_owned_fd(pipe).map(|pipe| Sink(Mutex::new(Some(pipe))))
    }

    /// Writes all of it, unless the process does not read any more: what was written until then may have been
    /// read or not. Whether the sink was open.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<bool> {
        let mut sink = self.0.lock().await;
        let Some(pipe) = &*sink else { return Ok(false) };
        while !bytes.is_empty() {
            pipe.writable().await?;
            match pipe.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    *sink = None;
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Has the process read the end, after what is being written. Whether it was open.
    pub(crate) async fn close(&self) -> bool {
        self.0.lock().await.take().is_some()
    }

    /// Closes it, unless somebody is writing, for a process that has ended. Whether it is closed.
    pub(super) fn is_over(&self) -> bool {
        self.0.try_lock().is_ok_and(|mut sink| {
            *sink = None;
            true
        })
    }
}
