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

if __name__ == "__main__":
    seeds = Path(__file__).resolve().parent / "seeds"
    for target, files in ("path", PATHS), ("tree_ops", TREE_OPS), ("wire", WIRE):
        (seeds / target).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (seeds / target / name).write_bytes(content)
