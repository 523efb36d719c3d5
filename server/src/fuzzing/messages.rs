//! What a hostile client says: messages that could mean something, from the bytes of an input.

use capnp::any_pointer;
use capnp::private::capability::ClientHook;
use capnp::traits::{HasTypeId, ImbueMut};
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, exception, message, message_target, payload, promised_answer,
    return_,
};
use killick::{Allowance, Resource, Right};
use killick_client::internal::{put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant, loader, ls_results, storer, watch};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};
use killick_schema::api::host_capnp::host;

use super::script::Bytes;

/// The ids that a client knows of.
#[derive(Default)]
pub(super) struct Ids {
    /// The next question that it asks.
    pub(super) next: u32,
    /// What the server has sent it.
    pub(super) exports: Vec<u32>,
    /// What the server asks it.
    pub(super) asked: Vec<u32>,
    /// The embargoes that the server waits for.
    pub(super) embargoes: Vec<u32>,
}

impl Ids {
    /// The number of a question of its own: one a little while ago, or any.
    pub(super) fn question(&self, bytes: &mut Bytes<'_>) -> u32 {
        let byte = bytes.next();
        match byte & 0x80 {
            0 => self.next.wrapping_sub(1).wrapping_sub(u32::from(byte)),
            _ => u32::from(byte & 0x7f),
        }
    }

    /// The number of a new question, or with `taken` of one that there may be.
    pub(super) fn new_question(&mut self, taken: bool, bytes: &mut Bytes<'_>) -> u32 {
        if taken {
            return self.question(bytes);
        }
        self.next += 1;
        self.next - 1
    }
}

/// What the parameters of a method are.
#[derive(Clone, Copy)]
enum Shape {
    Nothing,
    Path,
    Store,
    Compare,
    Swap,
    Capacity,
    Send,
    Many,
    Watch,
    Next,
    Attenuate,
}

type Any = any_pointer::Owned;

const METHODS: [(u64, u16, Shape); 20] = [
    (anchor::Client::TYPE_ID, 1, Shape::Path),
    (anchor::Client::TYPE_ID, 2, Shape::Nothing),
    (storer::Client::TYPE_ID, 0, Shape::Store),
    (loader::Client::TYPE_ID, 0, Shape::Nothing),
    (anchor::Client::TYPE_ID, 4, Shape::Swap),
    (anchor::Client::TYPE_ID, 0, Shape::Nothing),
    (anchor::Client::TYPE_ID, 3, Shape::Path),
    (storer::Client::TYPE_ID, 1, Shape::Compare),
    (host::Client::TYPE_ID, 0, Shape::Nothing),
    (host::Client::TYPE_ID, 1, Shape::Nothing),
    (host::Client::TYPE_ID, 2, Shape::Nothing),
    (42, 0, Shape::Store),
    (anchor::Client::TYPE_ID, 99, Shape::Nothing),
    (storer::Client::TYPE_ID, 0, Shape::Nothing),
    (anchor::Client::TYPE_ID, 5, Shape::Watch),
    (watch::Client::TYPE_ID, 0, Shape::Next),
    (loader::Client::TYPE_ID, 1, Shape::Nothing),
    (anchor::Client::TYPE_ID, 6, Shape::Attenuate),
    (grant::Client::TYPE_ID, 0, Shape::Nothing),
    (grant::Client::TYPE_ID, 1, Shape::Nothing),
];

/// What there is of channels: chosen by the last of the bytes, whose meaning without them was another
/// method of [`METHODS`].
const CHANNEL_METHODS: [(u64, u16, Shape); 16] = [
    (anchor::Client::TYPE_ID, 7, Shape::Capacity),
    (<sender::Client<Any> as HasTypeId>::TYPE_ID, 0, Shape::Send),
    (<recver::Client<Any> as HasTypeId>::TYPE_ID, 0, Shape::Nothing),
    (<chan::Client<Any> as HasTypeId>::TYPE_ID, 0, Shape::Nothing),
    (<chan::Client<Any> as HasTypeId>::TYPE_ID, 1, Shape::Nothing),
    (<recver::Client<Any> as HasTypeId>::TYPE_ID, 2, Shape::Many),
    (closer::Client::TYPE_ID, 0, Shape::Nothing),
    (<sender::Client<Any> as HasTypeId>::TYPE_ID, 1, Shape::Send),
    (<recver::Client<Any> as HasTypeId>::TYPE_ID, 1, Shape::Nothing),
    (<send_closer::Client<Any> as HasTypeId>::TYPE_ID, 0, Shape::Nothing),
    (<send_closer::Client<Any> as HasTypeId>::TYPE_ID, 1, Shape::Nothing),
    (<chan::Client<Any> as HasTypeId>::TYPE_ID, 2, Shape::Nothing),
    (<chan::Client<Any> as HasTypeId>::TYPE_ID, 3, Shape::Nothing),
    (<sender::Client<Any> as HasTypeId>::TYPE_ID, 0, Shape::Nothing),
    (<recver::Client<Any> as HasTypeId>::TYPE_ID, 2, Shape::Path),
    (<chan::Client<Any> as HasTypeId>::TYPE_ID, 9, Shape::Nothing),
];

