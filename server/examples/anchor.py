"""A client in Python, run from the root of the repository beside a server on the same address:

    killick serve --listen tcp:127.0.0.1:2016
    pip install pycapnp && python server/examples/anchor.py

Over TLS, with a folder that 'killick cert client' has made:

    python server/examples/anchor.py localhost 2016 alice
"""
import asyncio
import ssl
import sys

import capnp

Anchor = capnp.load("schema/anchor.capnp").Anchor


async def main(host="127.0.0.1", port=2016, identity=None):
    context = None
    if identity:
        context = ssl.create_default_context(cafile=f"{identity}/ca.pem")
        context.load_cert_chain(f"{identity}/cert.pem", f"{identity}/key.pem")
    stream = await capnp.AsyncIoStream.create_connection(host=host, port=int(port), ssl=context)
    root = capnp.TwoPartyClient(stream).bootstrap().cast_as(Anchor)
    anchor = (await root.walk("from/python")).anchor
    store = anchor.cell().storer.store_request(value="hello", overwrite=True)
    print("stored at revision", (await store.send()).revision)
    # One round trip: each call is made on the answer to the one before.
    loaded = await root.walk("from/python").anchor.cell().loader.load()
    print("loaded", loaded.value.as_text())
    print("children", [child.name for child in (await root.ls()).children])
    print("there" if (await root.lookup("nowhere"))._has("anchor") else "nothing there")


asyncio.run(capnp.run(main(*sys.argv[1:])))
