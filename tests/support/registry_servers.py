"""Real registries in processes of their own, which tests kill and start again."""

import base64
import contextlib
import json
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastrpc import SyncClient
from fastrpc.coordination import RegistryService
from fastrpc.registries.base.record import decode_record
from tests.support.kept_process import KeptProcess, accepts
from tests.support.ports import free_ports

__all__ = [
    "ConsulAgent",
    "DeimosStore",
    "EmbeddedServer",
    "EtcdServer",
    "NatsServer",
    "RedisSentinel",
    "RedisServer",
    "ZookeeperServer",
    "registry_program",
]


def registry_program(name: str) -> str | None:
    """Return the path of the program of a registry: FASTRPC_CONSUL for `consul`, or the one on the path."""
    variable = f"FASTRPC_{name.partition('-')[0].upper()}"
    return os.environ.get(variable) or shutil.which(name)


class ConsulAgent(KeptProcess):
    """A Consul agent; unless `kind` says otherwise its own server, which forgets everything when it is killed."""

    def __init__(self, program: str, folder: Path, *, configuration: str | None = None) -> None:
        super().__init__(folder / "consul.log")
        self._program = program
        self._configuration = configuration
        names = ("http", "server", "serf-lan", "serf-wan")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        #: The options that decide its kind.
        self.kind = ["-dev", "-bind=127.0.0.1"]

    @property
    def port(self) -> int:
        return self.ports["http"]

    @property
    def url(self) -> str:
        return f"consul://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        options = [f"-{name}-port={port}" for name, port in self.ports.items()]
        if self._configuration is not None:
            options.append(f"-hcl={self._configuration}")
        fixed = ["-log-level=warn", "-dns-port=-1", "-grpc-port=-1"]
        return [self._program, "agent", *self.kind, *fixed, *options]

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

    def listed(self, service: str) -> set[str]:
        """Return the addresses of a service whose checks pass, by Consul's own API."""
        found = self.ask(f"/v1/health/service/{service}?passing=1")
        return {f"tcp://{one['Service']['Address']}:{one['Service']['Port']}" for one in found}


class EtcdServer(KeptProcess):
    """A member of etcd, alone unless it is given peers; it keeps its data over kill and start."""

    def __init__(self, program: str, folder: Path, *, options: Sequence[str] = (), tls: bool = False) -> None:
        super().__init__(folder / "etcd.log")
        self._program = program
        self._options = list(options)
        self.data = folder / "etcd.data"
        self.port, self.peer_port = free_ports(2)
        self._scheme = "https" if tls else "http"
        #: The port at which other members find it: its own port, or the port of a proxy.
        self.reached_port = self.peer_port
        #: The members of its cluster, by the ports at which they are found.
        self.peer_ports = [self.peer_port]

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        client, peer = f"{self._scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        reached = f"http://127.0.0.1:{self.reached_port}"
        cluster = ",".join(f"member-{port}=http://127.0.0.1:{port}" for port in self.peer_ports)
        return [
            *(self._program, "--name", f"member-{self.reached_port}", "--data-dir", str(self.data)),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", reached),
            *("--initial-cluster", cluster, "--unsafe-no-fsync", "--log-level", "error", *self._options),
        ]

    def is_ready(self) -> bool:
        if self._scheme == "https" or len(self.peer_ports) > 1:
            return accepts("127.0.0.1", self.port)
        try:
            return bool(self.ask("kv/range", {"key": "AA==", "count_only": True}))
        except urllib.error.HTTPError as error:
            # With authentication it refuses a caller without a token.
            return error.code == HTTPStatus.BAD_REQUEST
        except OSError:
            return False

    def ask(self, path: str, request: Any, *, token: str = "") -> Any:
        """Ask the gateway of etcd; texts in the request whose names are for bytes are encoded."""
        request = {
            name: base64.b64encode(value.encode()).decode()
            if name in {"key", "range_end", "value"}
            else value
            for name, value in request.items()
        }
        body = json.dumps(request).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/{path}", body, method="POST")
        if token:
            asked.add_header("Authorization", token)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.loads(answer.read())

    def keys(self, prefix: str = "fastrpc/") -> dict[str, str]:
        """Return all keys with a prefix and their values."""
        found = self.ask("kv/range", {"key": prefix, "range_end": prefix[:-1] + chr(ord(prefix[-1]) + 1)})
        decode = base64.b64decode
        return {
            decode(one["key"]).decode(): decode(one.get("value", "")).decode() for one in found.get("kvs", ())
        }

    def listed(self, service: str) -> set[str]:
        """Return the addresses of a service, by the API of etcd."""
        names = (key.rpartition("/")[2] for key in self.keys(f"fastrpc/services/{service}/"))
        return {name.replace("@", "://", 1) for name in names}


