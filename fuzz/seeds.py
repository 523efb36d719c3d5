#!/usr/bin/env python3
"""Writes the hand-made seeds in fuzz/seeds. Run it from anywhere: python3 fuzz/seeds.py

Seeds found by fuzzing are added as files and are not in here. See what a wire seed says with
    capnp convert binary:text --quiet /usr/include/capnp/rpc.capnp Message < fuzz/seeds/wire/NAME
"""

import struct
from pathlib import Path

# ---- path: name limit, path limit, starting depth (128 and more: no limit), then the text ----

FREE = bytes([200, 200, 0])
PATHS = {
    "plain": FREE + b"a/b/c",
    "empty": FREE,
    "filler": FREE + b"//a/./b/.//",
    "dot-dot": FREE + b"a/../b",
    "dots": FREE + b".../.a/a./a..b/..",
    "space": FREE + b"a b",
    "backslash": FREE + b"a/b\\c",
    "high-byte": FREE + "a/\u00e9".encode(),
    "control": FREE + b"a/b\x7f",
    "percent": FREE + b"%2F/%2e%2e",
    "name-too-long": bytes([4, 200, 0]) + b"abcd/abcde/..",
    "name-of-256": FREE + b"n" * 256,
    "path-too-long": bytes([200, 5, 0]) + b"a/b/c/",
    "too-deep": bytes([8, 200, 3]) + b"a/b/c/d/e",
    "deep-start": bytes([200, 200, 7]) + b"./a/b",
    "no-limits-at-all": bytes([0, 0, 0]) + b"",
    "no-name-fits": bytes([0, 200, 2]) + b"./a",
    "file": FREE + b"usr/share/doc/libc6/NEWS.Debian.gz",
}

# ---- tree_ops: limits and way to end, then operations as `Bytes::op` in src/testing.rs reads them

WALK, LOOKUP, LS, NAMES, CLONE, DROP, CELL, LOAD, LOAD_AT = 0, 3, 4, 5, 6, 7, 10, 11, 12
STORE, STORE_AT, CLEAR, SWAP, COMPARE, GROW, SHRINK, PHASE = 13, 14, 15, 16, 17, 18, 19, 20
A, B, AB, ABC, DEEP, BA = 0, 1, 2, 3, 4, 5
ROOT = 7  # a slot that these seeds leave empty
OPEN, SURVIVE = 0, 0x80
# Phases of two threads, or of three; below nodes of their own, or at one node, which is held or not.
OWN, SHARED, KEPT, THREE = 0, 1, 5, 2


def phase(kind, *programs):
    """Each program a list of operations, and each of these a list of bytes."""
    encoded = [b for program in programs for b in [len(program), *sum(program, [])]]
    return [PHASE, kind, *encoded]


COME_AND_GO = [[WALK, ROOT, A, 0], [DROP, 0]] * 12
STORE_AND_CLEAR = [[WALK, ROOT, AB, 0]] + [[STORE, 0, 1, 1], [SWAP, 0, 1], [CLEAR, 0]] * 7
COMPARE_AND_STORE = [[WALK, ROOT, AB, 0]] + [[LOAD, 0], [COMPARE, 0, 0, 1]] * 11
CREATE_BELOW = [[WALK, ROOT, ABC, 0], [DROP, 0], [WALK, ROOT, BA, 1], [DROP, 1]] * 6
UP_AND_DOWN = [[GROW, ROOT, 0, 39], [NAMES, ROOT], [SHRINK, 0, 20], [LS, ROOT, 3, 0], [SHRINK, 0, 255]] * 4
BY_PATH = [[STORE_AT, ROOT, AB, 1, 1], [LOAD_AT, ROOT, AB], [LOOKUP, ROOT, AB, 0], [CLEAR, 0], [DROP, 0]] * 4

TREE_OPS = {
    "empty": bytes([OPEN]),
    "four-calls-of-the-origin": bytes(
        [OPEN, WALK, ROOT, A, 0, WALK, ROOT, AB, 1, DROP, 0, WALK, ROOT, A, 0]
    ),
    "walk-and-release": bytes([OPEN] + [WALK, ROOT, ABC, 0, DROP, 0] * 40),
    "cell": bytes(
        [OPEN, WALK, ROOT, AB, 0, CELL, 0, 1, 2, DROP, 0, STORE, 2, 1, 0, LOAD, 1, STORE, 2, 1, 0]
        + [STORE, 2, 1, 1, LOAD, 1, COMPARE, 2, 0, 1, COMPARE, 2, 1, 1, SWAP, 2, 1, CLEAR, 2]
        + [LOAD, 1, DROP, 1, DROP, 2]
    ),
    "values-keep-nodes": bytes(
        [OPEN, STORE_AT, ROOT, ABC, 1, 0, STORE_AT, ROOT, AB, 1, 1, LOAD_AT, ROOT, ABC]
        + [STORE_AT, ROOT, ABC, 0, 1, LOOKUP, ROOT, AB, 0, CLEAR, 0, LOAD, 0, DROP, 0]
    ),
    "children-up-and-down": bytes(
        [OPEN, WALK, ROOT, A, 0, GROW, 0, 0, 2, GROW, 0, 1, 14, GROW, 0, 2, 1, NAMES, 0]
        + [GROW, 0, 3, 255, GROW, 0, 40, 255, LS, 0, 100, 1, SHRINK, 7, 255, NAMES, 0]
        + [SHRINK, 3, 250, NAMES, 0, SHRINK, 0, 5, NAMES, 0, SHRINK, 0, 255, NAMES, 0]
    ),
    "tight-limits": bytes(
        [2, WALK, ROOT, DEEP, 0, WALK, ROOT, AB, 0, WALK, ROOT, BA, 1, WALK, 0, ABC, 2]
        + [GROW, 0, 0, 9, WALK, 0, 26, 3, WALK, 0, 27, 3, LS, 0, 0, 4, DROP, 0, DROP, 1]
    ),
    "sixteen-children": bytes(
        [3, WALK, ROOT, A, 0, GROW, 0, 0, 17, GROW, ROOT, 0, 40, SHRINK, 0, 3, GROW, 0, 8, 9]
    ),
    "odd-paths": bytes([OPEN] + [b for path in range(32) for b in (WALK, ROOT, path, path % 6)]),
    "survivors": bytes(
        [SURVIVE, STORE_AT, ROOT, ABC, 1, 0, WALK, ROOT, AB, 0, CELL, 0, 1, 2, STORE, 2, 1, 0]
        + [GROW, 0, 0, 40, CLONE, 0, 3]
    ),
    "threads-walk-and-release": bytes(
        [OPEN] + phase(SHARED | THREE, COME_AND_GO, COME_AND_GO, COME_AND_GO) * 2
        + phase(SHARED, COME_AND_GO, CREATE_BELOW) * 2 + phase(OWN, COME_AND_GO, CREATE_BELOW)
    ),
    "threads-change-one-cell": bytes(
        [OPEN] + phase(KEPT | THREE, STORE_AND_CLEAR, COMPARE_AND_STORE, STORE_AND_CLEAR) * 3
        + phase(SHARED | THREE, STORE_AND_CLEAR, BY_PATH, COMPARE_AND_STORE) * 3
    ),
    "threads-grow-and-shrink-a-table": bytes(
        [OPEN] + phase(SHARED | THREE, UP_AND_DOWN, UP_AND_DOWN, COME_AND_GO) * 2
        + phase(OWN | THREE, UP_AND_DOWN, UP_AND_DOWN, CREATE_BELOW) * 2
    ),
    "threads-beside-what-is-held": bytes(
        [SURVIVE, WALK, ROOT, A, 0, GROW, ROOT, 0, 40] + phase(OWN | THREE, BY_PATH, CREATE_BELOW, UP_AND_DOWN)
        + [SHRINK, 0, 39] + phase(KEPT, UP_AND_DOWN, BY_PATH) + [STORE, 0, 1, 1, NAMES, ROOT]
        + phase(SHARED, BY_PATH, BY_PATH) + [LOAD, 0]
    ),
    "threads-at-limits": bytes(
        [3] + phase(SHARED | THREE, UP_AND_DOWN, CREATE_BELOW, BY_PATH) + phase(OWN, COME_AND_GO, BY_PATH)
        + [GROW, ROOT, 0, 12] + phase(KEPT, UP_AND_DOWN, UP_AND_DOWN) + [NAMES, ROOT]
    ),
    "literal-path": bytes([OPEN, WALK, ROOT, 0xE5]) + b"x/y/z" + bytes([0, LOAD_AT, ROOT, 0xE3]) + b"x\\y",
}

