"""WebSocket, by a library that others wrote: Debian's python3-websockets. A program of its own, because the library belongs to the system's Python.

    websockets_program.py serve                   an echo server; writes its port and serves until its standard input ends
    websockets_program.py SCENARIO URL [NUMBER]   a client: the scenarios are the functions below; exit status 0 when all was right
"""
import asyncio
import os
import ssl
import sys

import websockets

LIMITS = {"max_size": None, "ping_interval": None}


def right(condition, what):
    if not condition:
        raise SystemExit(f"not right: {what}")


async def serve():
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0, **LIMITS) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def messages(url, count):
    """`count` messages out while as many come back, in order."""
    async with websockets.connect(url, **LIMITS) as connection:
        async def send():
            for i in range(count):
                await connection.send(f"message {i}")

        sending = asyncio.ensure_future(send())
        for i in range(count):
            answer = await connection.recv()
            right(answer == f"message {i}", f"{answer!r} instead of message {i}")
        await sending
    right(connection.close_code == 1000, f"close code {connection.close_code}")


async def large(url, count):
    """Messages of 1 MiB that nothing can compress."""
    async with websockets.connect(url, **LIMITS) as connection:
        for _ in range(count):
            message = os.urandom(1 << 20)
            await connection.send(message)
            right(await connection.recv() == message, "a large message came back changed")


async def pings(url, count):
    """Ping frames of both sizes are answered by the other side's pong."""
    async with websockets.connect(url, **LIMITS) as connection:
        for i in range(count):
            await asyncio.wait_for(await connection.ping(b"x" * (i % 126)), 10)


async def together(url, count):
    """All are open before the first one speaks; all close in order."""
    connections = await asyncio.gather(*(websockets.connect(url, open_timeout=60, **LIMITS) for _ in range(count)))

    async def talk(i, connection):
        for j in range(20):
            await connection.send(f"{i} {j}")
            right(await connection.recv() == f"{i} {j}", "another's message")
        await connection.close()
        right(connection.close_code == 1000, f"close code {connection.close_code}")

    await asyncio.gather(*(talk(i, connection) for i, connection in enumerate(connections)))


async def refused(url, status):
    """The handshake is answered with this status."""
    try:
        async with websockets.connect(url, **LIMITS):
            right(False, "it was not refused")
    except websockets.InvalidStatusCode as error:
        right(error.status_code == status, f"status {error.status_code}")


if sys.argv[1] == "serve":
    asyncio.run(serve())
else:
    if sys.argv[2].startswith("wss:"):
        LIMITS["ssl"] = ssl._create_unverified_context()
    scenario = {f.__name__: f for f in (messages, large, pings, together, refused)}[sys.argv[1]]
    asyncio.run(scenario(sys.argv[2], int(sys.argv[3])))