/// The first byte that stands for one of them.
const CHANNELS_FROM: u8 = 0xe0;

fn method(bytes: &mut Bytes<'_>) -> (u64, u16, Shape) {
    let byte = bytes.next();
    match byte.checked_sub(CHANNELS_FROM) {
        Some(place) => CHANNEL_METHODS[usize::from(place) % CHANNEL_METHODS.len()],
        None => METHODS[usize::from(byte) % METHODS.len()],
    }
}

const PATHS: [&str; 10] =
    ["a", "a/b", "b", "", "self/a", "./a", "a/b/c/d", "../x", "a b", "a/a/a/a"];

/// The places in an answer that a promise can stand for; the last is no place of any.
const PLACES: [&[Option<u16>]; 8] = [
    &[],
    &[Some(0)],
    &[Some(1)],
    &[Some(0), Some(0)],
    &[None, Some(0)],
    &[Some(1), Some(0)],
    &[Some(2)],
    &[Some(u16::MAX)],
];

fn promised(ids: &Ids, bytes: &mut Bytes<'_>, mut answer: promised_answer::Builder<'_>) {
    answer.set_question_id(ids.question(bytes));
    let places = bytes.pick(&PLACES);
    let mut transform = answer.init_transform(places.len() as u32);
    for (index, place) in (0..).zip(places) {
        let mut op = transform.reborrow().get(index);
        match place {
            Some(field) => op.set_get_pointer_field(*field),
            None => op.set_noop(()),
        }
    }
}

fn target(ids: &Ids, bytes: &mut Bytes<'_>, mut target: message_target::Builder<'_>) {
    match bytes.next() % 2 {
        0 => target.set_imported_cap(bytes.id(&ids.exports)),
        _ => promised(ids, bytes, target.init_promised_answer()),
    }
}

fn descriptor(ids: &Ids, bytes: &mut Bytes<'_>, mut descriptor: cap_descriptor::Builder<'_>) {
    match bytes.next() % 6 {
        0 => descriptor.set_sender_hosted(u32::from(bytes.next() % 16)),
        1 => descriptor.set_sender_promise(u32::from(bytes.next() % 16)),
        2 => descriptor.set_receiver_hosted(bytes.id(&ids.exports)),
        3 => promised(ids, bytes, descriptor.init_receiver_answer()),
        4 => descriptor.set_none(()),
        _ => {
            let third = u32::from(bytes.next());
            descriptor.init_third_party_hosted().set_vine_id(third);
        }
    }
}

/// The capabilities of a message: a few of any kind, or many that the client hosts.
fn capabilities(ids: &Ids, bytes: &mut Bytes<'_>, payload: payload::Builder<'_>) {
    let count = bytes.next();
    if count & 0x80 != 0 {
        let count = u32::from(count & 0x7f) * 4;
        let mut table = payload.init_cap_table(count);
        for id in 0..count {
            table.reborrow().get(id).set_sender_hosted(id);
        }
        return;
    }
    let count = u32::from(count % 4);
    let mut table = payload.init_cap_table(count);
    for index in 0..count {
        descriptor(ids, bytes, table.reborrow().get(index));
    }
}

/// A pointer to the next capability of the message.
fn capability() -> Box<dyn ClientHook> {
    capnp_rpc::new_broken_cap(capnp::Error::failed("not a capability".into())).hook
}