class RedisServer(KeptProcess):
    """A server of Redis that forgets everything when it is killed."""

    def __init__(self, program: str, folder: Path, *, options: Sequence[str] = (), tls: bool = False) -> None:
        super().__init__(folder / "redis.log")
        self._program = program
        self._folder = folder
        (self.port,) = free_ports(1)
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._options = [*ports, *options]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        return [self._program, *fixed, *self._options]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)

    def ask(self, *command: str | bytes) -> Any:
        """Send a command, and return its answer."""
        import redis

        with redis.Redis("127.0.0.1", self.port) as client:
            return client.execute_command(*command)

    def listed(self, service: str) -> set[str]:
        """Return the addresses of a service, by the commands of Redis."""
        return {one.decode() for one in self.ask("HKEYS", f"fastrpc:{service}:records")}


class RedisSentinel(KeptProcess):
    """A sentinel, which makes the replica of a server its master once the server is gone for half a second."""

    def __init__(self, program: str, folder: Path, master: RedisServer) -> None:
        super().__init__(folder / "sentinel.log")
        (self.port,) = free_ports(1)
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"""port {self.port}
bind 127.0.0.1
dir {folder}
sentinel monitor records 127.0.0.1 {master.port} 1
sentinel down-after-milliseconds records 500
sentinel failover-timeout records 5000
"""
        )
        self._command = [program, str(settings), "--sentinel"]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:1,127.0.0.1:{self.port}?master=records"

    def command(self) -> list[str]:
        return self._command

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)

    def ask(self, *command: str) -> Any:
        """Send a command, and return its answer."""
        import redis

        with redis.Redis("127.0.0.1", self.port) as client:
            return client.execute_command(*command)


class ZookeeperServer(KeptProcess):
    """A server of ZooKeeper; it keeps its data over kill and start."""

    def __init__(self, program: str, folder: Path, *, tls: Mapping[str, Path] | None = None) -> None:
        super().__init__(folder / "zookeeper.log")
        self._program = program
        self._settings = folder / "zoo.cfg"
        # PEM files by their settings.
        self._tls = tls or {}
        self.data = folder / "zookeeper.data"
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"zookeeper://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        port, kind = ("secureClientPort", "Netty") if self._tls else ("clientPort", "NIO")
        settings: dict[str, object] = {
            "4lw.commands.whitelist": "srvr",
            "admin.enableServer": "false",
            "dataDir": self.data,
            "forceSync": "no",
            "minSessionTimeout": 1000,
            "preAllocSize": 1024,
            "serverCnxnFactory": f"org.apache.zookeeper.server.{kind}ServerCnxnFactory",
            "ssl.hostnameVerification": "false",
            "tickTime": 500,
            f"{port}": self.port,
            f"{port}Address": "127.0.0.1",
        }
        for name, path in self._tls.items():
            settings |= {f"ssl.{name}.type": "PEM", f"ssl.{name}.location": path}
        lines = (f"{name}={value}" for name, value in settings.items())
        self._settings.write_text("\n".join(lines), encoding="utf-8")
        return [self._program, str(self._settings)]

    def is_ready(self) -> bool:
        if self._tls:
            return accepts("127.0.0.1", self.port)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as asked:
            asked.sendall(b"srvr")
            return b"Mode: standalone" in asked.makefile("rb").read()
        return False

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A client of another program's session."""
        from kazoo.client import KazooClient

        client = KazooClient(f"127.0.0.1:{self.port}", timeout=2)
        client.start()
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def nodes(self, path: str) -> dict[str, str]:
        """Return the nodes below a path with their values."""
        with self.client() as client:
            names = client.get_children(path)
            return {name: client.get(f"{path}/{name}")[0].decode() for name in names}


class NatsServer(KeptProcess):
    """A server of NATS; it keeps its data over kill and start."""

    def __init__(self, program: str, folder: Path, *, options: Sequence[str] = ()) -> None:
        super().__init__(folder / "nats.log")
        self._program = program
        self.data = folder / "nats.data"
        self._options = list(options)
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        fixed = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.data)]
        return [self._program, *fixed, *self._options]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)


class EmbeddedServer(KeptProcess):
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
        return accepts("127.0.0.1", self.port)

    def listed(self, service: str) -> set[str]:
        """Return the addresses of a service that the registry lists for every caller."""
        with SyncClient(f"tcp://127.0.0.1:{self.port}") as client:
            return {str(decode_record(one)) for one in client.call(RegistryService.watch, service).records}


class DeimosStore(KeptProcess):
    """`fastrpc store` with the dialect of Deimos; it forgets everything when it is killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "deimos.log")
        self.port, self._store_port = free_ports(2)

    @property
    def url(self) -> str:
        return f"deimos://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        ports = ["-a", f"tcp://127.0.0.1:{self._store_port}", "--deimos", f"http://127.0.0.1:{self.port}"]
        return [sys.executable, "-m", "fastrpc", "store", *ports]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)
