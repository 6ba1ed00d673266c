"""Endpoints in Redis: effects that only Redis has on them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.redis.records import RedisLookup, RedisRecords
from fastrpc.registries.redis.server import RedisAccess
from fastrpc.status import Status
from tests.support.certificates import Authority
from tests.support.cluster import in_thread, until
from tests.support.opened_registries import opened, shown
from tests.support.program import run_program
from tests.support.registry_servers import RedisSentinel, RedisServer

pytestmark = pytest.mark.one_loop

ONE, TWO = (Endpoint(f"tcp://127.0.0.1:{port}", protocols=("native",)) for port in (1001, 1002))
RECORDS, LEASES = "fastrpc:arith:records", "fastrpc:arith:leases"
PASSWORD = "pl4nted-password"


def lookup_of(server: RedisServer) -> SingleLookup:
    access = RedisAccess([("127.0.0.1", server.port)], tls=None, login=None, db=0)
    return RedisRecords(access, "fastrpc", 10).open_lookup("arith")


async def test_record_is_json_with_an_end(own_redis: RedisServer) -> None:
    async with opened(own_redis.url) as registry:
        async with registry.register("arith", Endpoint("tcp://127.0.0.1:1001", weight=2)):
            found = own_redis.ask("HGET", RECORDS, "tcp://127.0.0.1:1001")
            assert json.loads(found) == {"v": 1, "address": "tcp://127.0.0.1:1001", "weight": 2}
            assert 5_000 < own_redis.ask("PTTL", RECORDS) <= 10_000
        assert own_redis.ask("KEYS", "*") == []


@pytest.mark.parametrize("loss", [RECORDS, LEASES, "fastrpc:arith:owners", "everything"])
async def test_record_that_was_lost_is_written_again(own_redis: RedisServer, loss: str) -> None:
    async with opened(f"{own_redis.url}?ttl=3") as registry, registry.register("arith", ONE):
        await in_thread(own_redis.ask, *(("FLUSHALL",) if loss == "everything" else ("DEL", loss)))
        await until(lambda: own_redis.ask("EXISTS", RECORDS, LEASES, "fastrpc:arith:owners") == 3, 5)


async def test_record_of_a_killed_server_ends_with_its_lease(own_redis: RedisServer) -> None:
    record = json.dumps({"v": 1, "address": str(ONE.address), "protocols": ["native"]})
    own_redis.ask("HSET", RECORDS, str(ONE.address), record)
    own_redis.ask("ZADD", LEASES, str(int(time.time() * 1000) + 2_000), str(ONE.address))
    async with opened(f"{own_redis.url}?ttl=2") as registry, registry.watch("arith") as watch:
        await shown(watch, ONE)
        await shown(watch)


async def test_ended_records_are_dropped_by_the_next_write(own_redis: RedisServer) -> None:
    own_redis.ask("HSET", RECORDS, "tcp://127.0.0.1:1002", "{}")
    own_redis.ask("ZADD", LEASES, "1000", "tcp://127.0.0.1:1002")
    async with opened(own_redis.url) as registry, registry.register("arith", ONE):
        assert own_redis.listed("arith") == {str(ONE.address)}


@pytest.mark.parametrize("value", ["buy milk", '{"v": 2}', b"\xff", "[" * 10_000])
async def test_record_of_another_program_costs_one_line(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture, value: str | bytes
) -> None:
    own_redis.ask("HSET", RECORDS, "note", value)
    own_redis.ask("ZADD", LEASES, "+inf", "note")
    async with opened(own_redis.url) as registry, registry.watch("arith") as watch:
        await shown(watch)
        async with registry.register("arith", ONE):
            await shown(watch, ONE)
            async with registry.register("arith", TWO):
                await shown(watch, ONE, TWO)
    assert [record.getMessage()[:29] for record in caplog.records] == ["arith: 'note' is ignored: it "]


async def test_many_records_are_read_in_pages(own_redis: RedisServer) -> None:
    endpoints = [Endpoint(f"tcp://10.0.0.1:{port}") for port in range(1, 301)]

    def write() -> None:
        for endpoint in endpoints:
            address = str(endpoint.address)
            own_redis.ask("HSET", RECORDS, address, json.dumps({"v": 1, "address": address}))
            own_redis.ask("ZADD", LEASES, "+inf", address)

    await in_thread(write)
    async with opened(own_redis.url) as registry, registry.watch("arith") as watch:
        await shown(watch, *endpoints)
        before = {str(one): one for one in watch.latest.endpoints}
        own_redis.ask("ZREM", LEASES, "tcp://10.0.0.1:7")
        own_redis.ask("PUBLISH", "fastrpc:arith", "")
        await shown(watch, *(one for one in endpoints if one.address.port != 7))
        # A record that did not change keeps its object.
        assert all(before[str(one)] is one for one in watch.latest.endpoints)


def test_lost_message_costs_half_a_lease(own_redis: RedisServer) -> None:
    access = RedisAccess([("127.0.0.1", own_redis.port)], tls=None, login=None, db=0)
    lookup = RedisRecords(access, "fastrpc", 2).open_lookup("arith")
    assert list(lookup.fetch(0.0).entries) == []
    own_redis.ask("HSET", RECORDS, str(ONE.address), json.dumps({"v": 1, "address": str(ONE.address)}))
    own_redis.ask("ZADD", LEASES, "+inf", str(ONE.address))
    assert [str(entry) for _, entry in lookup.fetch(60.0).entries] == [str(ONE.address)]
    lookup.close()


def test_clock_that_jumps_counts_as_a_restart(own_redis: RedisServer) -> None:
    instants = [0.0]
    access = RedisAccess([("127.0.0.1", own_redis.port)], tls=None, login=None, db=0)
    shared = RedisLookup(access, "fastrpc", 5, lambda key, value: None, clock=lambda: instants[0])
    lookup = SingleLookup(shared, "arith")
    instants[0] = time.monotonic()
    assert not lookup.fetch(0.0).is_restart
    instants[0] = time.monotonic()
    assert not lookup.fetch(0.0).is_restart
    instants[0] = time.monotonic() - 60
    assert lookup.fetch(0.0).is_restart
    lookup.close()


def test_server_that_has_restarted_is_known_by_its_run(own_redis: RedisServer) -> None:
    lookup = lookup_of(own_redis)
    assert not lookup.fetch(0.0).is_restart
    own_redis.kill()
    with pytest.raises(fastrpc.StoreError):
        lookup.fetch(0.0)
    own_redis.start()
    assert lookup.fetch(0.0).is_restart
    assert not lookup.fetch(0.0).is_restart
    lookup.close()


def test_closed_lookup_opens_no_connection(own_redis: RedisServer) -> None:
    lookup = lookup_of(own_redis)
    lookup.fetch(0.0)
    lookup.close()
    with pytest.raises(fastrpc.StoreError, match="is closed"):
        lookup.fetch(0.0)


@pytest.mark.parametrize("number", [0, 3])
async def test_database_is_chosen(own_redis: RedisServer, number: int) -> None:
    async with opened(f"{own_redis.url}?db={number}") as registry, registry.register("arith", ONE):
        assert list(own_redis.ask("INFO", "keyspace")) == [f"db{number}"]
        assert await in_thread(registry.services) == ["arith"]


@pytest.fixture
def guarded(redis_path: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that asks for a login: `server`, `reader`."""
    rights = tmp_path / "users.acl"
    reader = "+subscribe +zrangebyscore +hmget +time +select"
    rights.write_text(
        "user default on nopass ~* &* +@all\n"
        f"user server on >{PASSWORD} ~fastrpc:* &fastrpc:* +@all\n"
        f"user reader on >{PASSWORD} ~fastrpc:* &fastrpc:* -@all {reader}\n"
    )
    with RedisServer(redis_path, tmp_path, options=["--aclfile", str(rights)]).running() as server:
        server.ask("ACL", "SETUSER", "default", "resetpass", "off")
        yield server