# ---- wire: what a client sends; one segment a message, laid out by hand after rpc.capnp ----

ANCHOR, LOADER, STORER, HOST = (
    0xE41237E4098ED922,
    0x8A336AC7E2D028C1,
    0xAB8D091F98599D27,
    0xADAC12092EB9F144,
)
WATCH = 0x945455F214EEE58D


class Struct:
    """A struct of data words and pointers; a pointer is a Struct, bytes (Text), Raw or None."""

    def __init__(self, data, *pointers):
        self.data, self.pointers = data, pointers
        assert len(data) % 8 == 0

    def pointer(self, offset):
        return struct.pack("<IHH", offset << 2 & 0xFFFFFFFF, len(self.data) // 8, len(self.pointers))

    def body(self):
        at = len(self.pointers) * 8
        pointers, bodies = b"", b""
        for i, value in enumerate(self.pointers):
            offset = (at + len(bodies)) // 8 - i - 1
            if value is None:
                pointers += bytes(8)
            elif isinstance(value, bytes):
                text = value + b"\0"
                pointers += struct.pack("<II", offset << 2 | 1, len(text) << 3 | 2)
                bodies += text + bytes(-len(text) % 8)
            else:
                pointers += value.pointer(offset)
                bodies += value.body()
        return self.data + pointers + bodies


class OneElement:
    """A list of one struct."""

    def __init__(self, element):
        self.element = element

    def pointer(self, offset):
        return struct.pack("<II", offset << 2 | 1, len(self.element.body()) // 8 << 3 | 7)

    def body(self):
        return self.element.pointer(1) + self.element.body()


class Capability:
    """A pointer to the first capability of the message."""

    def pointer(self, _offset):
        return struct.pack("<II", 3, 0)

    def body(self):
        return b""


def frame(body):
    root = body.pointer(0) + body.body()
    return struct.pack("<II", 0, len(root) // 8) + root


def message(kind, body):
    return frame(Struct(struct.pack("<HHI", kind, 0, 0), body))


def bootstrap(question):
    return message(8, Struct(struct.pack("<II", question, 0), None))


def finish(question, release=True):
    return message(4, Struct(struct.pack("<II", question, 0 if release else 1)))


def release(capability, count=1):
    return message(6, Struct(struct.pack("<II", capability, count)))


def imported(capability):
    return Struct(struct.pack("<IHH", capability, 0, 0), None)


def answer(question, *fields):
    """What a question's result holds, before it is there."""
    transform = None
    if fields:
        (field,) = fields
        transform = OneElement(Struct(struct.pack("<HHI", 1, field, 0)))
    promised = Struct(struct.pack("<II", question, 0), transform)
    return Struct(struct.pack("<IHH", 0, 1, 0), promised)


def call(question, target, interface, method, params=None, hosted=None):
    table = None
    if hosted is not None:
        table = OneElement(Struct(struct.pack("<HHI", 1, 0, hosted), None))
    payload = Struct(b"", params, table)
    data = struct.pack("<IHHQQ", question, method, 0, interface, 0)
    return message(2, Struct(data, target, payload, None))


def walk(question, target, path):
    return call(question, target, ANCHOR, 1, Struct(b"", path))


def store(question, target, value, overwrite, hosted=None):
    params = Struct(struct.pack("<Q", overwrite), value)
    return call(question, target, STORER, 0, params, hosted)


def exception(text):
    return Struct(struct.pack("<IHH", 0, 0, 0), text)


SESSION = (
    bootstrap(0)
    + walk(1, answer(0), b"a/b")
    + call(2, answer(1, 0), ANCHOR, 2)
    + store(3, answer(2, 1), b"hello", True)
    + call(4, answer(2, 0), LOADER, 0)
    + call(5, answer(0), ANCHOR, 0)
    + finish(1) + finish(2) + finish(3) + finish(4) + finish(5)
)

WIRE = {
    "bootstrap": bootstrap(0),
    "bootstrap-finish": bootstrap(0) + finish(0),
    "session": SESSION,
    "session-by-import": bootstrap(0) + walk(1, imported(0), b"a") + call(2, imported(1), ANCHOR, 0)
    + finish(1, False) + release(1) + release(0),
    "host-info": bootstrap(0) + call(1, answer(0), HOST, 1) + call(2, answer(0), HOST, 0)
    + walk(3, answer(2, 0), b"self/a") + walk(4, answer(2, 0), b"0000000000000000"),
    "bad-paths": bootstrap(0) + walk(1, answer(0), b"../a") + walk(2, answer(0), b"a b")
    + walk(3, answer(0), b"x/" * 300) + walk(4, answer(0), b"n" * 300),
    "lookup": bootstrap(0) + call(1, answer(0), ANCHOR, 3, Struct(b"", b"missing")),
    "store-own-capability": bootstrap(0) + call(1, answer(0), ANCHOR, 2)
    + store(2, answer(1, 1), Capability(), True, hosted=0) + call(3, answer(1, 0), LOADER, 0),
    "compare-and-swap": bootstrap(0) + call(1, answer(0), ANCHOR, 2)
    + call(2, answer(1, 1), STORER, 1, Struct(struct.pack("<Q", 0), b"one"))
    + call(3, answer(1, 1), STORER, 1, Struct(struct.pack("<Q", 7), b"two"))
    + call(4, answer(1, 1), STORER, 2, Struct(b"", b"three")),
    "watch": bootstrap(0) + call(1, answer(0), ANCHOR, 5, Struct(struct.pack("<Q", 2)))
    + call(2, answer(1, 0), WATCH, 0, Struct(struct.pack("<Q", 0))) + call(3, answer(1, 0), WATCH, 0, Struct(struct.pack("<Q", 1)))
    + call(4, answer(0), ANCHOR, 5, Struct(struct.pack("<Q", 1))) + walk(5, answer(0), b"a") + finish(3) + finish(1),
    "wait": bootstrap(0) + call(1, answer(0), ANCHOR, 2) + call(2, answer(1, 0), LOADER, 1) + finish(2)
    + call(3, answer(1, 0), LOADER, 1) + store(4, answer(1, 1), b"hello", True),
    "unknown-method": bootstrap(0) + call(1, answer(0), ANCHOR, 99) + call(2, answer(0), 42, 0),
    "unknown-question": walk(1, answer(77, 0), b"a") + finish(77),
    "unknown-import": call(1, imported(1234), ANCHOR, 0),
    "release-too-much": bootstrap(0) + release(0, 4_000_000_000),
    "same-question-twice": bootstrap(0) + bootstrap(0),
    "return-to-nothing": message(3, Struct(struct.pack("<IHHQ", 5, 0, 0, 0), Struct(b"", None, None))),
    "abort": message(1, exception(b"that is all")),
    "disembargo": bootstrap(0) + message(13, Struct(struct.pack("<IHH", 0, 0, 0), imported(0))),
    "truncated": SESSION[:-20],
    "cut-in-a-header": bootstrap(0) + b"\0\0\0",
    "garbage-after": bootstrap(0) + b"\xff" * 64,
    "zeros-8": bytes(8),
    "segments-of-a-lie": struct.pack("<II", 0, 8 << 20),
    "segments-512": struct.pack("<I", 511) + bytes(4 * 512),
    "segments-most": b"\xff" * 8,
    "pointer-out-of-bounds": struct.pack("<IIQ", 0, 1, 0x0001_0001_7FFF_FFFC),
    "pointer-to-itself": struct.pack("<IIQQ", 0, 2, 0x0001_0000_0000_0000, 0x0001_0000_FFFF_FFFC),
    "http": b"GET / HTTP/1.1\r\nHost: localhost:2016\r\n\r\n",
    "tls": bytes.fromhex("160301020001fc0303") + bytes(64),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
}

# ---- rpc: how everything is set up, then steps as server/src/fuzzing/script.rs reads them ----

(BOOTSTRAP, CALL, RETURN, FINISH, RESOLVE, RELEASE, DISEMBARGO, ABORT, UNIMPLEMENTED, HIGHER, READ, CLOSE, OPEN,
 CUT, REST, SPOIL, WAIT, HONEST, AGAIN) = range(19)
REVOKE_GRANT = 31
ONE_WORKER, TIGHT, SMALL_STREAM, STOP, ABRUPT, IDLE, NARROWED = 1, 2, 4, 8, 16, 32, 64
# How long the server has after a step: until it has nothing left to do, or some rounds of its tasks.
SETTLE, AT_ONCE, ONE_ROUND, FOUR_ROUNDS = 0, 0x20, 0x40, 0x60
# Methods, by their place in METHODS of messages.rs, and what the server has exported after `ready`.
WALK_A, CELL_OF, STORE_TO, LOAD_FROM, SWAP_AT, LS_OF, LOOK_UP = range(7)
COMPARE_TO, UNKNOWN = 7, 11
# Those of CHANNEL_METHODS.
(NEW_CHAN, SEND, RECV, NEW_SEND_CLOSER, NEW_RECVER, RECV_MANY, CLOSE_CHAN, TRY_SEND, TRY_RECV, NEW_SENDER,
 NEW_CLOSER) = range(0xE0, 0xEB)
WATCH_OF, NEXT_OF, WAIT_FOR, ATTENUATE, REVOKE_IT, GRANT_INFO = 14, 15, 16, 17, 18, 19
HOST_, ANCHOR_, LOADER_, STORER_, FIFTH, SIXTH = range(6)
CALLER, YOURSELF, THIRD_PARTY = 0, 2, 4
# Values: the first capability of the message, nothing, a text, a long one, two, and four capabilities.
CAP, NULL, TEXT, LONG, TWO_CAPS, FOUR_CAPS = range(6)
A_, B_ = 0, 0x80
MILLIS_60, MILLIS_250, MILLIS_600, SECONDS_6, SECONDS_31 = range(1, 6)


def hosted(number):
    return [0, number]


def promise(number):
    return [1, number]


def returned(place):
    return [2, place]


def of_answer(back, place=0):
    """What the question `back` questions ago returns; place 0 is all of it, 1 its first pointer."""
    return [3, back, place]


def caps(*descriptors):
    return [len(descriptors), *sum(descriptors, [])]


def export(place):
    return [0, place]


def rpc_call(who, target, method, params=(), table=(), results=CALLER, pace=SETTLE):
    return [who | pace | CALL, results, *target, method, *params, *caps(*table)]


def ready(who):
    """Has the host, an anchor, and its loader and storer."""
    return (
        [who | BOOTSTRAP, 0] + rpc_call(who, export(HOST_), WALK_A, [0]) + rpc_call(who, export(ANCHOR_), CELL_OF)
    )


def put_value(who, kind, *table, pace=SETTLE, bound=False):
    return rpc_call(who, export(STORER_), STORE_TO, [2 * bound, kind], table, pace=pace)


def get_value(who):
    return rpc_call(who, export(LOADER_), LOAD_FROM)


def rpc_answer(who, kind, *table, asked=0):
    return [who | RETURN, 0, asked, 0, kind, *caps(*table)]


def rpc_resolve(who, number, descriptor):
    return [who | RESOLVE, number, *descriptor]


# A hosts something, and has a proxy of it as its fifth capability.
ITS_OWN = ready(A_) + put_value(A_, CAP, hosted(5)) + get_value(A_)
# So has B, of what A hosts.
THE_OTHERS = ready(A_) + put_value(A_, CAP, hosted(5)) + ready(B_) + get_value(B_)
# Both host something that the other one has a proxy of.
EACH_OTHERS = THE_OTHERS + put_value(B_, CAP, hosted(5)) + get_value(A_)

# A watches the value and the children of its anchor, as its fifth capability, and was told what there is.
WATCHES = ready(A_) + rpc_call(A_, export(ANCHOR_), WATCH_OF, [2]) + rpc_call(A_, export(FIFTH), NEXT_OF, [0])


def itself(results):
    """A call through the server to what the caller hosts, answered with the answer to that call. One whose results
    are its sender's to take is made when others wait for it."""
    return (
        ITS_OWN + rpc_call(A_, export(FIFTH), LOAD_FROM, results=results) + rpc_call(A_, [1, 0, 0], LOAD_FROM)
        + rpc_call(A_, [1, 1, 1], LOAD_FROM) + rpc_answer(A_, CAP, of_answer(2)) + rpc_call(A_, [1, 2, 0], LOAD_FROM)
    )


def new_chan(who, capacity):
    """Its fifth capability."""
    return rpc_call(who, export(ANCHOR_), NEW_CHAN, [capacity])


def send(who, kind, *table, to=FIFTH):
    return rpc_call(who, export(to), SEND, [kind], table)


def recv(who, of=FIFTH):
    return rpc_call(who, export(of), RECV)


def both_have_one(capacity):
    """A channel that is the fifth capability of both, and in a cell."""
    return ready(A_) + new_chan(A_, capacity) + put_value(A_, CAP, returned(FIFTH)) + ready(B_) + get_value(B_)


# Rights as bits in their order, and limits: none, or so much of everything.
EVERYTHING, LOOKS, WRITES, UNLIMITED, THREE_OF_EACH = 0x7F, 0x2E, 0x51, 0, 0x83


def guests(a, b, setup=0):
    """Both clients have a part of the tree, with rights and limits each."""
    return [NARROWED | setup, *a, *b]


def revoked(who, removed=False, honest=LOOKS):
    return [who | REVOKE_GRANT, removed, honest]


def tries_all(who):
    return (
        ready(who) + put_value(who, TEXT) + get_value(who)
        + sum((rpc_call(who, export(HOST_), WALK_A, [path]) for path in range(10)), [])
        + sum((rpc_call(who, export(HOST_), method, params) for method, params in
            ((LS_OF, []), (CELL_OF, []), (WATCH_OF, [2]), (NEW_CHAN, [1]), (ATTENUATE, [0xFF, 0]))), [])
        + rpc_call(who, export(ANCHOR_), SWAP_AT, [0, TEXT])
        + sum((rpc_call(who, export(place), method, params) for place in range(4, 8) for method, params in
            ((LS_OF, []), (NEXT_OF, [0]), (STORE_TO, [0, LONG]), (LOAD_FROM, []), (GRANT_INFO, []))), [])
    )


def takes_the_whole(who):
    """Loads the anchor with all rights that lies in its part of the tree, and writes by it."""
    return (
        [who | BOOTSTRAP, 0] + rpc_call(who, export(HOST_), LOOK_UP, [2]) + rpc_call(who, export(1), CELL_OF)
        + rpc_call(who, export(2), LOAD_FROM) + rpc_call(who, export(3), WALK_A, [0])
        + sum((rpc_call(who, export(place), SWAP_AT, [0, TEXT]) for place in (3, 4)), [])
    )


RPC = {
    "bootstrap": [0] + [A_ | BOOTSTRAP, 0, B_ | BOOTSTRAP, 0, HONEST],
    "session": [0] + ready(A_) + put_value(A_, TEXT) + get_value(A_) + [A_ | FINISH, 0, 0, A_ | FINISH, 1, 2]
    + rpc_call(A_, export(HOST_), LS_OF) + [A_ | RELEASE, ANCHOR_, 0],
    "answers-a-call-with-its-own-answer": [0] + itself(CALLER),
    "answers-a-call-with-its-own-answer-to-itself": [0] + itself(YOURSELF),
    "takes-its-own-answer": [0] + ITS_OWN + rpc_call(A_, export(FIFTH), LOAD_FROM, results=YOURSELF)
    + [A_ | RETURN, 0, 0, 4, 0],
    "takes-what-was-sent-to-itself": [0] + ITS_OWN + rpc_call(A_, export(LOADER_), LOAD_FROM, results=YOURSELF)
    + rpc_call(A_, export(FIFTH), LOAD_FROM) + [A_ | RETURN, 0, 0, 4, 1] + [A_ | FINISH, 0, 0, A_ | FINISH, 0, 1],
    "results-to-a-third-party": [0] + ready(A_) + rpc_call(A_, export(HOST_), LS_OF, results=THIRD_PARTY),
    "promise-that-resolves-to-itself": [0] + ready(A_) + put_value(A_, CAP, promise(5))
    + rpc_resolve(A_, 5, promise(5)),
    "promises-that-resolve-to-each-other": [0] + ready(A_) + put_value(A_, TWO_CAPS, promise(5), promise(6))
    + rpc_resolve(A_, 5, promise(6)) + rpc_resolve(A_, 6, promise(5)) + rpc_resolve(A_, 5, promise(6)),
    "promise-that-resolves-to-the-call-that-waits-for-it": [0] + ready(A_) + put_value(A_, CAP, promise(5))
    + rpc_resolve(A_, 5, of_answer(0)),
    "promise-that-resolves-to-the-call-that-waits-for-it-and-time": [0] + ready(A_)
    + put_value(A_, CAP, promise(5)) + rpc_resolve(A_, 5, of_answer(0)) + [WAIT, MILLIS_250],
    "promise-that-resolves-to-its-own-proxy": [0] + ready(A_) + rpc_call(A_, export(LOADER_), LOAD_FROM)
    + rpc_call(A_, export(ANCHOR_), SWAP_AT, [0, CAP], [hosted(5)]) + get_value(A_)
    + rpc_call(A_, export(FIFTH), STORE_TO, [0, CAP], [promise(6)]) + rpc_resolve(A_, 6, returned(FIFTH))
    + rpc_answer(A_, CAP, promise(7)) + rpc_resolve(A_, 7, returned(FIFTH)) + rpc_call(A_, [1, 0, 0], LOAD_FROM),
    "promise-in-a-call-through-the-server": [0] + THE_OTHERS
    + rpc_call(B_, export(FIFTH), STORE_TO, [0, CAP], [promise(3)]) + rpc_call(A_, export(FIFTH), LOAD_FROM)
    + rpc_resolve(B_, 3, returned(LOADER_)) + rpc_answer(A_, NULL),
    "promises-each-resolved-to-the-next": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), STORE_TO, [0, CAP], [promise(0)])
    + sum((rpc_resolve(B_, number % 16, promise((number + 1) % 16)) for number in range(50)), []) + [A_ | CLOSE],
    "calls-each-on-the-answer-to-the-one-before": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + rpc_call(B_, [1, 0, 0], LOAD_FROM) + [B_ | AGAIN, 50, HONEST] + rpc_answer(A_, CAP, hosted(7)) + [WAIT, MILLIS_600],
    "stores-each-of-the-answer-to-the-one-before": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + put_value(B_, CAP, of_answer(0)) + [B_ | AGAIN, 50, HONEST] + rpc_answer(A_, CAP, hosted(7)),
    "promise-that-is-broken": [0] + ready(A_) + put_value(A_, CAP, promise(5)) + [A_ | RESOLVE, 0x85, 0],
    "promise-that-stays-one": [0] + ready(A_) + put_value(A_, CAP, promise(5)) + [WAIT, MILLIS_60] + get_value(A_),
    "host-leaves-during-a-call": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM) + [A_ | CLOSE, HONEST],
    "host-leaves-at-once": [ABRUPT] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM, pace=AT_ONCE),
    "caller-leaves-during-a-call": [ONE_WORKER] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + [B_ | CLOSE] + rpc_answer(A_, CAP, hosted(7)),
    "caller-gives-up": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM) + [B_ | FINISH, 0, 0]
    + rpc_answer(A_, CAP, hosted(7)),
    "each-answers-with-the-others": [0] + EACH_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + rpc_call(A_, export(FIFTH), LOAD_FROM) + rpc_answer(A_, CAP, of_answer(0)) + rpc_answer(B_, CAP, of_answer(0))
    + rpc_call(A_, [1, 0, 0], LOAD_FROM) + rpc_call(B_, [1, 0, 0], LOAD_FROM),
    "each-answers-with-the-others-on-one-worker": [ONE_WORKER] + EACH_OTHERS
    + rpc_call(B_, export(FIFTH), LOAD_FROM, results=YOURSELF) + rpc_call(A_, export(FIFTH), LOAD_FROM, results=YOURSELF)
    + rpc_answer(A_, CAP, of_answer(0)) + rpc_answer(B_, CAP, of_answer(0))
    + rpc_call(A_, [1, 0, 0], LOAD_FROM) + rpc_call(B_, [1, 0, 0], LOAD_FROM),
    "each-answers-with-a-promise-of-the-others": [0] + EACH_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + rpc_call(A_, export(FIFTH), LOAD_FROM) + rpc_answer(A_, CAP, promise(9)) + rpc_answer(B_, CAP, promise(9))
    + rpc_call(A_, [1, 0, 0], LOAD_FROM) + rpc_call(B_, [1, 0, 0], LOAD_FROM)
    + rpc_resolve(A_, 9, returned(SIXTH)) + rpc_resolve(B_, 9, returned(SIXTH)),
    "bound-values-die": [ABRUPT] + ready(A_) + put_value(A_, TEXT, bound=True) + ready(B_)
    + put_value(B_, TEXT, bound=True) + get_value(A_),
    "answers-of-other-kinds": [0] + THE_OTHERS + sum(
        (rpc_call(B_, export(FIFTH), LOAD_FROM) + [A_ | RETURN, 0, 0, kind] for kind in (2, 3, 5)), [])
    + rpc_call(B_, export(FIFTH), LOAD_FROM) + [A_ | RETURN, 0, 0, 1, 2],
    "answers-twice": [0] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM) + [A_ | RETURN, 1, 0, 0, TEXT, 0]
    + [A_ | RETURN, 1, 0, 0, CAP, *caps(hosted(8))] + [A_ | RETURN, 0, 0, 0, NULL, 0],
    "releases-too-much": [0] + ready(A_) + [A_ | RELEASE, LOADER_, 4],
    "releases-and-calls": [0] + ready(A_) + [A_ | FINISH, 0, 0] + [A_ | RELEASE, LOADER_, 0] + get_value(A_),
    "finishes-at-once": [0] + ready(A_) + put_value(A_, CAP, promise(5), pace=AT_ONCE) + [A_ | FINISH, 0, 0] * 2,
    "disembargoes": [0] + ITS_OWN + [A_ | DISEMBARGO, *export(FIFTH), 1, 9, A_ | DISEMBARGO, *export(FIFTH), 0, 0],
    "disembargo-accept": [0] + ready(A_) + [A_ | DISEMBARGO, *export(HOST_), 2],
    "is-told-that-it-is-not-understood": [0] + ready(A_) + [A_ | UNIMPLEMENTED, 0, 5, *returned(LOADER_)]
    + [A_ | UNIMPLEMENTED, 0, 5, *hosted(3)] + [A_ | UNIMPLEMENTED, 2, 0],
    "higher-levels": [0] + ready(A_) + [A_ | HIGHER, 0, *export(HOST_), A_ | HIGHER, 1, A_ | HIGHER, 2, *export(HOST_)]
    + [A_ | HIGHER, 3, A_ | HIGHER, 4],
    "third-party-hosted": [0] + ready(A_) + put_value(A_, CAP, [5, 1]),
    "every-kind-of-capability": [0] + ready(A_) + put_value(A_, FOUR_CAPS, hosted(1), returned(LOADER_), [4])
    + put_value(A_, TWO_CAPS, of_answer(0, 1), of_answer(1, 2)) + put_value(A_, CAP, hosted(1), hosted(1), promise(1)),
    "aborts": [0] + ITS_OWN + [A_ | ABORT],
    "deaf": [SMALL_STREAM] + ready(A_) + put_value(A_, LONG) + [A_ | READ] + get_value(A_) + [A_ | AGAIN, 9, HONEST]
    + [WAIT, MILLIS_600, A_ | READ, HONEST],
    "deaf-host": [SMALL_STREAM | TIGHT] + THE_OTHERS + [A_ | READ]
    + rpc_call(B_, export(FIFTH), STORE_TO, [0, LONG]) + [B_ | AGAIN, 5, HONEST, WAIT, MILLIS_600],
    "half-a-message": [0] + ready(A_) + [A_ | CUT, 9] + get_value(A_) + [HONEST, WAIT, MILLIS_250, A_ | REST],
    "half-a-message-and-its-rest": [0] + ready(A_) + [A_ | CUT, 99] + get_value(A_) + [HONEST, A_ | REST],
    "half-a-message-at-the-end": [ABRUPT] + ready(A_) + [A_ | CUT, 9] + get_value(A_),
    "a-spoilt-message": [0] + ready(A_) + [A_ | SPOIL, 8, 4] + get_value(A_),
    "unanswered-calls": [TIGHT] + THE_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM, pace=AT_ONCE)
    + [B_ | AGAIN, 20, HONEST, WAIT, MILLIS_600, HONEST],
    "unfinished-answers": [TIGHT] + ready(A_) + rpc_call(A_, export(ANCHOR_), CELL_OF) + [A_ | AGAIN, 30, HONEST],
    "given-up-calls": [TIGHT] + THE_OTHERS + (rpc_call(B_, export(FIFTH), STORE_TO, [0, LONG]) + [B_ | FINISH, 0, 0]) * 16,
    "many-exports": [TIGHT] + ready(A_) + sum(
        (rpc_call(A_, export(HOST_), WALK_A, [path]) for path in range(9)), []) + rpc_call(A_, export(HOST_), LS_OF),
    "many-imports": [0] + ready(A_) + rpc_call(A_, export(STORER_), STORE_TO, [0, CAP])[:-1] + [0xFF]
    + rpc_call(A_, export(STORER_), STORE_TO, [0, FOUR_CAPS])[:-1] + [0x82],
    "many-imports-under-tight-limits": [TIGHT] + ready(A_) + rpc_call(A_, export(STORER_), STORE_TO, [0, CAP])[:-1]
    + [0xFF] + [A_ | AGAIN, 9],
    "stops-with-calls-under-way": [STOP] + EACH_OTHERS + rpc_call(B_, export(FIFTH), LOAD_FROM)
    + rpc_call(A_, export(FIFTH), LOAD_FROM) + put_value(A_, CAP, promise(9)),
    "stops-before-the-deaf": [STOP | SMALL_STREAM] + THE_OTHERS + put_value(A_, LONG)
    + [A_ | READ, B_ | READ] + get_value(A_) + get_value(B_) + rpc_call(B_, export(FIFTH), LOAD_FROM),
    "idles": [IDLE] + EACH_OTHERS + [WAIT, MILLIS_600, HONEST],
    "a-channel": [0] + ready(A_) + new_chan(A_, 1) + send(A_, TEXT) + send(A_, NULL) + recv(A_)
    + rpc_call(A_, export(FIFTH), RECV_MANY, [9]) + rpc_call(A_, export(FIFTH), TRY_SEND, [TEXT])
    + rpc_call(A_, export(FIFTH), CLOSE_CHAN) * 2 + rpc_call(A_, export(FIFTH), TRY_RECV) + recv(A_) + send(A_, TEXT),
    "a-rendezvous-of-two": [0] + both_have_one(0) + recv(B_) + send(A_, CAP, hosted(5)) + send(A_, FOUR_CAPS, returned(LOADER_))
    + recv(B_) + rpc_call(B_, export(SIXTH), LOAD_FROM) + rpc_answer(A_, TEXT),
    "a-rendezvous-on-one-worker": [ONE_WORKER] + both_have_one(0) + send(A_, CAP, promise(5)) + recv(B_)
    + rpc_resolve(A_, 5, hosted(6)) + [B_ | FINISH, 0, 0] + recv(B_) + send(A_, TEXT),
    "a-channel-in-itself": [0] + ready(A_) + new_chan(A_, 2) + send(A_, CAP, returned(FIFTH)),
    "channels-in-each-other": [0] + ready(A_) + new_chan(A_, 2) + new_chan(A_, 2)
    + send(A_, CAP, returned(FIFTH), to=SIXTH) + send(A_, CAP, returned(SIXTH)),
    "an-anchor-in-a-channel-in-a-cell": [0] + both_have_one(3) + send(A_, CAP, returned(ANCHOR_)) + [A_ | CLOSE, HONEST]
    + recv(B_) + send(B_, CAP, hosted(3)),
    "senders-leave": [ABRUPT] + both_have_one(0) + rpc_call(B_, export(FIFTH), NEW_RECVER) + [B_ | RELEASE, FIFTH, 0]
    + put_value(A_, NULL) + rpc_call(B_, export(SIXTH), RECV) + [A_ | CLOSE, HONEST],
    "receivers-leave": [0] + both_have_one(1) + rpc_call(B_, export(FIFTH), NEW_SEND_CLOSER)
    + rpc_call(B_, export(SIXTH), NEW_SENDER) + rpc_call(B_, export(SIXTH), NEW_CLOSER) + [B_ | RELEASE, FIFTH, 0]
    + put_value(A_, NULL) + send(B_, LONG, to=SIXTH) + send(B_, LONG, to=SIXTH) + [A_ | CLOSE, HONEST],
    "gives-up-at-a-channel": [0] + both_have_one(0) + send(A_, CAP, hosted(4)) + [A_ | FINISH, 0, 0] + recv(B_)
    + [B_ | FINISH, 0, 0] + send(A_, TEXT),
    "channels-under-tight-limits": [TIGHT] + ready(A_) + new_chan(A_, 3) + new_chan(A_, 2) + new_chan(A_, 0) + new_chan(A_, 0)
    + send(A_, LONG) * 4 + send(A_, FOUR_CAPS, hosted(1), hosted(2), hosted(3)) + recv(A_),
    "stops-with-a-receive-under-way": [STOP] + both_have_one(0) + recv(B_) + recv(A_),
    "watches": [0] + WATCHES + rpc_call(A_, export(FIFTH), NEXT_OF, [1]) + ready(B_) + put_value(B_, TEXT)
    + rpc_call(A_, export(FIFTH), NEXT_OF, [2]) + [A_ | FINISH, 0, 0] + put_value(B_, NULL)
    + rpc_call(A_, export(FIFTH), NEXT_OF, [2]) + rpc_call(A_, export(FIFTH), NEXT_OF, [1])
    + rpc_call(A_, export(LOADER_), WAIT_FOR) + [B_ | CLOSE, HONEST],
    "watches-what-dies": [ABRUPT] + WATCHES + ready(B_) + put_value(B_, CAP, hosted(5))
    + rpc_call(A_, export(FIFTH), NEXT_OF, [1]) + rpc_call(A_, export(FIFTH), NEXT_OF, [2]) + [B_ | CLOSE, HONEST],
    "a-watch-in-a-value": [0] + WATCHES + put_value(A_, CAP, returned(FIFTH)) + ready(B_) + get_value(B_)
    + rpc_call(B_, export(FIFTH), NEXT_OF, [0]) + rpc_call(B_, export(FIFTH), NEXT_OF, [2]) + [A_ | CLOSE, HONEST]
    + rpc_call(B_, export(FIFTH), NEXT_OF, [3]),
    "too-many-watches": [TIGHT] + WATCHES + rpc_call(A_, export(ANCHOR_), WATCH_OF, [3]) + [A_ | AGAIN, 5]
    + rpc_call(A_, export(LOADER_), WAIT_FOR, pace=AT_ONCE) + [A_ | AGAIN, 5, HONEST, WAIT, MILLIS_250],
    "a-deaf-watcher": [SMALL_STREAM] + WATCHES + [A_ | READ] + rpc_call(A_, export(FIFTH), NEXT_OF, [1]) + ready(B_)
    + put_value(B_, LONG) + rpc_call(A_, export(FIFTH), NEXT_OF, [0]) + [A_ | AGAIN, 9, WAIT, MILLIS_60, A_ | READ, HONEST],
    "stops-with-watches-and-waits": [STOP] + WATCHES + rpc_call(A_, export(FIFTH), NEXT_OF, [1])
    + rpc_call(A_, export(LOADER_), WAIT_FOR),
    "a-narrowed-anchor": [0] + ready(A_) + rpc_call(A_, export(ANCHOR_), ATTENUATE, [0x7F, 0])
    + rpc_call(A_, export(FIFTH), WALK_A, [1]) + rpc_call(A_, export(FIFTH), CELL_OF) + rpc_call(A_, export(SIXTH), GRANT_INFO)
    + rpc_call(A_, export(SIXTH), REVOKE_IT) + rpc_call(A_, export(FIFTH), WALK_A, [1]) + rpc_call(A_, export(FIFTH), LS_OF),
    "narrowed-as-a-value": [0] + ready(A_) + rpc_call(A_, export(HOST_), ATTENUATE, [0x2F, 0x93])
    + put_value(A_, CAP, returned(FIFTH)) + ready(B_) + get_value(B_) + rpc_call(B_, export(FIFTH), WALK_A, [0])
    + rpc_call(B_, export(FIFTH), WATCH_OF, [2]) + rpc_call(B_, export(FIFTH), NEW_CHAN, [1]) + rpc_call(B_, export(FIFTH), ATTENUATE, [0xFF, 0])
    + rpc_call(A_, export(SIXTH), REVOKE_IT) + rpc_call(B_, export(FIFTH), LS_OF) + [A_ | CLOSE, HONEST],
    "revoked-while-it-waits": [0] + ready(A_) + rpc_call(A_, export(ANCHOR_), ATTENUATE, [0x7F, 0])
    + rpc_call(A_, export(FIFTH), WATCH_OF, [2]) + rpc_call(A_, [1, 0, 1], NEXT_OF, [0]) + rpc_call(A_, [1, 1, 1], NEXT_OF, [1])
    + rpc_call(A_, export(FIFTH), NEW_CHAN, [0]) + rpc_call(A_, [1, 0, 1], RECV) + rpc_call(A_, export(SIXTH), REVOKE_IT) + [HONEST],
    "guests-who-may-do-everything": guests((EVERYTHING, UNLIMITED), (EVERYTHING, UNLIMITED)) + tries_all(A_) + tries_all(B_)
    + [HONEST] + revoked(A_) + tries_all(A_) + revoked(B_, honest=0x01) + tries_all(B_) + [HONEST],
    "guests-who-may-look": guests((LOOKS, UNLIMITED), (LOOKS, UNLIMITED)) + tries_all(A_) + tries_all(B_) + [HONEST],
    "guests-who-may-write": guests((WRITES, UNLIMITED), (WRITES, UNLIMITED)) + tries_all(A_) + tries_all(B_) + [HONEST],
    "guests-who-may-do-nothing": guests((0, UNLIMITED), (0, UNLIMITED)) + tries_all(A_) + tries_all(B_) + [HONEST],
    "guests-who-may-write-find-no-value": guests((WRITES, UNLIMITED), (WRITES, UNLIMITED)) + ready(A_)
    + rpc_call(A_, export(ANCHOR_), SWAP_AT, [0, TEXT]) + revoked(B_, honest=0x10) + [HONEST],
    "guests-find-what-is-whole": guests((LOOKS, UNLIMITED), (LOOKS, UNLIMITED)) + takes_the_whole(A_)
    + takes_the_whole(B_) + [HONEST] + revoked(A_) + rpc_call(A_, export(3), LS_OF),
    "guests-within-limits": guests((EVERYTHING, THREE_OF_EACH), (EVERYTHING, 0x81)) + tries_all(A_) + tries_all(B_)
    + revoked(A_) + tries_all(B_),
    "guests-under-tight-limits": guests((EVERYTHING, UNLIMITED), (EVERYTHING, UNLIMITED), TIGHT) + tries_all(A_) + tries_all(B_)
    + [HONEST] + revoked(B_) + [HONEST],
    "a-guest-gives-its-own-to-one-who-has-less": guests((EVERYTHING, UNLIMITED), (LOOKS, UNLIMITED)) + ready(A_)
    + put_value(A_, CAP, returned(ANCHOR_)) + ready(B_) + get_value(B_) + rpc_call(B_, export(3), WALK_A, [1])
    + rpc_call(B_, export(3), SWAP_AT, [0, NULL]) + revoked(A_) + rpc_call(B_, export(3), LS_OF) + get_value(B_),
    "guests-are-revoked-while-they-wait": guests((EVERYTHING, UNLIMITED), (EVERYTHING, UNLIMITED)) + both_have_one(0)
    + send(A_, CAP, hosted(4)) + rpc_call(A_, export(LOADER_), WAIT_FOR) + put_value(A_, CAP, promise(5)) + revoked(A_)
    + recv(B_) + rpc_resolve(A_, 5, hosted(6)) + get_value(B_) + recv(B_) + revoked(B_) + [HONEST, A_ | CLOSE],
    "a-guest-is-removed": guests((EVERYTHING, UNLIMITED), (EVERYTHING, UNLIMITED)) + THE_OTHERS + [HONEST] + revoked(A_, removed=True)
    + get_value(B_) + [A_ | OPEN] + ready(A_) + rpc_call(B_, export(FIFTH), LOAD_FROM) + revoked(B_, removed=True) + [HONEST],
    "comes-again": [0] + ITS_OWN + [A_ | OPEN] + ready(A_) + get_value(A_) + [A_ | CLOSE, A_ | OPEN] + ready(A_),
}

