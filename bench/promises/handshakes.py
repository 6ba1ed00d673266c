"""Full handshakes of TLS, here and at `openssl s_server`, as processes.

python -m bench.promises.handshakes serve CERT KEY
    serve at tls://; plain connections go to another port, which it announces too
python -m bench.promises.handshakes s_server CERT KEY
    run `openssl s_server`, whose process is the last one announced
python -m bench.promises.handshakes connect HOST:PORT AUTHORITY COUNT PROCESS
    open and close so many connections, one after the other, over TLS if an authority is named; print as JSON the
    seconds of processor time that each takes the process
"""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time

import uvloop

import fastrpc
from bench.compare.measurement import ProcessorClocks
from bench.compare.peers.base import announce
from bench.promises.server import Promised, read_all_input

#: Connections whose cost is not counted: the first ones make objects that later ones reuse.
WARM = 20

#: There is no sign that the server has handled the end of the last ones.
REST_SECONDS = 0.2


async def serve(cert: str, key: str) -> None:
    """Serve until standard input closes."""
    config = fastrpc.ServerConfig(tls=fastrpc.TLS(cert_file=cert, key_file=key))
    async with fastrpc.Server(Promised(), config=config) as server:
        encrypted = await server.listen("tls://127.0.0.1:0")
        plain = await server.listen("tcp://127.0.0.1:0")
        announce(f"127.0.0.1:{encrypted.port} 127.0.0.1:{plain.port}")
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def run_s_server(cert: str, key: str) -> None:
    """Run `openssl s_server`, without tickets because fastrpc has none, until standard input closes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["openssl", "s_server", "-accept", place, "-cert", cert, "-key", key, "-tls1_3"]
    command += ["-quiet", "-num_tickets", "0"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(place)
            announce(f"{place} {place}", process.pid)
            read_all_input()
        finally:
            process.kill()


def wait_for(place: str) -> None:
    """Return once a program listens."""
    until = time.monotonic() + 10
    while True:
        try:
            open_one(place, None)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def open_one(place: str, context: ssl.SSLContext | None) -> None:
    """Open a connection, with a full handshake, and close it."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        if context is None:
            return
        with context.wrap_socket(plain, server_hostname=host) as connection:
            if connection.session_reused:
                raise RuntimeError("that was no full handshake")


def measure(place: str, authority: str, count: int, process: int) -> float:
    """Return the server's processor time for each connection."""
    context = None
    if authority:
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["fastrpc/1"])
    for _ in range(WARM):
        open_one(place, context)
    time.sleep(REST_SECONDS)
    clocks = ProcessorClocks([process])
    before = clocks.read(0).server_cpu
    for _ in range(count):
        open_one(place, context)
    time.sleep(REST_SECONDS)
    return (clocks.read(0).server_cpu - before) / count


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", cert, key]:
            uvloop.run(serve(cert, key))
        case ["s_server", cert, key]:
            run_s_server(cert, key)
        case ["connect", place, authority, count, process]:
            print(json.dumps({"seconds": measure(place, authority, int(count), int(process))}))