def as_user(server: RedisServer, user: str, password: str = PASSWORD) -> str:
    return f"{server.url}?user={user}&password={password}"


async def test_login_registers_and_reads(guarded: RedisServer) -> None:
    async with opened(as_user(guarded, "server")) as registry, opened(as_user(guarded, "reader")) as client:
        async with registry.register("arith", ONE), client.watch("arith") as watch:
            await shown(watch, ONE)
            assert await in_thread(client.services) == ["arith"]


async def test_reader_may_not_register(guarded: RedisServer) -> None:
    async with opened(as_user(guarded, "reader")) as registry:
        with pytest.raises(fastrpc.StoreError) as caught:
            await registry.register("arith", ONE).__aenter__()
        assert caught.value.status is Status.PERMISSION_DENIED


@pytest.mark.parametrize("user", ["", "?user=server&password=wrong"])
async def test_missing_and_wrong_login_are_refused(guarded: RedisServer, user: str) -> None:
    async with opened(f"{guarded.url}{user}") as registry:
        with pytest.raises(fastrpc.StoreError) as caught:
            await registry.register("arith", ONE).__aenter__()
        assert caught.value.status is Status.UNAUTHENTICATED
        assert "password=" not in str(caught.value)


async def test_password_without_a_user_belongs_to_the_default_user(redis_path: str, tmp_path: Path) -> None:
    with RedisServer(redis_path, tmp_path, options=["--requirepass", PASSWORD]).running() as server:
        async with opened(f"{server.url}?password={PASSWORD}") as registry:
            async with registry.register("arith", ONE) as registration:
                assert registration.is_registered


