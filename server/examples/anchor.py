"""A client in Python, run from the root of the repository beside a server on the same address:

    killick serve --listen tcp:127.0.0.1:2016
    pip install pycapnp && python server/examples/anchor.py
"""
import asyncio
import capnp

Anchor = capnp.load("schema/anchor.capnp").Anchor


async def main():
    stream = await capnp.AsyncIoStream.create_connection(host="127.0.0.1", port=2016)
    root = capnp.TwoPartyClient(stream).bootstrap().cast_as(Anchor)
    anchor = (await root.walk("from/python")).anchor
    store = anchor.cell().storer.store_request(value="hello", overwrite=True)
    print("stored at revision", (await store.send()).revision)
    # One round trip: each call is made on the answer to the one before.
    loaded = await root.walk("from/python").anchor.cell().loader.load()
    print("loaded", loaded.value.as_text())
    print("children", [child.name for child in (await root.ls()).children])
    print("there" if (await root.lookup("nowhere"))._has("anchor") else "nothing there")


asyncio.run(capnp.run(main()))
