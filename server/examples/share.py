"""A channel, a watch and a grant in Python, run from the root of the repository beside a server:

    killick serve --listen tcp:127.0.0.1:2016
    pip install pycapnp && python server/examples/share.py
"""
import asyncio
import sys

import capnp

Anchor = capnp.load("schema/anchor.capnp").Anchor
Sender = capnp.load("schema/channel.capnp").Sender


async def connect(host, port):
    stream = await capnp.AsyncIoStream.create_connection(host=host, port=int(port))
    return capnp.TwoPartyClient(stream)


async def stranger(root):
    """Another connection, which knows a path: it finds the end that sends there, and a part of the tree."""
    inbox = (await root.walk("share/inbox").anchor.cell().loader.wait()).value.as_interface(Sender)
    request = inbox.send_request()
    request.value = "hello"
    await request.send()
    part = (await root.walk("share/part").anchor.cell().loader.wait()).value.as_interface(Anchor)
    print("it reads", (await part.lookup("news").anchor.cell().loader.load()).value.as_text())
    try:
        await part.walk("new")
    except capnp.KjException as error:
        print("and no more:", error.description.split(": ")[-1])
    return part


async def main(host="127.0.0.1", port=2016):
    mine, other = await connect(host, port), await connect(host, port)
    root = mine.bootstrap().cast_as(Anchor)
    share = (await root.walk("share")).anchor

    # Whoever has the end that sends can send, and whoever has the other receive.
    chan = (await share.newChan(capacity=16)).chan
    inbox = share.walk("inbox").anchor.cell().storer.store_request(overwrite=True)
    inbox.value = (await chan.newSender()).sender
    await inbox.send()

    # First what is there, and then what is different.
    news = (await share.walk("docs/news")).anchor
    watch = (await news.watch()).watch
    first = (await watch.next()).change
    await news.cell().storer.store_request(value="sunny", overwrite=True).send()
    told = (await watch.next(after=first.sequence)).change
    print("watched", told.value.as_text())

    # A part of the tree, to look at, until it is taken back.
    request = share.walk("docs").anchor.attenuate_request()
    request.rights.lookup = request.rights.load = True
    given = await request.send()
    part = share.walk("part").anchor.cell().storer.store_request(overwrite=True)
    part.value = given.anchor
    await part.send()

    part = await stranger(other.bootstrap().cast_as(Anchor))
    print("received", (await chan.recv()).value.as_text())
    await given.grant.revoke()
    try:
        await part.lookup("news")
    except capnp.KjException as error:
        print("then", error.description.split(": ")[-1])
    for path in ("inbox", "part", "docs/news"):
        await share.walk(path).anchor.cell().storer.store(overwrite=True)


asyncio.run(capnp.run(main(*sys.argv[1:])))
