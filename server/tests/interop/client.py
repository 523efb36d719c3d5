"""A client on the C++ implementation of Cap'n Proto: everything that the schema offers.

Called by tests/interop.rs: client.py SCHEMA_FOLDER SOCKET. Fails if anything is not as it should be. Says
`hosting` once it hosts what the test calls, and goes on until its input ends.
"""

import asyncio
import sys

import capnp

folder, socket = sys.argv[1:]
capnp.remove_import_hook()
Anchor = capnp.load(f"{folder}/anchor.capnp", imports=[folder]).Anchor
Channel = capnp.load(f"{folder}/channel.capnp", imports=[folder])
Host = capnp.load(f"{folder}/host.capnp", imports=[folder]).Host


class Speaker(Anchor.Loader.Server):
    """Says its text, and how often it has."""

    def __init__(self, text):
        self.text, self.spoken = text, 0

    async def load(self, _context, **_):
        self.spoken += 1
        _context.results.value = self.text
        _context.results.revision = self.spoken


async def connect():
    stream = await capnp.AsyncIoStream.create_unix_connection(socket)
    return capnp.TwoPartyClient(stream).bootstrap().cast_as(Host)


async def fails(call, *words):
    try:
        await call
    except capnp.KjException as error:
        assert all(word in str(error) for word in words), (error, words)
    else:
        raise AssertionError(f"no error with {words}")


async def names(anchor):
    return [child.name for child in (await anchor.ls()).children]


def store(storer, value, **how):
    request = storer.store_request(**({"overwrite": True} | how))
    if value is not None:
        request.value = value
    return request.send()


async def anchors(host):
    made = (await host.walk("python/a")).anchor
    assert await names(host.walk("python").anchor) == ["a"]
    assert (await host.lookup("python/a"))._has("anchor")
    assert not (await host.lookup("python/b"))._has("anchor")
    await fails(host.walk("a//../b"), "..")
    await fails(made.walk("x" * 300), "255")
    cluster = (await host.root()).root
    [child] = (await cluster.ls()).children
    info = (await host.info()).info
    assert child.name == f"{info.id:016x}", child
    assert (info.fullId[:16], len(info.fullId)) == (child.name, 32), info
    assert info.generation > 0 and info.cluster == "", info
    [member] = (await host.hosts()).hosts
    assert (member.id, member.fullId, member.generation) == (info.id, info.fullId, info.generation)
    assert (str(member.state), member.self, member.hostname) == ("up", True, info.hostname), member
    assert any(address.startswith("unix:") for address in member.addresses), member
    assert (await child.anchor.lookup("python/a"))._has("anchor")
    assert (await cluster.lookup("self/python/a"))._has("anchor")
    await fails(cluster.walk("nohost/x"), "nohost")
    del made, child
    assert not (await host.lookup("python"))._has("anchor"), "released and gone"


async def cells(host):
    anchor = host.walk("python/cell").anchor
    cell = await anchor.cell()
    loader, storer = cell.loader, cell.storer
    empty = await loader.load()
    assert not empty._has("value") and empty.revision == 0
    stored = await store(storer, "one", overwrite=False)
    assert (stored.succeeded, stored.revision) == (True, 1)
    refused = await store(storer, "two", overwrite=False)
    assert (refused.succeeded, refused.revision) == (False, 1)
    request = storer.compareAndStore_request(expected=7)
    request.value = "three"
    refused = await request.send()
    assert (refused.succeeded, refused.revision) == (False, 1)
    request = storer.compareAndStore_request(expected=1)
    request.value = b"\x00\xff"
    stored = await request.send()
    assert (stored.succeeded, stored.revision) == (True, 2)
    assert (await loader.load()).revision == 2
    request = anchor.swap_request()
    request.value = "four"
    swapped = await request.send()
    assert swapped.revision == 3
    [child] = (await host.walk("python").anchor.ls()).children
    assert (child.name, child.filled, child.childCount) == ("cell", True, 0)
    # One round trip: each call is made on the answer to the one before.
    loaded = await host.walk("python/cell").anchor.cell().loader.load()
    assert (loaded.value.as_text(), loaded.revision) == ("four", 3)
    await store(storer, None)
    assert not (await loader.load())._has("value")


async def capabilities(host):
    # What the server offers comes back as itself.
    target = (await host.walk("python/target")).anchor
    await store(host.walk("python/box").anchor.cell().storer, target)
    found = (await host.walk("python/box").anchor.cell().loader.load()).value.as_interface(Anchor)
    await found.walk("child")
    held = (await found.walk("child")).anchor
    assert await names(target) == ["child"]
    await store(host.walk("python/box").anchor.cell().storer, None)
    del held

    # What a client in Rust hosts, on another thread of the server.
    loaded = await host.walk("rust/speaker").anchor.cell().loader.load()
    speaker = loaded.value.as_interface(Anchor.Loader)
    answers = await asyncio.gather(*(speaker.load() for _ in range(50)))
    assert [answer.revision for answer in answers] == list(range(1, 51))
    assert answers[0].value.as_text() == "from Rust"


