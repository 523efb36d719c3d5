//! `Process`, and its streams: `ByteSource` and `ByteSink`.

use std::rc::Rc;
use std::sync::Arc;

use capnp::capability::FromClientHook;
use capnp::private::capability::ClientHook;
use capnp::{Error, ErrorKind};
use killick::{Denied, Right};
use killick_schema::api::anchor_capnp::anchor::{ExecParams, ExecResults};
use killick_schema::api::process_capnp::process::{
    BootstrapParams, BootstrapResults, KillParams, KillResults, Server, SignalParams,
    SignalResults, StatusParams, StatusResults, StderrParams, StderrResults, StdinParams,
    StdinResults, StdoutParams, StdoutResults, WaitParams, WaitResults,
};
use killick_schema::api::process_capnp::{byte_sink, byte_source};

use crate::bridge::{Peer, settle};
use crate::cap::{Cap, Own};
use crate::place::{Place, while_granted};
use crate::process::{Hand, Process, Sink, Source, Which, exec};
use crate::session::Session;
use crate::wire;

/// Starts a process for a client who has the host, or else the anchor at `place`, which has to be narrowed to
/// the right to.
pub(super) async fn start(
    session: &Rc<Session>,
    place: Option<&Place>,
    params: ExecParams,
    mut results: ExecResults,
) -> Result<(), Error> {
    let granted = match place {
        None => None,
        Some(place) => {
            let Some(granted) = place.authority() else {
                return Err(wire::denied(Denied::Right(Right::Exec)));
            };
            place.require(Right::Exec).map_err(wire::denied)?;
            Some(granted)
        }
    };
    let params = params.get()?;
    if !params.has_anchor() {
        return Err(Error::failed("exec needs the anchor that its process is to have".into()));
    }
    let hook = settle(&**session, params.get_anchor()?.into_client_hook()).await?;
    let anchor = match session.known(&*hook) {
        Some(Cap::Own(anchor @ (Own::Host | Own::Cluster(_) | Own::Anchor(_)))) => anchor,
        _ => return Err(no_anchor(session, &*hook).await),
    };
    let hand = exec(session, granted, params.get_command()?, anchor);
    let hand = while_granted(granted, hand).await.map_err(wire::denied)??;
    results.get().set_process(session.own(Own::Process(hand))?);
    Ok(())
}

/// Why what a client gave as an anchor is none: the error that it stands for, if it does.
async fn no_anchor(session: &Session, hook: &dyn ClientHook) -> Error {
    // A method that no interface has: whatever it is, it does nothing.
    let asked = hook.new_call(0, 0, None).send().promise;
    match tokio::time::timeout(session.config().settle_timeout, asked).await {
        Ok(Err(error)) if error.kind != ErrorKind::Unimplemented => error,
        _ => {
            let words = "what the process is to have as its anchor is no anchor of this host's";
            Error::failed(words.into())
        }
    }
}

pub(super) struct ProcessService {
    pub(super) session: Rc<Session>,
    pub(super) hand: Hand,
}

impl ProcessService {
    fn process(&self) -> Result<&Arc<Process>, Error> {
        self.hand.process().map_err(wire::denied)
    }

    /// Waits for something that may never happen, unless what was granted is revoked.
    async fn unless_revoked<T>(&self, waited: impl Future<Output = T>) -> Result<T, Error> {
        let _resting = self.session.resting();
        while_granted(self.hand.authority(), waited).await.map_err(wire::denied)
    }

    fn stream<C: FromClientHook>(&self, which: Which) -> Result<C, Error> {
        let process = self.process()?;
        let is_piped = match which {
            Which::Stdin => process.stdin().is_some(),
            Which::Stdout => process.stdout().is_some(),
            Which::Stderr => process.stderr().is_some(),
        };
        if !is_piped {
            return Err(Error::failed(format!("{which} of the process is not piped")));
        }
        self.session.own(Own::Stream(self.hand.clone(), which))
    }
}

impl Server for ProcessService {
    async fn wait(self: Rc<Self>, _: WaitParams, mut results: WaitResults) -> Result<(), Error> {
        let process = self.process()?;
        let ended = self.unless_revoked(process.ended()).await?;
        results.get().set_exit_code(ended.code());
        Ok(())
    }