fn value(bytes: &mut Bytes<'_>, mut value: any_pointer::Builder<'_>) {
    // An error: no room in the message, which is a large one then.
    let _ = match bytes.next() % 6 {
        0 => {
            value.set_as_capability(capability());
            Ok(())
        }
        1 => Ok(()),
        2 => value.set_as("a text"),
        3 => value.set_as("x".repeat(5000).as_str()),
        4 => {
            // As an answer to `walk` or `cell` has them, so that there is something to pipeline to.
            let mut cell = value.init_as::<anchor::cell_results::Builder<'_>>();
            cell.set_loader(capnp::capability::FromClientHook::new(capability()));
            cell.set_storer(capnp::capability::FromClientHook::new(capability()));
            Ok(())
        }
        _ => {
            let list = value.init_as::<ls_results::Builder<'_>>();
            let mut list = list.init_children(4);
            for index in 0..4 {
                let anchor = capnp::capability::FromClientHook::new(capability());
                list.reborrow().get(index).set_anchor(anchor);
            }
            Ok(())
        }
    };
}

fn parameters(shape: Shape, bytes: &mut Bytes<'_>, content: any_pointer::Builder<'_>) {
    match shape {
        Shape::Nothing => {}
        Shape::Path => {
            let path = bytes.pick(&PATHS);
            content.init_as::<anchor::walk_params::Builder<'_>>().set_path(path);
        }
        Shape::Store => {
            let mut store = content.init_as::<storer::store_params::Builder<'_>>();
            let flags = bytes.next();
            store.set_overwrite(flags & 1 == 0);
            store.set_bound(flags & 2 != 0);
            value(bytes, store.init_value());
        }
        Shape::Compare => {
            let mut store = content.init_as::<storer::compare_and_store_params::Builder<'_>>();
            let flags = bytes.next();
            store.set_bound(flags & 1 != 0);
            store.set_expected(u64::from(flags >> 1));
            value(bytes, store.init_value());
        }
        Shape::Swap => {
            let mut swap = content.init_as::<anchor::swap_params::Builder<'_>>();
            swap.set_bound(bytes.next() & 1 != 0);
            value(bytes, swap.init_value());
        }
        Shape::Capacity => {
            let capacity = u32::from(bytes.next() % 4);
            content.init_as::<anchor::new_chan_params::Builder<'_>>().set_capacity(capacity);
        }
        Shape::Send => {
            let send = content.init_as::<sender::send_params::Builder<'_, Any>>();
            value(bytes, send.init_value());
        }
        Shape::Many => {
            let max = u32::from(bytes.next());
            content.init_as::<recver::recv_many_params::Builder<'_, Any>>().set_max(max);
        }
        Shape::Attenuate => {
            let mut asked = content.init_as::<anchor::attenuate_params::Builder<'_>>();
            let (rights, limits) = (bytes.next(), bytes.next());
            let has = |right: &Right| rights & (1 << *right as u8) != 0;
            put_rights(
                Right::ALL.into_iter().filter(has).collect(),
                asked.reborrow().init_rights(),
            );
            if limits & 0x80 != 0 {
                let limit = |all: Allowance, resource: Resource| {
                    all.with(resource, usize::from(limits & 0x7f) * 8)
                };
                let limits = Resource::ALL.into_iter().fold(Allowance::default(), limit);
                put_limits(limits, asked.init_limits());
            }
        }
        Shape::Watch => {
            let mut watch = content.init_as::<anchor::watch_params::Builder<'_>>();
            let flags = bytes.next();
            watch.set_value(flags & 1 == 0);
            watch.set_children(flags & 2 != 0);
        }
        Shape::Next => {
            // Changes are numbered from 1.
            let mut next = content.init_as::<watch::next_params::Builder<'_>>();
            next.set_after(u64::from(bytes.next() % 8));
        }
    }
}

fn filled(
    ids: &Ids,
    bytes: &mut Bytes<'_>,
    mut payload: payload::Builder<'_>,
    fill: impl FnOnce(&mut Bytes<'_>, any_pointer::Builder<'_>),
) {
    let mut indices = Vec::new();
    let mut content = payload.reborrow().init_content();
    content.imbue_mut(&mut indices);
    fill(bytes, content);
    capabilities(ids, bytes, payload);
}

