"""A call through a relay and one through HAProxy in TCP mode, measured by turns in one run."""

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastrpc
from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.certificates import make_certificate
from bench.promises.finding import Finding
from fastrpc.auth import StaticTokens
from fastrpc.relay.server import RelayServer

__all__ = ["relayed"]

ROUNDS, CALLS, LARGE_CALLS = 15, 400, 12
LARGE_BYTES = 1 << 20
TOKEN = "token-of-edge"

HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{front}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  default_backend back
backend back
  server only {back}
"""


@fastrpc.service("echo")
class Echo:
    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data


def relayed() -> list[Finding]:
    """Calls of 32 B one after the other and of 1 MiB at once, through a relay and through HAProxy."""
    with tempfile.TemporaryDirectory() as folder:
        names = "DNS:localhost,DNS:edge-7.localhost,IP:127.0.0.1"
        make_certificate(Path(folder), "shown", names=names)
        Path(folder, "token").write_text(TOKEN, encoding="utf-8")
        program = [sys.executable, "-m", "bench.promises.relayed"]
        cores = choose_cores()
        with (
            running_server([*program, "relay", folder], cores.server) as relay,
            running_server([*program, "serve", folder, relay.address], cores.server) as server,
            _haproxy(Path(folder), server.address) as front,
        ):
            targets = [f"{relay.address}/edge-7", front]
            found = run_client([*program, "call", folder, *targets], cores.client, 60)
    ours, theirs = found["relay"], found["haproxy"]
    details = f"relay and HAProxy, medians of {ROUNDS} rounds in turn"
    return [
        Finding(
            "a call of 32 B through a relay",
            ours["p50"] / theirs["p50"],
            1.3,
            "times the p50 through HAProxy",
            f"{ours['p50'] * 1e6:.0f} and {theirs['p50'] * 1e6:.0f} µs, {details}",
        ),
        Finding(
            f"{LARGE_CALLS} calls of 1 MiB at once through a relay",
            ours["large"] / theirs["large"],
            2,
            "times the time through HAProxy",
            f"{ours['large'] * 1e3:.0f} and {theirs['large'] * 1e3:.0f} ms, {details}",
        ),
    ]


@contextmanager
def _haproxy(folder: Path, back: str) -> Iterator[str]:
    """Run HAProxy in front of a server, and yield its address."""
    program = os.environ.get("FASTRPC_HAPROXY") or shutil.which("haproxy")
    if program is None:
        raise FileNotFoundError("HAProxy is not installed, and FASTRPC_HAPROXY does not name it")
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        settings = folder / "haproxy.cfg"
        settings.write_text(HAPROXY.format(front=port, back=back.removeprefix("tls://")), encoding="utf-8")
    running = subprocess.Popen([program, "-f", str(settings), "-db"], stderr=subprocess.DEVNULL)
    try:
        yield f"tls://localhost:{port}"
    finally:
        running.kill()
        running.wait()


async def _relay(folder: Path) -> None:
    tls = fastrpc.TLS(cert_file=folder / "shown.pem", key_file=folder / "shown.key")
    tokens = StaticTokens({TOKEN: fastrpc.Identity("edge")})
    async with RelayServer("tls://127.0.0.1:0", name="localhost", tls=tls, authenticate=tokens) as relay:
        await _announced(relay.url)


async def _serve(folder: Path, relay: str) -> None:
    tls = fastrpc.TLS(cert_file=folder / "shown.pem", key_file=folder / "shown.key")
    async with fastrpc.Server(Echo, config=fastrpc.ServerConfig(tls=tls)) as server:
        options = f"?token_file={folder / 'token'}&ca_file={folder / 'shown.pem'}"
        await server.listen(f"{relay}/edge-7{options}")
        await _announced(str(await server.listen("tls://127.0.0.1:0")))


async def _announced(address: str) -> None:
    """Tell the address, and serve until the input ends."""
    print(json.dumps({"address": address, "processes": [os.getpid()]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _call(folder: Path, relay: str, haproxy: str) -> None:
    config = fastrpc.ClientConfig(tls=fastrpc.TLS(ca_file=folder / "shown.pem"))
    large = os.urandom(LARGE_BYTES)
    rounds: dict[str, list[tuple[float, float]]] = {"relay": [], "haproxy": []}
    async with fastrpc.Client(relay, config=config) as ours, fastrpc.Client(haproxy, config=config) as theirs:
        for _ in range(ROUNDS):
            for name, client in (("relay", ours), ("haproxy", theirs)):
                waits = client.with_options(wait_for_ready=True, timeout=20)
                await waits.call(Echo.echo, b"")
                seconds = [await _timed(waits) for _ in range(CALLS)]
                started = time.perf_counter()
                await asyncio.gather(*(waits.call(Echo.echo, large) for _ in range(LARGE_CALLS)))
                rounds[name].append((statistics.median(seconds), time.perf_counter() - started))
    print(
        json.dumps(
            {
                name: {
                    "p50": statistics.median(p50 for p50, _ in found),
                    "large": statistics.median(large for _, large in found),
                }
                for name, found in rounds.items()
            }
        )
    )


async def _timed(client: fastrpc.Client) -> float:
    started = time.perf_counter()
    await client.call(Echo.echo, bytes(32))
    return time.perf_counter() - started


if __name__ == "__main__":
    kind, place, *rest = sys.argv[1:]
    import uvloop

    kinds: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "relay": _relay,
        "serve": _serve,
        "call": _call,
    }
    uvloop.run(kinds[kind](Path(place), *rest))
