"""The entries of fastrpc in a real Consul, and its reading of foreign entries."""

import asyncio
import base64
import itertools
import logging
import signal
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Endpoint, Server, ServerConfig, Status, StoreError, Timeouts
from fastrpc.registries import open_registry
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.consul.agent import AgentAccess
from fastrpc.registries.consul.rpcx import RpcxKeys
from tests.support.program import Program
from tests.support.registry_servers import ConsulAgent
from tests.support.waiting import eventually

_numbers = itertools.count(1)

PORTS = (1001, 1002, 1003)

ACL = 'acl { enabled = true default_policy = "deny" tokens { master = "root" } }'

SERVER = """
import sys, time
from fastrpc import Endpoint
from fastrpc.registries import open_registry

with open_registry(sys.argv[1]).register("mortal", Endpoint("tcp://127.0.0.1:1001")) as registration:
    print(registration.is_registered, flush=True)
    time.sleep(60)
"""

WORKERS = """
import logging, sys
import fastrpc

logging.basicConfig(level=logging.INFO)

@fastrpc.service(sys.argv[2])
class Waiting:
    @fastrpc.method
    async def until_drained(self) -> None:
        await fastrpc.current_call().draining
        print("told", flush=True)

if __name__ == "__main__":
    fastrpc.serve(
        Waiting, address="tcp://127.0.0.1:0", advertise="tcp://127.0.0.1:0", registry=sys.argv[1], workers=2,
        config=fastrpc.ServerConfig(timeouts=fastrpc.Timeouts(announce=1.0)),
    )
"""


@pytest.fixture
def service() -> str:
    return f"consul-{next(_numbers)}"


def endpoint(port: int, **options: Any) -> Endpoint:
    return Endpoint(f"tcp://127.0.0.1:{port}", **options)


def opened(url: str) -> Any:
    return open_registry(url)


async def until_value(consul: ConsulAgent, service: str, is_wanted: Callable[[bytes | None], bool]) -> None:
    """Return once the key of the one server of a service in the layout of rpcx has a value; None: it has no key."""

    def value() -> bytes | None:
        try:
            pairs = consul.ask(f"/v1/kv/rpcx/{service}?recurse")
        except urllib.error.HTTPError:
            return None
        found = [pair["Value"] for pair in pairs if "@" in pair["Key"]]
        return base64.b64decode(found[0] or "") if found else None

    async with asyncio.timeout(20):
        while not is_wanted(await asyncio.to_thread(value)):
            await asyncio.sleep(0.02)


def is_inactive(value: bytes | None) -> bool:
    return value is not None and b"state=inactive" in value


async def until_ports(watch: Any, *ports: int) -> float:
    started = time.monotonic()
    async with asyncio.timeout(20):
        async for snapshot in watch:
            if {one.address.port for one in snapshot.endpoints} == set(ports):
                break
    return time.monotonic() - started


@pytest.mark.parametrize("check", ["ttl", "tcp"])
async def test_three_servers_appear_in_consuls_own_api_with_passing_checks(
    consul: ConsulAgent, service: str, check: str
) -> None:
    listeners = [
        # Tests that run at the same time, in other processes, listen there as well.
        await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port, reuse_port=True)
        for port in PORTS
    ]
    async with opened(f"{consul.url}?check={check}&ttl=3&tag=blue&tag=fast") as registry:
        registrations = [
            registry.register(
                service, endpoint(port, weight=port, zone="z", version="2", labels={"rack": "7"})
            )
            for port in PORTS
        ]
        for registration in registrations:
            await registration.__aenter__()
        # Long enough for a check that is not kept passing to become critical.
        await asyncio.sleep(4)
        found = await asyncio.to_thread(consul.ask, f"/v1/health/service/{service}?passing=1")
        for registration in registrations:
            await registration.__aexit__(None, None, None)
    assert sorted(one["Service"]["Port"] for one in found) == list(PORTS)
    for one in found:
        instance = one["Service"]
        assert instance["Address"] == "127.0.0.1"
        assert instance["Tags"] == ["blue", "fast"]
        assert instance["Weights"]["Passing"] == instance["Port"]
        assert len(instance["Meta"].pop("fastrpc-owner")) == 16
        assert instance["Meta"] == {
            "fastrpc-record": "1",
            "fastrpc-scheme": "tcp",
            "rack": "7",
            "version": "2",
            "weight": str(instance["Port"]),
            "zone": "z",
        }
        assert {part["Status"] for part in one["Checks"]} == {"passing"}
    assert consul.ask(f"/v1/health/service/{service}") == []
    for listener in listeners:
        listener.close()


