"""Endpoints in NATS: effects that only NATS has on them."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

import fastrpc
from fastrpc import ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.status import Status
from tests.support.certificates import Authority
from tests.support.cluster import in_thread, until
from tests.support.opened_registries import opened, shown
from tests.support.program import run_program
from tests.support.registry_servers import NatsServer

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

ONE, TWO = (Endpoint(f"tcp://127.0.0.1:{port}", protocols=("native",)) for port in (1001, 1002))
PASSWORD = "pl4nted-password"


def key_of(address: str, service: str = "arith") -> str:
    return ".".join(urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (service, address))


def record_of(endpoint: Endpoint) -> bytes:
    found = {"v": 1, "address": str(endpoint.address), "protocols": list(endpoint.protocols)}
    return json.dumps(found).encode()


async def on_bucket(
    server: NatsServer, work: Callable[[KeyValue], Awaitable[Any]], *, ttl: float = 0, **login: Any
) -> Any:
    """Do work on the bucket as another program; `ttl` makes it."""
    client = Client()
    await client.connect(server.url, **login)
    stream = client.jetstream()
    if ttl:
        await stream.create_key_value(KeyValueConfig(bucket="fastrpc", ttl=ttl, limit_marker_ttl=ttl))
    try:
        return await work(await stream.key_value("fastrpc"))
    finally:
        await client.close()


async def made_bucket(server: NatsServer, **options: Any) -> None:
    """Make the bucket without limit markers, as another program."""
    client = Client()
    await client.connect(server.url)
    try:
        await client.jetstream().create_key_value(KeyValueConfig(bucket="fastrpc", **options))
    finally:
        await client.close()


async def test_keys_that_change_are_listed_and_watched(own_nats: NatsServer) -> None:
    async def change(bucket: KeyValue) -> None:
        for weight in range(1, 400):
            record = json.dumps({"v": 1, "address": str(ONE.address), "weight": weight}).encode()
            await bucket.put(key_of(str(ONE.address)), record)

    async with (
        opened(own_nats.url) as registry,
        registry.register("arith", ONE),
        registry.register("other", TWO),
    ):
        changing = asyncio.ensure_future(on_bucket(own_nats, change))
        while not changing.done():
            assert set(await in_thread(registry.services)) == {"arith", "other"}
            async with registry.watch("arith") as watch:
                assert [one.address for one in (await anext(watch)).endpoints] == [ONE.address]
        await changing


async def test_the_server_forgets_the_consumer_of_a_list(own_nats: NatsServer) -> None:
    async def consumers(bucket: KeyValue) -> int:
        return int((await bucket.status()).stream_info.state.consumer_count)

    async with opened(own_nats.url) as registry:
        for _ in range(3):
            await in_thread(registry.services)
        async with asyncio.timeout(20):
            while await on_bucket(own_nats, consumers):
                await asyncio.sleep(0.1)


async def test_record_is_json_in_a_bucket_with_an_end(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as registry:
        async with registry.register("arith", Endpoint("tcp://127.0.0.1:1001", weight=2)):
            entry = await on_bucket(own_nats, lambda bucket: bucket.get(key_of("tcp://127.0.0.1:1001")))
            assert json.loads(entry.value) == {"v": 1, "address": "tcp://127.0.0.1:1001", "weight": 2}
            status = await on_bucket(own_nats, lambda bucket: bucket.status())
            assert (status.ttl, status.marker_ttl, status.history) == (15, 15, 1)
            assert await in_thread(registry.services) == ["arith"]
        assert await in_thread(registry.services) == []


async def test_missing_unmanaged_bucket_is_not_created(own_nats: NatsServer) -> None:
    async with opened(f"{own_nats.url}?manage=false") as registry:
        async with registry.register("arith", ONE) as registration:
            assert not registration.is_registered
            await on_bucket(own_nats, lambda bucket: bucket.status(), ttl=3)
            await until(lambda: registration.is_registered)


@pytest.mark.parametrize("loss", ["key", "bucket"])
async def test_record_that_was_lost_is_written_again(own_nats: NatsServer, loss: str) -> None:
    async with opened(f"{own_nats.url}?ttl=3") as registry, opened(own_nats.url) as client:
        async with registry.register("arith", ONE), client.watch("arith") as watch:
            await shown(watch, ONE)
            key = key_of(str(ONE.address))

            async def lose(bucket: KeyValue) -> None:
                if loss == "key":
                    await bucket.delete(key)
                else:
                    await bucket._js.delete_key_value("fastrpc")

            before = await on_bucket(own_nats, lambda bucket: bucket.get(key))
            await on_bucket(own_nats, lose)
            async with asyncio.timeout(8):
                while await found_revision(own_nats, key) in {0, before.revision}:
                    pass


async def found_revision(server: NatsServer, key: str) -> int:
    try:
        entry = await on_bucket(server, lambda bucket: bucket.get(key))
    except NotFoundError:
        return 0
    return int(entry.revision)


async def test_record_of_a_killed_server_ends_with_its_time(own_nats: NatsServer) -> None:
    put = lambda bucket: bucket.put(key_of(str(ONE.address)), record_of(ONE))  # noqa: E731
    await on_bucket(own_nats, put, ttl=2)
    async with opened(own_nats.url) as registry, registry.watch("arith") as watch:
        await shown(watch, ONE)
        await shown(watch)


async def test_a_killed_server_disappears_from_a_bucket_without_markers_while_others_renew(
    own_nats: NatsServer,
) -> None:
    await made_bucket(own_nats, ttl=2)
    await on_bucket(own_nats, lambda bucket: bucket.put(key_of(str(ONE.address)), record_of(ONE)))
    async with opened(f"{own_nats.url}?ttl=2") as registry, opened(f"{own_nats.url}?ttl=2") as client:
        async with registry.register("arith", TWO), client.watch("arith") as watch:
            await shown(watch, ONE, TWO)
            await shown(watch, TWO)


async def test_a_bucket_without_a_time_is_warned_of(
    own_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    await made_bucket(own_nats)
    async with opened(own_nats.url) as registry, registry.watch("arith") as watch:
        await shown(watch)
    [warning] = [one for one in caplog.records if one.name == "fastrpc.registry"]
    assert "has no TTL" in warning.getMessage()


async def test_one_watch_of_the_bucket_tells_of_several_services(own_nats: NatsServer) -> None:
    async with opened(own_nats.url) as registry, opened(own_nats.url) as client:
        async with client.watch("arith") as one, client.watch("orders") as two:
            await shown(one)
            async with registry.register("orders", ONE), registry.register("other", TWO):
                await shown(two, ONE)
                async with client.watch("other") as three:
                    await shown(three, TWO)
            await shown(two)
            assert one.latest.endpoints == ()


async def test_records_of_other_programs_cost_one_line_each(
    own_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(bucket: KeyValue) -> None:
        await bucket.put(key_of("note"), b"buy milk")
        await bucket.put(f"{key_of('x').partition('.')[0]}.=not-base64", b"{}")

    await on_bucket(own_nats, write, ttl=60)
    async with opened(own_nats.url) as registry, registry.watch("arith") as watch:
        await shown(watch)
        async with registry.register("arith", ONE):
            await shown(watch, ONE)
            async with registry.register("arith", TWO):
                await shown(watch, ONE, TWO)
    found = [record.getMessage() for record in caplog.records if record.name == "fastrpc.registry"]
    assert sum("is ignored" in line for line in found) == len(found) == 2


@pytest.fixture
def guarded(nats_path: str, tmp_path: Path) -> Iterator[NatsServer]:
    """A server that asks for a login: `server` and `reader`."""
    settings = tmp_path / "nats.conf"
    api = '"$JS.API.STREAM.INFO.KV_fastrpc", "$JS.API.CONSUMER.>"'
    settings.write_text(
        "authorization { users = [\n"
        f'{{user: server, password: "{PASSWORD}"}}\n'
        f'{{user: reader, password: "{PASSWORD}", permissions: {{publish: [{api}], subscribe: "_INBOX.>"}}}}\n'
        "]}\n"
    )
    with NatsServer(nats_path, tmp_path, options=["-c", str(settings)]).running() as server:
        yield server


def as_user(server: NatsServer, user: str, password: str = PASSWORD) -> str:
    return f"{server.url}?user={user}&password={password}"


async def test_login_registers_and_reads(guarded: NatsServer) -> None:
    async with opened(as_user(guarded, "server")) as registry:
        async with registry.register("arith", ONE), opened(as_user(guarded, "reader")) as client:
            async with client.watch("arith") as watch:
                await shown(watch, ONE)
                with pytest.raises(fastrpc.StoreError) as caught:
                    await client.register("arith", TWO).__aenter__()
                assert caught.value.status is Status.PERMISSION_DENIED


@pytest.mark.parametrize("user", ["", "?user=server&password=wrong", "?token=wrong"])
async def test_missing_and_wrong_login_are_refused(guarded: NatsServer, user: str) -> None:
    async with opened(f"{guarded.url}{user}") as registry:
        with pytest.raises(fastrpc.StoreError) as caught:
            await registry.register("arith", ONE).__aenter__()
        assert caught.value.status is Status.UNAUTHENTICATED
        assert "wrong" not in str(caught.value)


async def test_password_is_read_again_when_its_file_changes(guarded: NatsServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    async with opened(f"{guarded.url}?user=server&password_file={file}") as registry:
        async with registry.watch("arith") as watch:
            await until(lambda: watch.error)
            assert "pl4nted" not in str(watch.error)
            file.write_text(PASSWORD)
            await shown(watch)


async def test_server_and_clients_show_certificates(nats_path: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.certificate(), authority.certificate()
    options = ["--tlsverify", f"--tlscert={server.cert_file}", f"--tlskey={server.key_file}"]
    options.append(f"--tlscacert={authority.cert_file}")
    with NatsServer(nats_path, tmp_path, options=options).running() as made:
        async with opened(f"{made.url}?tls=true", tls=client.tls(authority)) as registry:
            async with registry.register("arith", ONE) as registration, registry.watch("arith") as watch:
                await until(lambda: registration.is_registered)
                await shown(watch, ONE)
        async with opened(f"{made.url}?tls=true", tls=client.tls(Authority(tmp_path, "other"))) as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
                assert "certificate" in str(watch.error)


async def test_server_without_tls_gets_no_login(own_nats: NatsServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    url = f"{own_nats.url}?tls=true&ca_file={authority.cert_file}&user=a&password={PASSWORD}"
    async with opened(url) as registry, registry.watch("arith") as watch:
        await until(lambda: watch.error)
        assert "secure connection" in str(watch.error)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nats://127.0.0.1?user=a", "a login has a user and a password"),
        ("nats://127.0.0.1?token=a&creds_file=b", "token and creds_file are both given"),
        ("nats://127.0.0.1?ttl=1", "from 2 to 86400"),
        ("nats://127.0.0.1?base=a.b", "letters, digits"),
        ("nats://127.0.0.1?layout=rpcx", "has no option layout"),
        ("nats://10.0.0.1?token=a", "travel in the clear"),
    ],
)
def test_option_that_cannot_work_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


async def test_longest_record_is_held(own_nats: NatsServer) -> None:
    labels = {f"{number:02}": "x" * 512 for number in range(63)} | {"ü": "ü" * 512}
    longest = Endpoint("tcp://[fd00::1]:1", labels=labels, zone="ä" * 128, protocols=("native",))
    async with opened(own_nats.url) as registry, registry.watch("arith") as watch:
        async with registry.register("arith", longest):
            await shown(watch, longest)
        with pytest.raises(ConfigError, match="cannot be registered"):
            registry.register("arith", Endpoint("tcp://10.0.0.1:1", labels=labels | {"64": ""}))


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def test_servers_clients_and_commands_find_each_other(own_nats: NatsServer, tmp_path: Path) -> None:
    places = f"{own_nats.url},127.0.0.1:{own_nats.port}"
    async with fastrpc.Server(Arith(), registry=places) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(f"{places}/arith") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        listed = await in_thread(run_program, ["-m", "fastrpc", "list", places], tmp_path)
        assert listed.output.split()[0] == "arith"
