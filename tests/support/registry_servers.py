"""Real registries in processes of their own, which tests kill and start again."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.program import PACKAGE_ROOT, WAIT_SECONDS

__all__ = ["ConsulAgent", "EmbeddedServer", "consul_program", "free_ports"]


def consul_program() -> str | None:
    """Return the path of Consul: what FASTRPC_CONSUL names, or the one on the path."""
    return os.environ.get("FASTRPC_CONSUL") or shutil.which("consul")


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens at just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class _Process:
    """A server that keeps its port over kill and start."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
            )
        until = time.monotonic() + WAIT_SECONDS
        while not self.is_ready():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                raise AssertionError(f"it did not start: {self._log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a word; killing it twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextlib.contextmanager
    def running(self) -> Iterator[Any]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


class ConsulAgent(_Process):
    """A Consul agent that is its own server and forgets everything when it is killed."""

    def __init__(self, program: str, folder: Path, *, configuration: str | None = None) -> None:
        super().__init__(folder / "consul.log")
        self._program = program
        self._configuration = configuration
        #: HTTP, server, serf LAN and serf WAN.
        self._ports = free_ports(4)

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def url(self) -> str:
        return f"consul://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        names = ("http", "server", "serf-lan", "serf-wan")
        options = [f"-{name}-port={port}" for name, port in zip(names, self._ports, strict=True)]
        if self._configuration is not None:
            options.append(f"-hcl={self._configuration}")
        fixed = ["-dev", "-bind=127.0.0.1", "-log-level=warn", "-dns-port=-1", "-grpc-port=-1"]
        return [self._program, "agent", *fixed, *options]

    def is_ready(self) -> bool:
        try:
            # Its own node is in the catalogue some moments after it leads.
            return bool(self.ask("/v1/status/leader")) and bool(self.ask("/v1/catalog/nodes", token="root"))
        except OSError:
            return False

    def ask(self, path: str, *, method: str = "GET", data: Any = None, token: str | None = None) -> Any:
        """Ask Consul's own API."""
        body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method=method)
        if token is not None and self._configuration is not None:
            request.add_header("X-Consul-Token", token)
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None


class EmbeddedServer(_Process):
    """`fastrpc registry`."""

    def __init__(self, folder: Path, *, data_dir: Path | None = None) -> None:
        super().__init__(folder / "registry.log")
        self._data_dir = data_dir
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"registry://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        options = [] if self._data_dir is None else ["--data-dir", str(self._data_dir)]
        return [sys.executable, "-m", "fastrpc", "registry", "-a", f"tcp://127.0.0.1:{self.port}", *options]

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTRPC_", "CONSUL_"))}
    return kept | {"PYTHONPATH": str(PACKAGE_ROOT)}