async def test_server_that_dies_is_dropped_when_its_time_is_over(
    own_consul: ConsulAgent, tmp_path: Path
) -> None:
    async with opened(own_consul.url) as registry, registry.watch("mortal") as watch:
        (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
        with Program(["server.py", f"{own_consul.url}?ttl=2"], tmp_path) as program:
            await asyncio.to_thread(program.wait_output, "True")
            await until_ports(watch, 1001)
        # The block has killed it: nothing was taken back.
        assert await until_ports(watch) < 6.0


async def test_instance_that_the_agent_lost_comes_back(consul: ConsulAgent, service: str) -> None:
    async with opened(consul.url) as registry, registry.register(service, endpoint(1001)):
        path = f"/v1/agent/service/deregister/{service}@127.0.0.1:1001"
        await asyncio.to_thread(consul.ask, path, method="PUT")
        assert await asyncio.to_thread(consul.ask, f"/v1/health/service/{service}") == []
        async with asyncio.timeout(5):
            while not await asyncio.to_thread(consul.ask, f"/v1/health/service/{service}?passing=1"):
                await asyncio.sleep(0.05)


async def test_instances_of_other_programs_serve_while_their_checks_pass(
    consul: ConsulAgent, service: str
) -> None:
    async with opened(consul.url) as registry, registry.watch(service) as watch:
        for port in (1001, 1002):
            definition = {
                "Name": service,
                "ID": f"{service}-{port}",
                "Address": "127.0.0.1",
                "Port": port,
                "Meta": {"team": "x"},
                "Check": {"TTL": "60s", "Status": "passing"},
            }
            await asyncio.to_thread(consul.ask, "/v1/agent/service/register", method="PUT", data=definition)
        await until_ports(watch, 1001, 1002)
        assert watch.latest.endpoints[0] == endpoint(1001, labels={"team": "x"})
        await asyncio.to_thread(consul.ask, f"/v1/agent/check/fail/service:{service}-1001", method="PUT")
        await until_ports(watch, 1002)


async def test_bad_instances_are_left_out_and_logged_once(
    consul: ConsulAgent, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        ("metadata", {"Address": "169.254.169.254", "Port": 80}),
        ("format", {"Address": "127.0.0.1", "Port": 81, "Meta": {"fastrpc-record": "2"}}),
        (
            "socket",
            {"Address": "127.0.0.1", "Port": 82, "Meta": {"fastrpc-record": "1", "fastrpc-scheme": "unix"}},
        ),
    ]
    for name, definition in bad:
        data = {"Name": service, "ID": f"{service}-{name}"} | definition
        await asyncio.to_thread(consul.ask, "/v1/agent/service/register", method="PUT", data=data)
    async with opened(consul.url) as registry, registry.watch(service) as watch:
        for port in (1001, 1002):
            async with registry.register(service, endpoint(port)):
                await until_ports(watch, port)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(message.split("'")[1] for message in messages) == sorted(
        f"{service}-{name}" for name, _ in bad
    )


async def test_only_instances_with_the_tag_are_watched(consul: ConsulAgent, service: str) -> None:
    async with opened(f"{consul.url}?tag=blue") as blue, opened(f"{consul.url}?tag=green") as green:
        async with blue.register(service, endpoint(1001)), green.register(service, endpoint(1002)):
            async with opened(consul.url) as everything:
                await until_ports(everything.watch(service), 1001, 1002)
            await until_ports(blue.watch(service), 1001)
            await until_ports(green.watch(service), 1002)


async def test_unknown_datacenter_is_reported_and_tried_again(consul: ConsulAgent, service: str) -> None:
    async with opened(f"{consul.url}?dc=nowhere") as registry, registry.watch(service) as watch:
        async with asyncio.timeout(10):
            while watch.error is None:
                await asyncio.sleep(0.01)
        assert watch.latest is None
        assert "No path to datacenter" in str(watch.error)
    async with opened(f"{consul.url}?dc=dc1") as registry, registry.register(service, endpoint(1001)):
        await until_ports(registry.watch(service), 1001)


@pytest.fixture
def guarded(consul_path: str, tmp_path: Path) -> Iterator[ConsulAgent]:
    """An agent that lets nobody in without a token."""
    with ConsulAgent(consul_path, tmp_path, configuration=ACL).running() as agent:
        yield agent


async def test_token_opens_a_guarded_agent_and_its_lack_is_an_error(
    guarded: ConsulAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The variable that the library would prefer to the token of the URL.
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "not-a-token")
    for options in ("", "layout=rpcx&"):
        async with opened(f"{guarded.url}?{options}token=root") as registry:
            async with registry.register("arith", endpoint(1001)), registry.watch("arith") as watch:
                await until_ports(watch, 1001)
        for wrong in ("", "&token=wrong"):
            async with opened(f"{guarded.url}?{options}{wrong}") as registry:
                with pytest.raises(StoreError) as caught:
                    await registry.register("arith", endpoint(1001)).__aenter__()
                assert caught.value.status is Status.PERMISSION_DENIED
                assert "wrong" not in str(caught.value)


async def test_guarded_agent_keeps_a_registration_that_it_checks_itself(guarded: ConsulAgent) -> None:
    async with opened(f"{guarded.url}?check=tcp&token=root") as registry:
        async with registry.register("arith", endpoint(guarded.port)) as registration:
            # Longer than from one renewal to the next.
            await asyncio.sleep(2.5)
            assert registration.is_registered
            assert registration.error is None
        assert await asyncio.to_thread(guarded.ask, "/v1/health/service/arith", token="root") == []


class TestRpcxLayout:
    """Keys and values as Go's rpcx writes and reads them."""

    FLAGS = 0x2DDCCBC058A50C18

    async def test_keys_are_as_in_rpcx(self, consul: ConsulAgent, service: str) -> None:
        async with opened(f"{consul.url}?layout=rpcx&base=/base") as registry:
            record = endpoint(1001, weight=3, labels={"group": "blue"})
            async with registry.register(service, record):
                pairs = {pair["Key"]: pair for pair in consul.ask(f"/v1/kv/base/{service}?recurse")}
                key = f"base/{service}/tcp@127.0.0.1:1001"
                assert set(pairs) == {f"base/{service}", key}
                assert {pair["Flags"] for pair in pairs.values()} == {self.FLAGS}
                assert base64.b64decode(pairs[key]["Value"]) == b"group=blue&weight=3"
                session = consul.ask(f"/v1/session/info/{pairs[key]['Session']}")[0]
                assert session["Behavior"] == "delete"
                assert session["TTL"] == "10s"
                assert session["LockDelay"] == 1_000_000
                assert "Session" not in pairs[f"base/{service}"]
            left = [pair["Key"] for pair in consul.ask(f"/v1/kv/base/{service}?recurse")]
            assert left == [f"base/{service}"]

    def test_a_retired_key_is_marked_inactive_until_it_is_released(
        self, consul: ConsulAgent, service: str
    ) -> None:
        backend = RpcxKeys(AgentAccess(RegistryURL(consul.url)), base="rpcx")
        path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
        lease = backend.open_lease(service, endpoint(1001, weight=3))
        assert not lease.retire()
        lease.acquire()
        assert lease.retire()
        assert base64.b64decode(consul.ask(path)[0]["Value"]) == b"state=inactive&weight=3"
        # A key that is lost comes back as it was.
        consul.ask(path, method="DELETE")
        assert lease.renew()
        assert base64.b64decode(consul.ask(path)[0]["Value"]) == b"state=inactive&weight=3"
        # Another server of the address has taken the key over, and keeps it.
        later = backend.open_lease(service, endpoint(1001))
        later.acquire()
        assert not lease.retire()
        lease.release()
        assert consul.ask(path)[0]["Value"] in (None, "")
        later.release()
        backend.close()

    async def test_workers_that_drain_are_inactive_until_their_announcement_is_over(
        self, consul: ConsulAgent, service: str, tmp_path: Path
    ) -> None:
        (tmp_path / "serving.py").write_text(WORKERS)
        with Program(["serving.py", f"{consul.url}?layout=rpcx", service], tmp_path) as program:
            # The key exists a moment before its writer knows of it; a drain in this moment withdraws the key at once.
            await asyncio.to_thread(program.wait_errors, "registered at")
            program.signal(signal.SIGTERM)
            await until_value(consul, service, is_inactive)
            await until_value(consul, service, lambda found: found is None)
            assert (await asyncio.to_thread(program.wait)).code == 0

    async def test_a_server_that_drains_is_inactive_until_its_announcement_is_over(
        self, consul: ConsulAgent, service: str
    ) -> None:
        @fastrpc.service(service)
        class Waiting:
            @fastrpc.method
            async def wait(self) -> None:
                await may_end.wait()

        may_end = asyncio.Event()
        config = ServerConfig(protocols=("native", "rpcx"), timeouts=Timeouts(announce=1.0))
        async with Server(Waiting, config=config, registry=f"{consul.url}?layout=rpcx") as server:
            async with Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
                waits = asyncio.create_task(client.call(Waiting.wait))
                await eventually(lambda: server.stats()["live"]["calls"] == 1)
                await until_value(consul, service, lambda found: found is not None)
                drain = asyncio.create_task(server.drain())
                await until_value(consul, service, is_inactive)
                await until_value(consul, service, lambda found: found is None)
                assert not waits.done()
                may_end.set()
                await waits
            assert await drain is True

    async def test_server_written_in_go_is_found(self, consul: ConsulAgent, service: str) -> None:
        def put(key: str, value: bytes) -> None:
            path = f"/v1/kv/rpcx/{service}{key}?flags={self.FLAGS}"
            consul.ask(path, method="PUT", data=value)

        await asyncio.to_thread(put, "", service.encode())
        await asyncio.to_thread(put, "/tcp@127.0.0.1:1001", b"calls=1.00&group=blue&weight=4")
        async with opened(f"{consul.url}?layout=rpcx") as registry, registry.watch(service) as watch:
            await until_ports(watch, 1001)
            (found,) = watch.latest.endpoints
            assert (found.weight, found.labels["group"], found.protocols) == (4, "blue", ("rpcx",))
            await asyncio.to_thread(put, "/tcp@127.0.0.1:1002", b"")
            await until_ports(watch, 1001, 1002)
            await asyncio.to_thread(put, "/tcp@127.0.0.1:1001", b"state=inactive")
            await until_ports(watch, 1002)

    async def test_key_that_somebody_deleted_comes_back(self, consul: ConsulAgent, service: str) -> None:
        async with (
            opened(f"{consul.url}?layout=rpcx") as registry,
            registry.register(service, endpoint(1001)),
        ):
            path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
            await asyncio.to_thread(consul.ask, path, method="DELETE")
            async with asyncio.timeout(5):
                while True:
                    try:
                        (pair,) = await asyncio.to_thread(consul.ask, path)
                        break
                    except urllib.error.HTTPError:
                        await asyncio.sleep(0.05)
            assert "Session" in pair

    def test_renewing_keeps_values_that_an_operator_wrote(self, consul: ConsulAgent, service: str) -> None:
        backend = RpcxKeys(AgentAccess(RegistryURL(consul.url)), base="rpcx")
        path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
        lease = backend.open_lease(service, endpoint(1001))
        lease.acquire()
        consul.ask(path, method="PUT", data=b"state=inactive")
        (written,) = consul.ask(path)
        assert lease.renew()
        (renewed,) = consul.ask(path)
        lease.release()
        backend.close()
        assert base64.b64decode(renewed["Value"]) == b"state=inactive"
        # Nor is a waiter for a change woken.
        assert renewed["ModifyIndex"] == written["ModifyIndex"]

    def test_attempt_after_a_lost_answer_never_takes_the_key_out(
        self, consul: ConsulAgent, service: str
    ) -> None:
        backend = RpcxKeys(AgentAccess(RegistryURL(consul.url)), base="rpcx")
        path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
        lease = backend.open_lease(service, endpoint(1001))
        lease.acquire()
        (before,) = consul.ask(path)
        lease.acquire()
        (after,) = consul.ask(path)
        lease.release()
        backend.close()
        assert (after["CreateIndex"], after["Session"]) == (before["CreateIndex"], before["Session"])

    async def test_session_that_ended_is_made_again(self, consul: ConsulAgent, service: str) -> None:
        async with (
            opened(f"{consul.url}?layout=rpcx") as registry,
            registry.register(service, endpoint(1001)),
        ):
            path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
            (pair,) = await asyncio.to_thread(consul.ask, path)
            await asyncio.to_thread(consul.ask, f"/v1/session/destroy/{pair['Session']}", method="PUT")
            async with registry.watch(service) as watch:
                await until_ports(watch, 1001)
            (renewed,) = await asyncio.to_thread(consul.ask, path)
            assert renewed["Session"] != pair["Session"]

    async def test_two_registrations_of_one_address_leave_the_key_to_the_later_one(
        self, consul: ConsulAgent, service: str
    ) -> None:
        path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
        async with (
            opened(f"{consul.url}?layout=rpcx") as first,
            opened(f"{consul.url}?layout=rpcx") as second,
        ):
            async with first.register(service, endpoint(1001)):
                (earlier,) = await asyncio.to_thread(consul.ask, path)
                async with second.register(service, endpoint(1001, weight=9)):
                    (later,) = await asyncio.to_thread(consul.ask, path)
                    # Longer than from one renewal to the next.
                    await asyncio.sleep(2.5)
                    (found,) = await asyncio.to_thread(consul.ask, path)
        assert base64.b64decode(later["Value"]) == b"weight=9"
        assert later["Session"] != earlier["Session"]
        assert (found["Session"], found["CreateIndex"]) == (later["Session"], later["CreateIndex"])

    async def test_changes_of_a_key_by_other_programs_stay(self, consul: ConsulAgent, service: str) -> None:
        async with opened(f"{consul.url}?layout=rpcx") as registry:
            async with registry.register(service, endpoint(1001)):
                path = f"/v1/kv/rpcx/{service}/tcp@127.0.0.1:1001"
                await asyncio.to_thread(consul.ask, path, method="PUT", data=b"state=inactive")
                await asyncio.sleep(2.5)
                (found,) = await asyncio.to_thread(consul.ask, path)
        assert base64.b64decode(found["Value"]) == b"state=inactive"