pub(super) fn call(ids: &mut Ids, bytes: &mut Bytes<'_>, mut call: call::Builder<'_>) -> u32 {
    let flags = bytes.next();
    let question = ids.new_question(flags & 1 != 0, bytes);
    call.set_question_id(question);
    let mut results = call.reborrow().init_send_results_to();
    match flags >> 1 & 3 {
        0 | 3 => results.set_caller(()),
        1 => results.set_yourself(()),
        _ => drop(results.init_third_party()),
    }
    call.set_no_promise_pipelining(flags & 8 != 0);
    call.set_only_promise_pipeline(flags & 16 != 0);
    target(ids, bytes, call.reborrow().init_target());
    let (interface, method, shape) = method(bytes);
    call.set_interface_id(interface);
    call.set_method_id(method);
    let params = |bytes: &mut Bytes<'_>, content: any_pointer::Builder<'_>| {
        parameters(shape, bytes, content);
    };
    filled(ids, bytes, call.init_params(), params);
    question
}

fn error(bytes: &mut Bytes<'_>, mut exception: exception::Builder<'_>) {
    exception.set_reason("on purpose");
    exception.set_type(bytes.pick(&[
        exception::Type::Failed,
        exception::Type::Overloaded,
        exception::Type::Disconnected,
        exception::Type::Unimplemented,
    ]));
}

pub(super) fn answer(ids: &mut Ids, bytes: &mut Bytes<'_>, mut answer: return_::Builder<'_>) {
    let flags = bytes.next();
    let asked = bytes.id(&ids.asked);
    if flags & 1 == 0 {
        ids.asked.retain(|&id| id != asked);
    }
    answer.set_answer_id(asked);
    answer.set_release_param_caps(flags & 2 != 0);
    answer.set_no_finish_needed(flags & 4 != 0);
    match bytes.next() % 6 {
        0 => filled(ids, bytes, answer.init_results(), value),
        1 => error(bytes, answer.init_exception()),
        2 => answer.set_canceled(()),
        3 => answer.set_results_sent_elsewhere(()),
        4 => answer.set_take_from_other_question(ids.question(bytes)),
        _ => drop(answer.init_accept_from_third_party()),
    }
}

pub(super) fn resolve(
    ids: &Ids,
    bytes: &mut Bytes<'_>,
    mut resolve: capnp_rpc::rpc_capnp::resolve::Builder<'_>,
) {
    let byte = bytes.next();
    resolve.set_promise_id(u32::from(byte % 16));
    match byte & 0x80 {
        0 => descriptor(ids, bytes, resolve.init_cap()),
        _ => error(bytes, resolve.init_exception()),
    }
}

pub(super) fn disembargo(ids: &Ids, bytes: &mut Bytes<'_>, mut embargo: disembargo::Builder<'_>) {
    target(ids, bytes, embargo.reborrow().init_target());
    let mut context = embargo.init_context();
    match bytes.next() % 4 {
        0 => context.set_receiver_loopback(bytes.id(&ids.embargoes)),
        1 => context.set_sender_loopback(u32::from(bytes.next())),
        2 => context.set_accept(()),
        _ => context.set_provide(u32::from(bytes.next())),
    }
}

/// Of another message, that the server is said not to know it.
pub(super) fn unimplemented(ids: &Ids, bytes: &mut Bytes<'_>, message: message::Builder<'_>) {
    match bytes.next() % 4 {
        0 => resolve(ids, bytes, message.init_resolve()),
        1 => message.init_release().set_id(bytes.id(&ids.exports)),
        2 => message.init_return().set_answer_id(ids.question(bytes)),
        _ => message.init_finish().set_question_id(u32::from(bytes.next())),
    }
}

pub(super) fn higher(ids: &mut Ids, bytes: &mut Bytes<'_>, message: message::Builder<'_>) {
    match bytes.next() % 5 {
        0 => {
            let mut provide = message.init_provide();
            provide.set_question_id(ids.new_question(false, bytes));
            target(ids, bytes, provide.init_target());
        }
        1 => message.init_accept().set_question_id(ids.new_question(false, bytes)),
        2 => {
            let mut join = message.init_join();
            join.set_question_id(ids.new_question(false, bytes));
            target(ids, bytes, join.init_target());
        }
        3 => drop(message.init_obsolete_save()),
        _ => drop(message.init_obsolete_delete()),
    }
}
