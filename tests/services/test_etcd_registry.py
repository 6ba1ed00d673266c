"""Endpoints in etcd: effects that only etcd has on them."""

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.layouts import FastrpcLayout
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.etcd import keys
from fastrpc.registries.etcd import lookup as lookups
from fastrpc.registries.etcd.gateway import EtcdAccess
from fastrpc.status import Status
from tests.support.certificates import Authority
from tests.support.cluster import in_thread, until
from tests.support.opened_registries import opened, shown
from tests.support.program import run_program
from tests.support.registry_servers import EtcdServer

pytestmark = pytest.mark.one_loop

ONE, TWO = (Endpoint(f"tcp://127.0.0.1:{port}", protocols=("native",)) for port in (1001, 1002))
KEY = "fastrpc/services/arith/tcp@127.0.0.1:1001"
PASSWORD = "pl4nted-password"


def record_of(endpoint: Endpoint) -> str:
    return json.dumps({"v": 1, "address": str(endpoint.address), "protocols": list(endpoint.protocols)})


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove the watch every half a second."""
    monkeypatch.setattr(lookups, "PROOF_SECONDS", 0.5)


async def test_record_is_json_under_a_lease(own_etcd: EtcdServer) -> None:
    async with opened(own_etcd.url) as registry:
        async with registry.register("arith", Endpoint("tcp://127.0.0.1:1001", weight=2)):
            assert json.loads(own_etcd.keys()[KEY]) == {
                "v": 1,
                "address": "tcp://127.0.0.1:1001",
                "weight": 2,
            }
            async with registry.register("orders", TWO):
                leases = await in_thread(own_etcd.ask, "lease/leases", {})
                assert len(leases["leases"]) == 1
        assert own_etcd.keys() == {}
    assert "leases" not in await in_thread(own_etcd.ask, "lease/leases", {})


async def test_record_of_rpcx_equals_the_record_of_its_server(own_etcd: EtcdServer) -> None:
    blue = Endpoint("tcp://127.0.0.1:1001", weight=2, labels={"group": "blue,green"})
    async with opened(f"{own_etcd.url}?layout=rpcx&base=/com/rpcx") as registry:
        async with registry.register("Arith", blue) as registration:
            name = "com/rpcx/Arith"
            assert own_etcd.keys("com/") == {
                name: "Arith",
                f"{name}/tcp@127.0.0.1:1001": "group=blue&group=green&weight=2",
            }
            assert await registration.retire()
            assert "state=inactive" in own_etcd.keys("com/")[f"{name}/tcp@127.0.0.1:1001"]
        assert own_etcd.keys("com/") == {name: "Arith"}


@pytest.mark.parametrize("loss", ["key", "lease"])
async def test_record_that_was_lost_is_written_again(own_etcd: EtcdServer, loss: str) -> None:
    async with opened(f"{own_etcd.url}?ttl=3") as registry, registry.register("arith", ONE):
        if loss == "key":
            await in_thread(own_etcd.ask, "kv/deleterange", {"key": KEY})
        else:
            (lease,) = (await in_thread(own_etcd.ask, "lease/leases", {}))["leases"]
            await in_thread(own_etcd.ask, "lease/revoke", lease)
        assert own_etcd.keys() == {}
        await until(own_etcd.keys, 5)


async def test_record_of_a_killed_server_ends_with_its_lease(own_etcd: EtcdServer) -> None:
    lease = (await in_thread(own_etcd.ask, "lease/grant", {"TTL": "2"}))["ID"]
    await in_thread(own_etcd.ask, "kv/put", {"key": KEY, "value": record_of(ONE), "lease": lease})
    async with opened(own_etcd.url) as registry, registry.watch("arith") as watch:
        await shown(watch, ONE)
        await shown(watch)


async def test_record_of_another_program_costs_one_line(
    own_etcd: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    await in_thread(own_etcd.ask, "kv/put", {"key": "fastrpc/services/arith/note", "value": "buy milk"})
    async with opened(own_etcd.url) as registry, registry.watch("arith") as watch:
        await shown(watch)
        for endpoints in ((ONE,), (ONE, TWO)):
            endpoint = endpoints[-1]
            key = f"fastrpc/services/arith/tcp@127.0.0.1:{endpoint.address.port}"
            await in_thread(own_etcd.ask, "kv/put", {"key": key, "value": record_of(endpoint)})
            await shown(watch, *endpoints)
    assert [record.getMessage()[:29] for record in caplog.records] == ["arith: 'note' is ignored: it "]


async def test_many_records_are_read_in_pages(own_etcd: EtcdServer) -> None:
    endpoints = [Endpoint(f"tcp://10.0.0.1:{port}") for port in range(1, 301)]

    def write() -> None:
        for endpoint in endpoints:
            key = f"fastrpc/services/arith/tcp@10.0.0.1:{endpoint.address.port}"
            own_etcd.ask("kv/put", {"key": key, "value": record_of(endpoint)})

    await in_thread(write)
    async with opened(own_etcd.url) as registry, registry.watch("arith") as watch:
        await shown(watch, *endpoints)
        before = {str(one): one for one in watch.latest.endpoints}
        await in_thread(own_etcd.ask, "kv/deleterange", {"key": "fastrpc/services/arith/tcp@10.0.0.1:7"})
        await shown(watch, *(one for one in endpoints if one.address.port != 7))
        # A record that did not change keeps its object.
        assert all(before[str(one)] is one for one in watch.latest.endpoints)


async def test_compacted_changes_are_read_again(own_etcd: EtcdServer) -> None:
    async with opened(own_etcd.url) as registry, registry.watch("arith") as watch:
        await shown(watch)
        own_etcd.signal(signal.SIGSTOP)
        await until(lambda: watch.error)
        own_etcd.signal(signal.SIGCONT)
        for number in range(5):
            await in_thread(own_etcd.ask, "kv/put", {"key": "other", "value": str(number)})
        put = await in_thread(own_etcd.ask, "kv/put", {"key": KEY, "value": record_of(ONE)})
        await in_thread(own_etcd.ask, "kv/compaction", {"revision": put["header"]["revision"]})
        await shown(watch, ONE)
        await in_thread(own_etcd.ask, "kv/put", {"key": "other", "value": "last"})


async def test_lookup_reads_compacted_keys_again(own_etcd: EtcdServer) -> None:
    lookup = lookup_of(own_etcd)
    assert lookup.fetch(0.0).entries == []
    put = own_etcd.ask("kv/put", {"key": KEY, "value": record_of(ONE)})
    own_etcd.ask("kv/put", {"key": "other", "value": ""})
    own_etcd.ask("kv/compaction", {"revision": str(int(put["header"]["revision"]) + 1)})
    assert [entry for _, entry in lookup.fetch(5.0).entries] == [ONE]
    lookup.close()


def lookup_of(server: EtcdServer) -> SingleLookup:
    return keys.EtcdKeys(EtcdAccess([("127.0.0.1", server.port)]), FastrpcLayout("fastrpc"), 10).open_lookup(
        "arith"
    )


def test_restored_backup_counts_as_a_restart(own_etcd: EtcdServer) -> None:
    lookup = lookup_of(own_etcd)
    own_etcd.kill()
    saved = own_etcd.data.with_name("saved")
    shutil.copytree(own_etcd.data, saved)
    own_etcd.start()
    own_etcd.ask("kv/put", {"key": KEY, "value": record_of(ONE)})
    assert not lookup.fetch(0.0).is_restart
    own_etcd.kill()
    shutil.rmtree(own_etcd.data)
    saved.rename(own_etcd.data)
    own_etcd.start()
    found = lookup.fetch(0.0)
    assert found.is_restart
    assert list(found.entries) == []
    assert not lookup.fetch(0.0).is_restart
    lookup.close()


@pytest.mark.usefixtures("soon")
def test_watch_that_is_dead_is_noticed_by_the_proof(
    own_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = lookup_of(own_etcd)
    lookup.fetch(0.0)
    assert list(lookup.fetch(0.1).entries) == []
    # A connection without its other side: no change arrives, and no error.
    monkeypatch.setattr(
        lookup._shared._watch, "receive", lambda wait_seconds: time.sleep(min(wait_seconds, 0.1))
    )
    own_etcd.ask("kv/put", {"key": KEY, "value": record_of(ONE)})
    found: list[Any] = []
    for _ in range(20):
        found = [entry for _, entry in lookup.fetch(0.5).entries]
        if found:
            break
    assert found == [ONE]
    lookup.close()


@pytest.fixture
def members(etcd_path: str, tmp_path: Path) -> Iterator[list[EtcdServer]]:
    """Three members of one cluster."""
    made = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        made.append(EtcdServer(etcd_path, tmp_path / str(number)))
    for one in made:
        one.peer_ports = [other.peer_port for other in made]
    with contextlib.ExitStack() as stack:
        for one in made:
            stack.callback(one.kill)
            one.start()
        yield made


@pytest.mark.usefixtures("soon")
async def test_member_without_a_quorum_is_left_for_the_next(members: list[EtcdServer]) -> None:
    places = ",".join(f"127.0.0.1:{one.port}" for one in members)
    async with opened(f"etcd://{places}") as registry, opened(f"etcd://{places}") as client:
        async with registry.register("arith", ONE) as registration, client.watch("arith") as watch:
            await until(lambda: registration.is_registered)
            await shown(watch, ONE)
            for member in members:
                # One after the other is stopped, the leader among them.
                member.signal(signal.SIGSTOP)
                try:
                    async with registry.register("arith", TWO) as second:
                        await until(lambda second=second: second.is_registered)
                        await shown(watch, ONE, TWO)
                finally:
                    member.signal(signal.SIGCONT)
                await in_thread(until_leader, member)


def until_leader(member: EtcdServer) -> None:
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        with contextlib.suppress(OSError):
            member.ask("kv/range", {"key": "any"})
            return
        time.sleep(0.05)
    raise AssertionError("the member does not answer")


@pytest.fixture(params=["etcd", pytest.param("etcd_new", marks=pytest.mark.conformance)])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    """A member that asks for a login: `root`, `server` and `reader`."""
    path, options = request.getfixturevalue(f"{request.param}_path"), ["--auth-token", "simple"]
    with EtcdServer(path, tmp_path, options=options).running() as server:
        for user in ("root", "server", "reader"):
            server.ask("auth/user/add", {"name": user, "password": PASSWORD})
            server.ask("auth/role/add", {"name": user})
            kind = {"server": "READWRITE", "reader": "READ"}.get(user)
            if kind is not None:
                encoded = {"key": "ZmFzdHJwYy8=", "range_end": "ZmFzdHJwYzA="}
                server.ask("auth/role/grant", {"name": user, "perm": {"permType": kind, **encoded}})
            server.ask("auth/user/grant", {"user": user, "role": user})
        server.ask("auth/enable", {})
        yield server


def as_user(server: EtcdServer, user: str, password: str = PASSWORD) -> str:
    return f"{server.url}?user={user}&password={password}"


async def test_login_registers_and_reads(guarded: EtcdServer) -> None:
    async with opened(as_user(guarded, "server")) as registry, opened(as_user(guarded, "reader")) as client:
        async with registry.register("arith", ONE), client.watch("arith") as watch:
            await shown(watch, ONE)
            assert await in_thread(client.services) == ["arith"]
        async with client.watch("arith") as watch:
            await shown(watch)


async def test_reader_may_not_register(guarded: EtcdServer) -> None:
    async with opened(as_user(guarded, "reader")) as registry:
        with pytest.raises(Exception, match="permission denied") as caught:
            await registry.register("arith", ONE).__aenter__()
        assert caught.value.status is Status.PERMISSION_DENIED


@pytest.mark.parametrize("user", ["", "?user=server&password=wrong"])
async def test_missing_and_wrong_login_are_refused(guarded: EtcdServer, user: str) -> None:
    async with opened(f"{guarded.url}{user}") as registry:
        with pytest.raises(Exception, match="user name|authentication failed") as caught:
            await registry.register("arith", ONE).__aenter__()
        assert caught.value.status in {Status.UNAUTHENTICATED, Status.INVALID_ARGUMENT}
        assert "wrong" not in str(caught.value)


async def test_token_that_ends_is_replaced(guarded: EtcdServer) -> None:
    async with (
        opened(f"{as_user(guarded, 'server')}&ttl=3") as registry,
        opened(as_user(guarded, "reader")) as client,
    ):
        async with registry.register("arith", ONE) as registration, client.watch("arith") as watch:
            await shown(watch, ONE)
            # A restart forgets simple tokens, and a changed role makes all of them old.
            await in_thread(guarded.kill)
            await in_thread(guarded.start)
            async with registry.register("arith", TWO):
                await shown(watch, ONE, TWO)
            await until(lambda: registration.is_registered and watch.error is None)
            root = (
                await in_thread(guarded.ask, "auth/authenticate", {"name": "root", "password": PASSWORD})
            )["token"]
            await in_thread(lambda: guarded.ask("auth/role/add", {"name": "other"}, token=root))
            async with registry.register("arith", TWO):
                await shown(watch, ONE, TWO)


async def test_password_is_read_again_when_its_file_changes(guarded: EtcdServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    async with opened(f"{guarded.url}?user=server&password_file={file}") as registry:
        async with registry.watch("arith") as watch:
            await until(lambda: watch.error)
            assert "pl4nted" not in str(watch.error)
            file.write_text(PASSWORD)
            await shown(watch)


async def test_login_to_a_member_without_authentication_needs_no_token(own_etcd: EtcdServer) -> None:
    async with opened(as_user(own_etcd, "server")) as registry, registry.register("arith", ONE):
        assert own_etcd.keys()


async def test_members_and_clients_show_certificates(etcd_path: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.certificate(), authority.certificate()
    options = ["--cert-file", str(server.cert_file), "--key-file", str(server.key_file), "--client-cert-auth"]
    options += ["--trusted-ca-file", str(authority.cert_file)]
    with EtcdServer(etcd_path, tmp_path, options=options, tls=True).running() as member:
        async with opened(f"{member.url}?tls=true", tls=client.tls(authority)) as registry:
            async with registry.register("arith", ONE) as registration, registry.watch("arith") as watch:
                await until(lambda: registration.is_registered)
                await shown(watch, ONE)
        async with opened(f"{member.url}?tls=true&ca_file={authority.cert_file}") as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
        async with opened(f"{member.url}?tls=true", tls=client.tls(Authority(tmp_path, "other"))) as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
                assert "certificate" in str(watch.error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("user=a", "a login has a user and a password"),
        ("password=a", "a login has a user and a password"),
        ("ttl=1", "from 2 to 86400"),
        ("layout=catalogue", "one of fastrpc, rpcx"),
        ("base=/", "the option base is empty"),
        ("token=a", "has no option token"),
        ("dc=a", "has no option dc"),
    ],
)
def test_option_that_cannot_work_is_refused(options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(f"etcd://127.0.0.1?{options}")


def test_record_that_is_too_long_is_refused() -> None:
    labels = {f"{number}": "ü" * 512 for number in range(64)}
    with open_registry("etcd://127.0.0.1") as registry:  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="the limit is 65536"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1", labels=labels))


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def test_servers_clients_and_commands_find_each_other(own_etcd: EtcdServer, tmp_path: Path) -> None:
    places = f"{own_etcd.url},127.0.0.1:{own_etcd.port}"
    async with fastrpc.Server(Arith(), registry=places) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(f"{places}/arith") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        listed = await in_thread(run_program, ["-m", "fastrpc", "list", places], tmp_path)
        assert listed.output.split()[0] == "arith"
    assert own_etcd.keys() == {}
