"""The interface of a peer, and the ready halves for peers written in Python.

A peer in another language gives two commands (see `c_echo`). A peer in Python derives from one server half and one
client half and implements serving and connecting:

    AsyncServer.serving      BlockingServer.serving
    AsyncClient.connected    BlockingClient.connected    for calls
    AsyncClient.streaming    BlockingClient.streaming    for streams, where it has them
"""

import asyncio
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from bench.compare.load import AsyncOperation, BlockingOperation, drive_tasks, drive_threads
from bench.compare.measurement import LoadOrder, Measurement
from bench.compare.open_loop import drive_at_rate
from bench.compare.stream_load import AsyncStreams, BlockingStreams, drive_blocking_stream, drive_stream
from bench.compare.workloads import WORKLOADS, Operation, Workload

__all__ = [
    "BACKLOG",
    "AsyncClient",
    "AsyncServer",
    "BlockingClient",
    "BlockingServer",
    "ClientSide",
    "Loop",
    "Mixed",
    "Peer",
    "PeerUnavailableError",
    "PythonPeer",
    "announce",
    "find_peers",
    "wait_for_end_of_input",
]

#: Connections that may wait to be accepted: if each caller has its own, all of them arrive at once.
BACKLOG = 4096

Loop = Literal["asyncio", "uvloop"]


class PeerUnavailableError(Exception):
    """The peer cannot run on this machine; the message names the missing part."""


class Peer(Protocol):
    """One stack in one configuration."""

    #: The name for `--peers`.
    name: str
    #: The title in the tables.
    title: str
    #: Peers of one family are one stack in several configurations; ratios are relative to the best of them.
    family: str
    #: Whether a run without `--peers` includes it.
    by_default: bool

    def offers(self, workload: Workload) -> bool:
        """Return whether the stack can run this workload."""
        ...

    def prepare(self) -> None:
        """Compile or generate its files; raise PeerUnavailableError if that is impossible."""
        ...

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        """Return the command that starts the server.

        The program prints {"address": …, "processes": [id, …]} on one line once it listens, and ends when its input
        closes. The directory is empty and private, for socket files; the workload is the one that will be measured.
        """
        ...

    def client_command(self, order: LoadOrder) -> list[str]:
        """Return the command of the load; its last line of output is a Measurement as JSON."""
        ...


class ClientSide(Protocol):
    """The program that loads a server: a peer, or an external load generator."""

    def prepare(self) -> None: ...

    def client_command(self, order: LoadOrder) -> list[str]: ...


class Mixed:
    """The client of one peer with the server of another one."""

    by_default = False

    def __init__(
        self,
        name: str,
        title: str,
        *,
        client: ClientSide,
        server: Peer,
        operations: Collection[Operation],
        scheme: str = "",
    ) -> None:
        self.name = name
        self.title = title
        self.family = title
        self._client = client
        self._server = server
        self._operations = operations
        #: The text that the client puts before a server's host and port.
        self._scheme = scheme

    def offers(self, workload: Workload) -> bool:
        return workload.operation in self._operations

    def prepare(self) -> None:
        self._client.prepare()
        self._server.prepare()

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        return self._server.server_command(directory, workload)

    def client_command(self, order: LoadOrder) -> list[str]:
        address = self._scheme + order.address.rpartition("//")[2]
        return self._client.client_command(replace(order, address=address))


class PythonPeer:
    """A peer whose server and client each run in `bench.compare.worker`."""

    operations: ClassVar[Collection[Operation]] = ("echo", "mul", "record")
    #: Whether its client can start calls at a fixed rate, even if earlier ones are unanswered.
    keeps_rates: ClassVar[bool] = False

    def __init__(self, name: str, title: str, *, family: str, by_default: bool = True) -> None:
        self.name = name
        self.title = title
        self.family = family
        self.by_default = by_default

    def offers(self, workload: Workload) -> bool:
        return workload.operation in self.operations and (workload.rate == 0 or self.keeps_rates)

    def prepare(self) -> None:
        """Nothing to prepare unless a peer says so."""

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        return self._worker_command("serve", workload.name, str(directory))

    def client_command(self, order: LoadOrder) -> list[str]:
        return self._worker_command("load", json.dumps(asdict(order)))

    def _worker_command(self, part: str, *arguments: str) -> list[str]:
        worker = [sys.executable, "-m", "bench.compare.worker"]
        return [*worker, part, type(self).__module__, self.name, *arguments]

    def serve(self, directory: Path, workload: Workload) -> None:
        """Serve in this process until standard input closes."""
        raise NotImplementedError

    def load(self, order: LoadOrder) -> Measurement:
        """Run the load in this process."""
        raise NotImplementedError