    async fn kill(self: Rc<Self>, _: KillParams, _: KillResults) -> Result<(), Error> {
        let process = self.process()?;
        if process.end().is_some() {
            return Err(process.has_ended());
        }
        process.kill();
        self.unless_revoked(process.ended()).await?;
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: StatusParams,
        mut results: StatusResults,
    ) -> Result<(), Error> {
        use std::os::unix::process::ExitStatusExt;
        let process = self.process()?;
        let mut status = results.get().init_status();
        match process.end() {
            None => status.set_running(()),
            Some(ended) => match ended.status.signal() {
                Some(signal) => status.set_signalled(signal.unsigned_abs()),
                None => status.set_exited(ended.code()),
            },
        }
        status.set_pid(process.pid());
        status.set_program(process.program());
        status.set_age_millis(u64::try_from(process.age().as_millis()).unwrap_or(u64::MAX));
        Ok(())
    }

    async fn signal(self: Rc<Self>, params: SignalParams, _: SignalResults) -> Result<(), Error> {
        self.process()?.signal(params.get()?.get_number())
    }

    async fn stdin(self: Rc<Self>, _: StdinParams, mut results: StdinResults) -> Result<(), Error> {
        results.get().set_stdin(self.stream(Which::Stdin)?);
        Ok(())
    }

    async fn stdout(
        self: Rc<Self>,
        _: StdoutParams,
        mut results: StdoutResults,
    ) -> Result<(), Error> {
        results.get().set_stdout(self.stream(Which::Stdout)?);
        Ok(())
    }

    async fn stderr(
        self: Rc<Self>,
        _: StderrParams,
        mut results: StderrResults,
    ) -> Result<(), Error> {
        results.get().set_stderr(self.stream(Which::Stderr)?);
        Ok(())
    }

    async fn bootstrap(
        self: Rc<Self>,
        _: BootstrapParams,
        mut results: BootstrapResults,
    ) -> Result<(), Error> {
        let process = self.process()?;
        let exported = self.unless_revoked(process.exported()).await??;
        let hook = wire::come_to(&self.session, self.hand.authority(), &exported)?;
        results.get().init_capability().set_as_capability(hook);
        Ok(())
    }
}

/// A stream of a process.
pub(super) struct StreamService {
    pub(super) session: Rc<Session>,
    pub(super) hand: Hand,
    pub(super) which: Which,
}

impl StreamService {
    /// Uses it, unless what was granted is revoked before that is done.
    async fn with<T>(&self, used: impl Future<Output = std::io::Result<T>>) -> Result<T, Error> {
        let _resting = self.session.resting();
        let used = while_granted(self.hand.authority(), used).await.map_err(wire::denied)?;
        used.map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => {
                Error::failed("the process does not read any more".into())
            }
            _ => Error::failed(format!("{} of the process: {error}", self.which)),
        })
    }

    fn process(&self) -> Result<&Arc<Process>, Error> {
        self.hand.process().map_err(wire::denied)
    }

    /// The error of a sink that is closed.
    fn closed(&self) -> Result<Error, Error> {
        let process = self.process()?;
        Ok(match process.end() {
            Some(_) => process.has_ended(),
            None => Error::failed("stdin of the process is closed already".into()),
        })
    }

    fn source(&self) -> Result<&Source, Error> {
        let process = self.process()?;
        let source = match self.which {
            Which::Stdin => None,
            Which::Stdout => process.stdout(),
            Which::Stderr => process.stderr(),
        };
        source.ok_or_else(no_such_stream)
    }

    fn sink(&self) -> Result<&Sink, Error> {
        let process = self.process()?;
        process.stdin().filter(|_| self.which == Which::Stdin).ok_or_else(no_such_stream)
    }
}

/// Of a stream that is asked for what it is not.
fn no_such_stream() -> Error {
    Error { kind: ErrorKind::Unimplemented, extra: "not that kind of stream".into() }
}

impl byte_source::Server for StreamService {
    async fn read(
        self: Rc<Self>,
        params: byte_source::ReadParams,
        mut results: byte_source::ReadResults,
    ) -> Result<(), Error> {
        let most = params.get()?.get_max_bytes() as usize;
        let bytes = self.with(self.source()?.read(most)).await?;
        if bytes.is_empty() {
            self.process()?.release();
        }
        results.get().set_data(&bytes);
        Ok(())
    }
}

impl byte_sink::Server for StreamService {
    async fn write(
        self: Rc<Self>,
        params: byte_sink::WriteParams,
        _: byte_sink::WriteResults,
    ) -> Result<(), Error> {
        let bytes = params.get()?.get_data()?;
        match self.with(self.sink()?.write(bytes)).await? {
            true => Ok(()),
            false => Err(self.closed()?),
        }
    }

    async fn close(
        self: Rc<Self>,
        _: byte_sink::CloseParams,
        _: byte_sink::CloseResults,
    ) -> Result<(), Error> {
        let sink = self.sink()?;
        match self.with(async { Ok(sink.close().await) }).await? {
            true => Ok(()),
            false => Err(self.closed()?),
        }
    }
}
