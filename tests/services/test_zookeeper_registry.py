"""Endpoints in ZooKeeper: effects that only ZooKeeper has on them."""

from pathlib import Path

import pytest

import fastrpc
from fastrpc import ConfigError, Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.rpcx_record import RpcxRecord
from fastrpc.status import Status
from tests.support.certificates import Authority
from tests.support.cluster import in_thread, until
from tests.support.opened_registries import opened, shown
from tests.support.program import run_program
from tests.support.registry_servers import ZookeeperServer

pytestmark = pytest.mark.one_loop

ONE, TWO = (Endpoint(f"tcp://127.0.0.1:{port}", protocols=("native",)) for port in (1001, 1002))
PATH = "/rpcx/arith/tcp@127.0.0.1:1001"
PASSWORD = "pl4nted-password"


async def test_record_matches_rpcx(own_zookeeper: ZookeeperServer) -> None:
    blue = Endpoint("tcp://127.0.0.1:1001", weight=2, labels={"group": "blue,green"})
    async with opened(f"{own_zookeeper.url}?base=/com/rpcx") as registry:
        async with registry.register("Arith", blue) as registration:
            name = "tcp@127.0.0.1:1001"
            assert own_zookeeper.nodes("/com/rpcx") == {"Arith": "Arith"}
            assert own_zookeeper.nodes("/com/rpcx/Arith") == {name: "group=blue&group=green&weight=2"}
            assert await registration.retire()
            assert "state=inactive" in own_zookeeper.nodes("/com/rpcx/Arith")[name]
        assert own_zookeeper.nodes("/com/rpcx") == {"Arith": "Arith"}
        assert own_zookeeper.nodes("/com/rpcx/Arith") == {}
        assert await in_thread(registry.services) == []


async def test_record_of_another_rpcx_server_is_followed(own_zookeeper: ZookeeperServer) -> None:
    with own_zookeeper.client() as client:
        client.create("/rpcx/arith", b"arith", makepath=True)
        client.create(PATH, b"group=blue&group=green&weight=7", ephemeral=True)
        client.create(f"{PATH}2", b"state=inactive", ephemeral=True)
        theirs = Endpoint(
            "tcp://127.0.0.1:1001", weight=7, labels={"group": "blue,green"}, protocols=("rpcx",)
        )
        async with opened(own_zookeeper.url) as registry, registry.watch("arith") as watch:
            await shown(watch, theirs)
            # It is killed, and its session ends.
            client.stop()
            await shown(watch)


@pytest.mark.parametrize("loss", ["node", "session"])
async def test_record_that_was_lost_is_written_again(own_zookeeper: ZookeeperServer, loss: str) -> None:
    async with opened(f"{own_zookeeper.url}?ttl=3") as registry, registry.register("arith", ONE):
        with own_zookeeper.client() as client:
            if loss == "node":
                client.delete(PATH)
            else:
                session, password = registry._backend._session._client.client_id
                await in_thread(end_session, own_zookeeper, session, password)
            assert client.exists(PATH) is None
        await until(lambda: own_zookeeper.nodes("/rpcx/arith"), 5)


def end_session(server: ZookeeperServer, session: int, password: bytes) -> None:
    """Take over a session as its client would after a loss of the connection, and end it."""
    from kazoo.client import KazooClient

    client = KazooClient(f"127.0.0.1:{server.port}", client_id=(session, password))
    client.start()
    client.stop()
    client.close()


async def test_records_of_other_programs_cost_one_line_each(
    own_zookeeper: ZookeeperServer, caplog: pytest.LogCaptureFixture
) -> None:
    with own_zookeeper.client() as client:
        client.create("/rpcx/arith/note", b"buy milk", makepath=True)
        client.create("/rpcx/arith/tcp@127.0.0.1:7", b"\xff")
        async with opened(own_zookeeper.url) as registry, registry.watch("arith") as watch:
            await shown(watch)
            async with registry.register("arith", ONE):
                await shown(watch, ONE)
                async with registry.register("arith", TWO):
                    await shown(watch, ONE, TWO)
    found = [record.getMessage() for record in caplog.records if record.name == "fastrpc.registry"]
    assert len(found) == 2
    assert all("is ignored" in line for line in found)