# ---- authority: four bytes for each operation, as `Grants::step` in src/testing/grants.rs reads them

BEGIN, WALK_TO, LOOK, LIST, READ_CELL, WRITE, LET_GO, NARROW, BOTH, REVOKE = 0, 1, 3, 5, 6, 7, 9, 11, 13, 15
ALL_RIGHTS, READER, FREELY = 0, 0x80 | 0b0101110, 0


def narrow(*steps):
    return sum((list(step) + [0] * (4 - len(step)) for step in steps), [])


AUTHORITY = {
    "reader": narrow((BEGIN, 1, READER, FREELY), (WALK_TO, 0, 1), (LOOK, 0, 1), (LIST,), (READ_CELL,), (WRITE, 0, 1), (NARROW,)),
    "limits": narrow((BEGIN, 1, ALL_RIGHTS, 1 | 2 << 1 | 0x10 | 2 << 5), (WALK_TO, 0, 3), (WALK_TO, 0, 2), (WALK_TO, 1, 1), (LET_GO, 1), (WALK_TO, 0, 4)),
    "part-of-a-part": narrow((BEGIN, 0, ALL_RIGHTS, 1 | 4 << 1), (WALK_TO, 0, 1), (NARROW, 1, READER, 1 | 7 << 1), (WALK_TO, 0, 4), (LOOK, 2, 2), (REVOKE, 0, 0)),
    "both": narrow((BEGIN, 1, ALL_RIGHTS, 1 | 3 << 1), (BEGIN, 2, READER, 1 | 1 << 1), (BOTH, 0, 1), (BOTH, 1, 0), (WALK_TO, 2, 4), (REVOKE, 0, 1), (LIST, 2)),
    "revoked": narrow((BEGIN, 3, ALL_RIGHTS, FREELY), (WALK_TO, 0, 3), (WRITE, 1, 1), (REVOKE, 0, 0), (WALK_TO, 0, 1), (READ_CELL, 1), (BOTH, 0, 1), (NARROW, 1)),
    "seventeen": narrow((BEGIN, 0, ALL_RIGHTS, FREELY), *[(NARROW, at, ALL_RIGHTS, FREELY) for at in range(17)]),
    "no-path": narrow((BEGIN, 1, ALL_RIGHTS, 0x10), (WALK_TO, 0, 6), (LOOK, 0, 7), (WALK_TO, 0, 1), (LOOK, 0, 0)),
}