async def test_password_is_read_again_when_its_file_changes(guarded: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    async with opened(f"{guarded.url}?user=server&password_file={file}") as registry:
        async with registry.watch("arith") as watch:
            await until(lambda: watch.error)
            assert "pl4nted" not in str(watch.error)
            file.write_text(PASSWORD)
            await shown(watch)


async def test_server_and_clients_show_certificates(redis_path: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.certificate(), authority.certificate()
    options = ["--tls-cert-file", str(server.cert_file), "--tls-key-file", str(server.key_file)]
    options += ["--tls-ca-cert-file", str(authority.cert_file)]
    made = RedisServer(redis_path, tmp_path, options=options, tls=True)
    url = f"rediss://127.0.0.1:{made.port}"
    with made.running():
        async with opened(url, tls=client.tls(authority)) as registry:
            async with registry.register("arith", ONE) as registration, registry.watch("arith") as watch:
                await until(lambda: registration.is_registered)
                await shown(watch, ONE)
        async with opened(f"{url}?ca_file={authority.cert_file}") as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
        async with opened(url, tls=client.tls(Authority(tmp_path, "other"))) as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
                assert "certificate" in str(watch.error)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://127.0.0.1?user=a", "a login has a user and a password"),
        ("redis://127.0.0.1?ttl=1", "from 2 to 86400"),
        ("redis://127.0.0.1?db=x", "the number of a database"),
        ("redis://127.0.0.1?base=/", "the option base is empty"),
        ("redis://127.0.0.1?layout=rpcx", "has no option layout"),
        ("redis://127.0.0.1,127.0.0.2", "names 2 servers"),
        ("redis://127.0.0.1?ca_file=a", "no effect without tls"),
        ("rediss://127.0.0.1?tls=true", "has no option tls"),
        ("redis://10.0.0.1?password=a", "travel in the clear"),
        ("valkey://10.0.0.1?password=a", "travel in the clear"),
    ],
)
def test_option_that_cannot_work_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


