"""`fastrpc.grpc.server`: a server for programs in threads, with a loop in a separate thread."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import grpc

from fastrpc.grpc.aio import servers
from fastrpc.grpc.faults import ThreadFaults
from fastrpc.grpc.instrumentation import warn_of_wrapped
from fastrpc.grpc.loop_thread import LoopThread

__all__ = ["BlockingServer", "server"]


def server(
    thread_pool: Executor,
    handlers: Sequence[Any] | None = None,
    interceptors: Sequence[Any] | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    maximum_concurrent_rpcs: int | None = None,
    compression: Any = None,
    **settings: Any,
) -> "BlockingServer":
    """Return a server that runs servicers in a thread pool, with the arguments of `server` in grpcio.

    Args:
        settings: `config`, `authenticate`, `authorize`, `call_limits`, `registry`, as for `fastrpc.grpc.aio.server`.
    """
    warn_of_wrapped("grpc.server", interceptors)
    given = (thread_pool, handlers, interceptors, options, maximum_concurrent_rpcs, compression)
    return BlockingServer(servers.new_server(ThreadFaults, given, **settings))


class BlockingServer(grpc.Server):  # type: ignore[misc]
    """Serves the handlers of generated code."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._thread = LoopThread("fastrpc grpc server")
        self._is_stopped = threading.Event()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """Add the handlers of services."""
        self._inner.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Add the handlers of one service."""
        self._inner.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Bind an address and return its port. The server listens there after its start."""
        return int(self._inner.add_insecure_port(address))

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        """Bind an address for TLS; `server_credentials` is a `fastrpc.TLS`."""
        return int(self._inner.add_secure_port(address, server_credentials))

    def start(self) -> None:
        """Listen at the ports."""
        self._thread.run(self._inner.start())

    def stop(self, grace: float | None) -> threading.Event:
        """Stop the server. Running calls have `grace` seconds to end. Return an event that is set at the end."""
        with suppress(RuntimeError):
            self._thread.submit(self._inner.stop(grace)).add_done_callback(self._end)
        return self._is_stopped

    def _end(self, _: object) -> None:
        self._is_stopped.set()
        self._thread.stop()

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped; return whether the timeout passed before."""
        return not self._is_stopped.wait(timeout)
