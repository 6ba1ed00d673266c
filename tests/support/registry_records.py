"""The records of many services, written in bulk and not by leases, and the cost of following them."""

import asyncio
import base64
import json
import os
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fastrpc import Endpoint, SyncClient
from fastrpc.coordination import RegistryService
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import encode_record
from tests.support.apiserver import NAMESPACE, Apiserver, pod, slice_of
from tests.support.registry_servers import (
    ConsulAgent,
    EmbeddedServer,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
)

__all__ = ["KINDS", "Kind", "Records", "connections_to", "registry_threads", "resident_bytes"]

#: Services with their endpoints, each a record.
Records: TypeAlias = list[tuple[str, Endpoint]]

#: Seconds for which records in NATS are kept.
NATS_TTL = 3_600


def _into_etcd(server: EtcdServer, records: Records) -> None:
    def encoded(text: str | bytes) -> str:
        return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()

    for start in range(0, len(records), 100):
        puts = [
            {
                "request_put": {
                    "key": encoded(f"fastrpc/services/{service}/{str(one.address).replace('://', '@')}"),
                    "value": encoded(encode_record(one)),
                }
            }
            for service, one in records[start : start + 100]
        ]
        server.ask("kv/txn", {"success": puts})


def _into_redis(server: RedisServer, records: Records) -> None:
    import redis

    with redis.Redis("127.0.0.1", server.port) as client, client.pipeline(transaction=False) as pipeline:
        for service, one in records:
            pipeline.hset(f"fastrpc:{service}:records", str(one.address), encode_record(one))
            pipeline.zadd(f"fastrpc:{service}:leases", {str(one.address): 1e15})
            pipeline.publish(f"fastrpc:{service}", "")
        pipeline.execute()


def _into_embedded(server: EmbeddedServer, records: Records) -> None:
    with SyncClient(f"tcp://127.0.0.1:{server.port}") as client:
        for service, one in records:
            client.call(RegistryService.register, service, encode_record(one).decode(), 3_600.0)


def _into_consul(agent: ConsulAgent, records: Records) -> None:
    for service, one in records:
        place = {"Address": one.address.host, "Port": one.address.port}
        body = json.dumps({"ID": f"{service}@{one.address}", "Name": service, **place}).encode()
        url = f"http://127.0.0.1:{agent.port}/v1/agent/service/register"
        with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10):
            pass


def _into_zookeeper(server: ZookeeperServer, records: Records) -> None:
    with server.client() as client:
        client.ensure_path("/rpcx")
        for service in dict.fromkeys(service for service, _ in records):
            client.ensure_path(f"/rpcx/{service}")
        names = (f"/rpcx/{service}/{str(one.address).replace('://', '@')}" for service, one in records)
        for made in [client.create_async(name, b"") for name in names]:
            made.get(10)


def _into_nats(server: NatsServer, records: Records) -> None:
    with open_registry(f"{server.url}?ttl={NATS_TTL}") as registry:  # type: ignore[attr-defined]
        backend = registry._backend
        for start in range(0, len(records), 200):
            leases = [backend.open_lease(*record) for record in records[start : start + 200]]

            async def put(bucket: Any, leases: Any = leases) -> None:
                await asyncio.gather(*(bucket.put(one._key, one.record) for one in leases))

            backend._session.run(put)


def _into_kubernetes(server: Apiserver, records: Records) -> None:
    server.put(
        *(
            slice_of(
                f"{service}-{one.address.host}-{one.address.port}",
                service,
                pod(one.address.host),
                ports=[{"name": "rpc", "port": one.address.port, "protocol": "TCP"}],
            )
            for service, one in records
        )
    )


@dataclass(frozen=True)
class Kind:
    """A kind of registry, and the most that a thousand services in it may cost."""

    #: The name of the fixture of its server.
    fixture: str
    put: Callable[[Any, Records], None]
    url: Callable[[Any], str] = lambda server: str(server.url)
    endpoints: int = 3
    threads: int = 2
    connections: int = 2
    #: The share of a core, while nothing changes.
    percent: float = 2.0
    #: From a change to its use.
    change_seconds: float = 1.0


KINDS = {
    "consul": Kind("own_consul", _into_consul, threads=40, connections=40, percent=15.0, change_seconds=6.0),
    "embedded": Kind("own_embedded", _into_embedded),
    "etcd": Kind("own_etcd", _into_etcd),
    "kubernetes": Kind(
        "own_apiserver", _into_kubernetes, lambda server: f"kubernetes://{NAMESPACE}?server={server.url}"
    ),
    "nats": Kind("own_nats", _into_nats, lambda server: f"{server.url}?ttl={NATS_TTL}", endpoints=2),
    "redis": Kind("own_redis", _into_redis),
    # All values are read every 15 seconds by kazoo, four requests a service, and such a list is followed by a rest.
    "zookeeper": Kind("own_zookeeper", _into_zookeeper, percent=20.0, change_seconds=5.0),
}


def registry_threads() -> list[str]:
    """Return the names of the threads of registries."""
    return [one.name for one in threading.enumerate() if one.name.startswith("fastrpc registry")]


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connections_to(*ports: int) -> int:
    """Return the connections of this process to ports on loopback."""
    sockets = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    ends = tuple(f":{port:04X}" for port in ports)
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(
        parts[2].endswith(ends) and parts[3] == "01" and f"socket:[{parts[9]}]" in sockets for parts in lines
    )