def test_longest_record_is_held_and_one_byte_more_is_refused(own_redis: RedisServer) -> None:
    labels = {f"{number:02}": "x" * 512 for number in range(64)} | {"00": "ü" * 512}
    with open_registry(own_redis.url) as registry:  # type: ignore[attr-defined]
        for address in ("tcp://10.0.0.1:1", "tcp://[fd00::1]:1"):
            with registry.register("arith", Endpoint(address, labels=labels, zone="ä" * 128)):
                with registry.watch("arith") as watch:
                    while not (found := watch.wait(10)).endpoints:
                        pass
                    assert found.endpoints[0].labels == labels
        with pytest.raises(ConfigError, match="the limit is 65536"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1", labels=dict.fromkeys(labels, "ü" * 512)))
        with pytest.raises(ConfigError, match="cannot be registered"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1", labels=labels | {"64": ""}))


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def test_servers_clients_and_commands_find_each_other(own_redis: RedisServer, tmp_path: Path) -> None:
    url = own_redis.url.replace("redis", "valkey")
    async with fastrpc.Server(Arith(), registry=url) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(f"{url}/arith") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        listed = await in_thread(run_program, ["-m", "fastrpc", "list", url], tmp_path)
        assert listed.output.split()[0] == "arith"
    assert own_redis.listed("arith") == set()


async def test_records_follow_the_master_that_sentinels_name(redis_path: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with RedisServer(redis_path, folders[0]).running() as first:
        options = ("--replicaof", "127.0.0.1", str(first.port))
        with RedisServer(redis_path, folders[1], options=options).running() as second:
            await until(lambda: first.ask("ROLE")[2])
            with RedisSentinel(redis_path, tmp_path, first).running() as sentinel:
                # A sentinel knows a replica once it has asked the master.
                await until(lambda: sentinel.ask("SENTINEL", "REPLICAS", "records"))
                async with opened(f"{sentinel.url}&ttl=3") as registry, registry.watch("arith") as watch:
                    async with registry.register("arith", ONE):
                        await shown(watch, ONE)
                        assert first.listed("arith") == {str(ONE.address)}
                        await in_thread(first.kill)
                        await until(lambda: second.ask("ROLE")[0] == b"master", 20)
                        async with registry.register("arith", TWO):
                            await shown(watch, ONE, TWO)
                            both = {str(ONE.address), str(TWO.address)}
                            await until(lambda: second.listed("arith") == both, 20)
                        await until(lambda: watch.error is None)


async def test_a_name_that_no_sentinel_knows_is_reported(redis_path: str, tmp_path: Path) -> None:
    with RedisServer(redis_path, tmp_path).running() as server:
        with RedisSentinel(redis_path, tmp_path, server).running() as sentinel:
            url = sentinel.url.replace("master=records", "master=others")
            async with opened(url) as registry:
                with pytest.raises(fastrpc.StoreError, match="no sentinel knows a master 'others'"):
                    await in_thread(registry.services)


def test_password_goes_to_a_master_over_tls_only() -> None:
    url = "redis://127.0.0.1,127.0.0.2?master=records&password=secret"
    with pytest.raises(ConfigError, match="its password would travel in the clear"):
        open_registry(url)
    open_registry(f"{url}&tls=true").close()
    with pytest.raises(ConfigError, match="names 2 servers"):
        open_registry("redis://127.0.0.1,127.0.0.2")


async def test_a_reader_that_may_not_ask_for_the_role_gets_an_error_and_reads_once_it_may(
    redis_path: str, tmp_path: Path
) -> None:
    rights = tmp_path / "users.acl"
    reader = "+subscribe +unsubscribe +zrangebyscore +hmget +time +select"
    rights.write_text(
        "user default on nopass ~* &* +@all\n"
        f"user reader on >{PASSWORD} ~fastrpc:* &fastrpc:* -@all {reader}\n"
    )
    with RedisServer(redis_path, tmp_path, options=["--aclfile", str(rights)]).running() as server:
        with RedisSentinel(redis_path, tmp_path, server).running() as sentinel:
            url = f"{sentinel.url}&user=reader&password={PASSWORD}&allow_insecure=true"
            async with opened(url) as registry:
                with pytest.raises(fastrpc.StoreError, match="'role' command") as caught:
                    await in_thread(registry.services)
                assert caught.value.status is Status.PERMISSION_DENIED
                async with registry.watch("arith") as watch, registry.watch("other") as other:
                    for each in (watch, other):
                        await until(lambda each=each: each.error)
                        assert "'role' command" in str(each.error)
                        assert "pl4nted" not in str(each.error)
                    await in_thread(server.ask, "ACL", "SETUSER", "reader", "+role")
                    async with opened(server.url) as servers, servers.register("arith", ONE):
                        await shown(watch, ONE)
                        await shown(other)