async def channels(host):
    made = (await host.newChan(capacity=2)).chan
    chan = made.cast_as(Channel.Chan)
    assert (await chan.capacity()).capacity == 2
    for text in ("one", "two"):
        request = chan.send_request()
        request.value = text
        await request.send()
    request = chan.trySend_request()
    request.value = "too much"
    assert not (await request.send()).sent
    assert (await chan.len()).len == 2
    # The end that sends, through a cell, to another connection.
    await store(host.walk("python/inbox").anchor.cell().storer, (await chan.newSendCloser()).sendCloser)
    other = await connect()
    loaded = await other.walk("python/inbox").anchor.cell().loader.load()
    sender = loaded.value.as_interface(Channel.SendCloser)
    request = sender.send_request()
    request.value = "three"
    waits = asyncio.ensure_future(request.send())
    assert (await chan.recv()).value.as_text() == "one"
    await waits
    many = (await chan.recvMany(max=9)).items
    assert [item.value.as_text() for item in many] == ["two", "three"]
    assert not (await chan.tryRecv()).received
    await sender.close()
    await fails(sender.close(), "the channel is closed already")
    await fails(chan.recv(), "the channel is closed and empty")
    await store(host.walk("python/inbox").anchor.cell().storer, None)


async def watches(host):
    anchor = (await host.walk("python/watched")).anchor
    watch = (await anchor.watch(children=True)).watch
    first = (await watch.next()).change
    assert first.whole and first.valueChanged and not first._has("value") and list(first.added) == []
    waits = asyncio.ensure_future(watch.next(after=first.sequence))
    await store(anchor.cell().storer, "news")
    told = (await waits).change
    assert not told.whole and (told.value.as_text(), told.revision) == ("news", 1)
    child = (await anchor.walk("child")).anchor
    told = (await watch.next(after=told.sequence)).change
    assert [(entry.name, entry.filled) for entry in told.added] == [("child", False)]
    # An answer that was not had: all of it, at once.
    assert (await watch.next(after=first.sequence)).change.whole
    waits = asyncio.ensure_future(child.cell().loader.wait())
    await store(child.cell().storer, "here")
    assert (await waits).value.as_text() == "here"
    await store(child.cell().storer, None)
    await store(anchor.cell().storer, None)
    await fails(anchor.watch(value=False), "nothing")


async def grants(host):
    await store(host.walk("python/part/a").anchor.cell().storer, "x")
    request = host.walk("python/part").anchor.attenuate_request()
    for right in ("walk", "lookup", "ls", "load"):
        setattr(request.rights, right, True)
    request.limits.nodes = 1
    given = await request.send()
    part, grant = given.anchor, given.grant
    assert (await part.lookup("a").anchor.cell().loader.load()).value.as_text() == "x"
    cell = await part.cell()
    assert cell._has("loader") and not cell._has("storer")
    await fails(part.swap(), "the right 'store' is not granted")
    held = (await part.walk("b")).anchor
    await fails(part.walk("c"), "limit of 1 node would be exceeded")
    info = await grant.info()
    assert info.rights.ls and not info.rights.store
    assert (info.limits.nodes, info.used.nodes, info.revoked) == (1, 1, False)
    await grant.revoke()
    await fails(part.ls(), "revoked")
    await fails(held.walk("c"), "revoked")
    assert (await grant.info()).revoked
    await store(host.walk("python/part/a").anchor.cell().storer, None)


async def owners(host):
    other = await connect()
    await store(other.walk("python/bound").anchor.cell().storer, "mine", bound=True)
    await store(other.walk("python/hosted").anchor.cell().storer, Speaker("gone"))
    await store(other.walk("python/stays").anchor.cell().storer, "stays")
    clients = (await host.clients()).clients
    assert len(clients) >= 2 and any(client.hosted == 1 for client in clients), clients
    del other
    for _ in range(500):
        if await names(host.walk("python").anchor) == ["stays"]:
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError(await names(host.walk("python").anchor))
    await store(host.walk("python/stays").anchor.cell().storer, None)


async def cancelled(host):
    """A call that is given up, and a connection that goes on."""
    calls = [asyncio.ensure_future(host.walk(f"python/{number}")) for number in range(100)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert (await host.info()).info.nodes >= 1


async def main():
    host = await connect()
    for check in (anchors, cells, capabilities, channels, watches, grants, cancelled, owners):
        await check(host)
        print(check.__name__, flush=True)
    await store(host.walk("python/speaker").anchor.cell().storer, Speaker("from Python"))
    print("hosting", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(capnp.run(main()))
