"""A process that a server starts, in Python: it finds its part of the tree, and exports an object.

Run from the root of the repository, with a Python that has pycapnp:

    killick serve --allow-exec '*' &
    killick exec --at children/1 --cwd "$PWD" -- python3 server/examples/child.py
"""
import asyncio
import os
import socket

import capnp

Anchor = capnp.load("schema/anchor.capnp").Anchor


class Greeter(Anchor.Loader.Server):
    """Answers to the schema's own Loader, as that needs no other schema."""

    def __init__(self):
        self.callers = 0

    async def load(self, _context, **_):
        self.callers += 1
        _context.results.value = f"hello, caller number {self.callers}"
        _context.results.revision = self.callers


async def main():
    # The one thing that it was given: a socket, both of whose ends have a bootstrap capability.
    inherited = socket.socket(fileno=int(os.environ["KILLICK_FD"]))
    stream = await capnp.AsyncIoStream.create_unix_connection(sock=inherited)
    connection = capnp.TwoPartyServer(stream, bootstrap=Greeter())
    anchor = connection.bootstrap().cast_as(Anchor)

    # Bound: it goes with this process.
    storer = anchor.walk("greeting").anchor.cell().storer
    await storer.store_request(value="from Python", overwrite=True, bound=True).send()
    loaded = await anchor.walk("greeting").anchor.cell().loader.load()
    print("loaded", loaded.value.as_text())
    print("children", [child.name for child in (await anchor.ls()).children], flush=True)
    await connection.on_disconnect()


asyncio.run(capnp.run(main()))