def announce(address: str, *further_processes: int) -> None:
    """Notify the parent that the server listens, and which further processes work for it."""
    print(json.dumps({"address": address, "processes": [os.getpid(), *further_processes]}), flush=True)


def wait_for_end_of_input() -> None:
    """Block until the parent closes standard input."""
    while os.read(sys.stdin.fileno(), 4096):
        pass


def _run(loop: Loop, main: Coroutine[Any, Any, Any]) -> Any:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


class AsyncServer(PythonPeer):
    """Server half on an event loop."""

    loop: Loop = "asyncio"

    def serving(self, directory: Path, workload: Workload) -> AbstractAsyncContextManager[str]:
        """Serve on any free address while the block runs; gives the address."""
        raise NotImplementedError

    def further_processes(self) -> Collection[int]:
        """Return the ids of the further processes of the server, once it serves."""
        return ()

    def serve(self, directory: Path, workload: Workload) -> None:
        async def main() -> None:
            async with self.serving(directory, workload) as address:
                announce(address, *self.further_processes())
                await asyncio.to_thread(wait_for_end_of_input)

        _run(self.loop, main())


class BlockingServer(PythonPeer):
    """Server half with threads of its own."""

    def serving(self, directory: Path, workload: Workload) -> AbstractContextManager[str]:
        """Serve on any free address while the block runs; gives the address."""
        raise NotImplementedError

    def serve(self, directory: Path, workload: Workload) -> None:
        with self.serving(directory, workload) as address:
            announce(address)
            wait_for_end_of_input()


class AsyncClient(PythonPeer):
    """Client half on an event loop: one task per call in flight."""

    loop: Loop = "asyncio"
    keeps_rates = True

    def connected(self, address: str, workload: Workload) -> AbstractAsyncContextManager[AsyncOperation]:
        """Hold a client while the block runs; gives the operation that all callers share."""
        raise NotImplementedError

    def streaming(self, address: str, workload: Workload) -> AbstractAsyncContextManager[AsyncStreams]:
        """Hold a client while the block runs; gives its streams."""
        raise NotImplementedError

    def load(self, order: LoadOrder) -> Measurement:
        async def main() -> Measurement:
            workload = WORKLOADS[order.workload]
            if workload.is_stream:
                async with self.streaming(order.address, workload) as streams:
                    return await drive_stream(streams, order)
            async with self.connected(order.address, workload) as operation:
                return await (drive_at_rate if workload.rate else drive_tasks)(operation, order)

        measurement: Measurement = _run(self.loop, main())
        return measurement


class BlockingClient(PythonPeer):
    """Client half with one thread per call in flight."""

    def connected(
        self, address: str, workload: Workload
    ) -> AbstractContextManager[Callable[[], BlockingOperation]]:
        """Hold a client while the block runs; each thread calls the yielded function once, for its own operation."""
        raise NotImplementedError

    def streaming(self, address: str, workload: Workload) -> AbstractContextManager[BlockingStreams]:
        """Hold a client while the block runs; gives its streams."""
        raise NotImplementedError

    def load(self, order: LoadOrder) -> Measurement:
        workload = WORKLOADS[order.workload]
        if workload.is_stream:
            with self.streaming(order.address, workload) as streams:
                return drive_blocking_stream(streams, order)
        with self.connected(order.address, workload) as connect:
            return drive_threads(connect, order)


def find_peers() -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the peers by name, and the files that could not be imported with the reason."""
    found: dict[str, Peer] = {}
    left_out: dict[str, str] = {}
    for module in _peer_modules():
        try:
            peers: tuple[Peer, ...] = importlib.import_module(module).PEERS
        except Exception as error:  # A stack that is half installed may raise anything.
            left_out[module.rpartition(".")[2]] = str(error)
        else:
            found.update((peer.name, peer) for peer in peers)
    return found, left_out


def _peer_modules() -> Iterator[str]:
    package = importlib.import_module("bench.compare.peers")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.name != __name__:
            yield module.name
