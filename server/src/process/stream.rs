//! The streams of a process: pipes, which hold some bytes and make the process wait for the rest.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;
use tokio::sync::Mutex;

/// How much is read at most, where a reader does not say.
const READ_BYTES: usize = 64 * 1024;

/// What comes out of a process. Readers have turns.
pub(crate) struct Source(Mutex<pipe::Receiver>);

impl Source {
    /// Must be called within a runtime, which reads then, also for those on other threads.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(pipe).map(|pipe| Source(Mutex::new(pipe)))
    }

    /// Some bytes, `most` of them or fewer, as soon as there are any; none at the end. If it is given up, it
    /// has read nothing.
    pub(crate) async fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let pipe = self.0.lock().await;
        let mut bytes = Vec::new();
        loop {
            pipe.readable().await?;
            // Only now: who waits takes no room.
            bytes.resize(if most == 0 { READ_BYTES } else { most.min(READ_BYTES) }, 0);
            match pipe.try_read(&mut bytes) {
                Ok(count) => {
                    bytes.truncate(count);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => bytes = Vec::new(),
                Err(error) => return Err(error),
            }
        }
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
        let pipe = self.0.lock().await;
        let Some(pipe) = &*pipe else { return Ok(false) };
        while !bytes.is_empty() {
            pipe.writable().await?;
            match pipe.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Has the process read the end, after what is being written. Whether it was open.
    pub(crate) async fn close(&self) -> bool {
        self.0.lock().await.take().is_some()
    }
}