# ---- members: steps, as server/src/cluster/members/fuzzing.rs reads them; files named after a number of hosts are what ----
# ---- these really say: KILLICK_REGENERATE=1 cargo test -p killick-server --lib really_say ----

MADE_PACKET, OFFER, TIME, ACT = 3, 3, 5, 7
ALIVE, SUSPECT, DOWN = 0, 1, 2
SECONDS = [TIME, 5]


def life(number, shape=0, renewal=0):
    return [number, shape] + ([0] if shape % 8 > 2 else []) + [renewal, 0]


def claim(who, state):
    return who + [0, state]


def offer(teller, *claims):
    return [4, teller, OFFER, len(claims)] + sum((list(claim) + [1] for claim in claims), []) + [0]


def gossip(sender, *claims):
    return [MADE_PACKET] + life(sender) + [9, 0] + life(1) + [0, len(claims)] + sum(claims, [])


MEMBERS = {
    "crowd": offer(1, *[claim(life(number), ALIVE) for number in range(1, 16)]) + SECONDS * 4,
    "crowd-of-a-stranger": gossip(15, *[claim(life(number), ALIVE) for number in range(1, 15)]) + SECONDS * 4,
    "down-and-up": sum((offer(1, claim(life(2, 0, up), ALIVE), claim(life(2, 0, up), DOWN)) for up in range(1, 7)), []) + SECONDS,
    "said-to-be-dead": offer(1, claim(life(1), ALIVE), claim(life(0, 0x80), DOWN)) + gossip(1, claim(life(0, 0x80), SUSPECT)) * 3 + SECONDS,
    "at-the-end-of-time": sum((offer(1, claim(life(0, shape, up), ALIVE)) for shape in (5, 6, 4) for up in (0, 5, 6)), []) + SECONDS,
    "clocks": (gossip(1, claim(life(2, 3), ALIVE)) + [ACT, 5, 3] + SECONDS + [ACT, 4, 200] + gossip(2) + [ACT, 5, 2]) * 3,
    "goes": offer(1, claim(life(1), ALIVE)) + [ACT, 3, 7] + SECONDS + [ACT, 0] + gossip(1) + [ACT, 1] + SECONDS + [ACT, 1],
}

if __name__ == "__main__":
    seeds = Path(__file__).resolve().parent / "seeds"
    for target, files in ("path", PATHS), ("tree_ops", TREE_OPS), ("wire", WIRE), ("rpc", RPC), ("authority", AUTHORITY), ("members", MEMBERS):
        (seeds / target).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (seeds / target / name).write_bytes(bytes(content))
