"""A part of the demonstration: one service called in the process, on the host, and through a relay."""

import asyncio
import tempfile
from contextlib import closing
from pathlib import Path
from subprocess import run

from demo_process import Process, check, command, say
from demo_service import Demo

import fastrpc

__all__ = ["show_relay"]

TOKENS = '[[token]]\ntoken = "secret-of-edge-7"\nname = "edge-7"\n'
POLICY = '[[rule]]\nwho = ["edge-7"]\nrelay = ["edge-*"]\n'
NAMES = ("--name", "localhost", "--name", "edge-7.localhost")
CERTIFICATE = ("--tls-cert", "certs/server.pem", "--tls-key", "certs/server.key")
ACCESS = ("--tokens", "tokens.toml", "--policy", "policy.toml")


def show_relay() -> None:
    """Move one service outwards; its callers change an address."""
    say("One service in the process, on the host, and behind a NAT: memory://, unix://, relay://")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (("tokens.toml", TOKENS), ("policy.toml", POLICY), ("token", "secret-of-edge-7")):
            (folder / file).write_text(text)
        run(command("certs", "dev", "certs", *NAMES, "--json"), cwd=folder, check=True, capture_output=True)
        asyncio.run(call_in_the_process())
        host = f"unix://{folder / 'demo'}"
        with closing(Process("run", "demo_service:Demo", "--address", host, folder=folder)) as server:
            call(folder, server.wait_started("addresses"))
        arguments = ("relay", "--name", "localhost", "--address", "tls://127.0.0.1:0", *CERTIFICATE, *ACCESS)
        with closing(Process(*arguments, folder=folder)) as relay:
            address = f"{relay.wait_started('urls')}/edge-7?ca_file=certs/authority.pem&token_file=token"
            serving = ("run", "demo_service:Demo", "--address", address, *CERTIFICATE)
            with closing(Process(*serving, folder=folder)) as server:
                call(folder, server.wait_started("addresses"))


async def call_in_the_process() -> None:
    """Serve and call in one process."""
    async with fastrpc.Server(Demo) as server:
        address = str(await server.listen("memory://demo"))
        async with fastrpc.Client(address) as client:
            check(await client.call(Demo.mul, 6, 7) == 42, f'Client("{address}")')


def call(folder: Path, address: str) -> None:
    """Call one server."""
    config = fastrpc.ClientConfig(tls=fastrpc.TLS(ca_file=folder / "certs" / "authority.pem"))
    with fastrpc.SyncClient(address, config=config) as client:
        check(client.call(Demo.mul, 6, 7) == 42, f'SyncClient("{address}")')