async def test_many_records_are_read_in_pages(own_zookeeper: ZookeeperServer) -> None:
    endpoints = [Endpoint(f"tcp://10.0.0.1:{port}", protocols=("rpcx",)) for port in range(1, 301)]
    with own_zookeeper.client() as client:
        client.ensure_path("/rpcx/arith")
        for result in [
            client.create_async(f"/rpcx/arith/tcp@10.0.0.1:{port}", b"") for port in range(1, 301)
        ]:
            result.get(10)
        async with opened(own_zookeeper.url) as registry, registry.watch("arith") as watch:
            await shown(watch, *endpoints)
            before = {str(one): one for one in watch.latest.endpoints}
            client.delete("/rpcx/arith/tcp@10.0.0.1:7")
            await shown(watch, *(one for one in endpoints if one.address.port != 7))
            # A record that did not change keeps its object.
            assert all(before[str(one)] is one for one in watch.latest.endpoints)


async def test_login_guards_the_record(own_zookeeper: ZookeeperServer, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    async with opened(f"{own_zookeeper.url}?user=server&password_file={file}") as registry:
        async with registry.register("arith", ONE), registry.watch("arith") as watch:
            await shown(watch, ONE)
            async with opened(own_zookeeper.url) as reader, reader.watch("arith") as read:
                await shown(read, ONE)
                with pytest.raises(fastrpc.StoreError, match="the login is refused") as caught:
                    await reader.register("arith", TWO).__aenter__()
                assert caught.value.status is Status.PERMISSION_DENIED
            wrong = f"{own_zookeeper.url}?user=server&password=wrong"
            async with opened(wrong) as other:
                with pytest.raises(fastrpc.StoreError, match="the login is refused") as caught:
                    await other.register("arith", TWO).__aenter__()
                assert "wrong" not in str(caught.value)


async def test_servers_and_clients_show_certificates(zookeeper_path: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.certificate(), authority.certificate()
    both = tmp_path / "server.pem"
    both.write_text(server.key_file.read_text() + server.cert_file.read_text())
    files = {"keyStore": both, "trustStore": authority.cert_file}
    with ZookeeperServer(zookeeper_path, tmp_path, tls=files).running() as made:
        async with opened(f"{made.url}?tls=true", tls=client.tls(authority)) as registry:
            async with registry.register("arith", ONE) as registration, registry.watch("arith") as watch:
                await until(lambda: registration.is_registered)
                await shown(watch, ONE)
        async with opened(f"{made.url}?tls=true", tls=client.tls(Authority(tmp_path, "other"))) as registry:
            async with registry.watch("arith") as watch:
                await until(lambda: watch.error)
                assert "certificate" in str(watch.error)


async def test_longest_record_is_held_and_one_byte_more_is_refused(own_zookeeper: ZookeeperServer) -> None:
    def filled(spare: int) -> Endpoint:
        # A character of two bytes takes six in a value.
        text = "ü" * (spare // 6) + "x" * (spare % 6)
        labels = {f"{number:02}": text[512 * number : 512 * (number + 1)] for number in range(64)}
        return Endpoint("tcp://[fd00::1]:1", labels=labels, protocols=("native",))

    spare = 65_536 - len(RpcxRecord(filled(0)).value(is_inactive=True))
    async with opened(own_zookeeper.url) as registry, registry.watch("arith") as watch:
        async with registry.register("arith", filled(spare)):
            await shown(watch, filled(spare))
        with pytest.raises(ConfigError, match="65537 bytes, the limit is 65536"):
            registry.register("arith", filled(spare + 1))
        with pytest.raises(ConfigError, match="cannot be registered"):
            registry.register(
                "arith", Endpoint("tcp://10.0.0.1:1", labels=dict.fromkeys(map(str, range(65)), ""))
            )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("zookeeper://127.0.0.1?user=a", "a login has a user and a password"),
        ("zookeeper://127.0.0.1?password=a", "a login has a user and a password"),
        ("zookeeper://127.0.0.1?ttl=1", "from 2 to 86400"),
        ("zookeeper://127.0.0.1?base=/", "the option base is empty"),
        ("zookeeper://127.0.0.1?layout=fastrpc", "has no option layout"),
        ("zookeeper://127.0.0.1,10.0.0.1?user=a&password=a", "travel in the clear"),
    ],
)
def test_option_that_cannot_work_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def test_servers_clients_and_commands_find_each_other(
    own_zookeeper: ZookeeperServer, tmp_path: Path
) -> None:
    places = f"{own_zookeeper.url},127.0.0.1:{own_zookeeper.port}"
    async with fastrpc.Server(Arith(), registry=places) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(f"{places}/arith") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        listed = await in_thread(run_program, ["-m", "fastrpc", "list", places], tmp_path)
        assert listed.output.split()[0] == "arith"
    assert own_zookeeper.nodes("/rpcx/arith") == {}
