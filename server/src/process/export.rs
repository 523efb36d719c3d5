//! What a process exports: the bootstrap capability of its end of its connection.
//!
//! The RPC system's promise of it never resolves, but calls on that go through. So whether there is something is
//! told by a call of a method that no interface has: its object says that it does not know that, and what is no
//! object says why it is none. Neither has done anything.

use std::rc::Rc;
use std::sync::Arc;

use capnp::capability::{Client, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, ErrorKind, MessageSize, any_pointer};

use super::Process;
use crate::bridge::Peer;
use crate::session::Session;

/// Has what `process` exports, `bootstrap`, told to those who ask for it, once it is known: when the process has
/// answered, however long that takes, or its connection has ended.
pub(crate) fn ask(process: &Arc<Process>, bootstrap: Client, session: &Rc<Session>) {
    let (process, session) = (Arc::downgrade(process), session.clone());
    tokio::task::spawn_local(async move {
        let hook = bootstrap.hook;
        let known = match hook.new_call(0, 0, None).send().promise.await {
            Err(error) if error.kind != ErrorKind::Unimplemented => Err(error),
            _ => session.import(Box::new(Answered(hook))),
        };
        if let Some(process) = process.upgrade() {
            process.exports(known);
        }
    });
}

/// A promise that is known to have been answered, as what it is good for: something settled.
struct Answered(Box<dyn ClientHook>);

impl ClientHook for Answered {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        Box::new(Answered(self.0.add_ref()))
    }

    fn new_call(
        &self,
        interface: u64,
        method: u16,
        size: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.0.new_call(interface, method, size)
    }

    fn call(
        &self,
        interface: u64,
        method: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        self.0.call(interface, method, params, results)
    }

    fn get_brand(&self) -> usize {
        self.0.get_brand()
    }

    fn get_ptr(&self) -> usize {
        self.0.get_ptr()
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        None
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        Promise::ok(())
    }
}
