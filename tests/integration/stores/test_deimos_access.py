"""The dialect of Deimos: rights, pages in browsers, bounds, the end of the server, events of other clients."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import ConfigError, Status, StoreError
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.coordination import StoreService, deimos_app, open_store
from fastrpc.coordination.deimos import events as events_module
from fastrpc.coordination.deimos.port import DeimosPort
from fastrpc.hosted.rights import rights_of
from fastrpc.stores.base import Write
from fastrpc.stores.sqlite import SqliteJournal
from tests.support.certificates import Authority
from tests.support.deimos_vectors import DeimosServer, deimos_server, sent
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({name: Identity(name) for name in ("shop", "ann", "eve", "queue")})
RULES: list[dict[str, Any]] = [
    {"who": ["shop"], "write_keys": ["shop/**"]},
    {"who": ["ann"], "read_keys": ["shop/**"], "write_keys": ["ann/**"]},
    {"who": ["eve"], "allow": ["fastrpc.health.check"]},
    {"who": ["queue"], "write_keys": ["queue/*"]},
]

#: Requests for keys that `shop` alone may write, and `ann` may read.
READS = [
    "GET /keys/shop/k",
    "GET /keys/shop",
    "GET /keys/shop/none",
    "GET /keys/shop/k?wait=true&waitIndex=1",
]
WRITES = [
    "PUT /keys/shop/k?value=2",
    "PUT /keys/shop/new?value=2&prevExists=false",
    "PUT /keys/shop/none?value=2&prevIndex=1",
    "PUT /keys/shop?dir=true&ttl=1",
    "POST /keys/shop?value=2",
    "DELETE /keys/shop/k",
    "DELETE /keys/shop/none",
    "DELETE /keys/shop?recursive=true",
    "DELETE /keys/shop/k?prevValue=1",
    "PUT /keys/ann/%2e%2e/shop/k?value=2",
    "PUT /keys/ann/..%2Fshop%2Fk?value=2",
    "PUT /keys/%2Fshop%2Fk/?value=2",
]


@pytest.fixture
async def server() -> AsyncIterator[DeimosServer]:
    async with deimos_server() as server:
        yield server


@pytest.fixture
async def guarded() -> AsyncIterator[DeimosServer]:
    rights = rights_of(TOKENS, Policy(RULES), command="store")
    async with deimos_server(StoreService(rights=rights), authenticate=TOKENS) as server:
        await server.store.put("shop/k", b"1")
        yield server


async def test_request_needs_a_token_and_the_right_to_its_key(guarded: DeimosServer) -> None:
    for request in (*READS, *WRITES, "GET /machines"):
        verb, target = request.split(" ")
        assert (await guarded.ask(verb, target)).status == 401, request
    for name, refused in (("eve", [*READS, *WRITES]), ("ann", WRITES)):
        for request in refused:
            verb, target = request.split(" ")
            found = await guarded.ask(verb, target, Authorization=f"Bearer {name}")
            assert (found.status, found.value["errorCode"]) == (403, 110), (name, request)
    assert (await guarded.ask("GET", "/keys/?recursive=true", Authorization="Bearer ann")).status == 403
    items = (await guarded.store.list()).items
    assert [(item.key, item.value) for item in items] == [("shop/k", b"1")]


async def test_right_is_enough(guarded: DeimosServer) -> None:
    for name, requests in (("ann", READS[:3]), ("shop", [*READS[:3], *WRITES])):
        for request in requests:
            verb, target = request.split(" ")
            found = await guarded.ask(verb, target, Authorization=f"Bearer {name}")
            assert found.status != 401, (name, request)
            assert found.value.get("errorCode") != 110, (name, request)


async def test_directory_that_ends_needs_the_right_to_all_below_it(guarded: DeimosServer) -> None:
    for verb, target, status in (
        ("PUT", "/keys/queue/1?dir=true", 201),
        ("POST", "/keys/queue?dir=true", 201),
        ("POST", "/keys/queue?ttl=5", 201),
        ("PUT", "/keys/queue/2?dir=true&ttl=5", 403),
        ("POST", "/keys/queue?dir=true&ttl=5", 403),
    ):
        found = await guarded.ask(verb, target, Authorization="Bearer queue")
        assert found.status == status, (verb, target)


async def test_pages_change_nothing(server: DeimosServer) -> None:
    pages = [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    for fields in [*pages, {"Host": "evil.example"}]:
        assert (await server.ask("POST", "/keys/k", "value=1", **fields)).status in (403, 421)
    assert (await server.store.list()).items == ()


@pytest.mark.parametrize("folder", ["locks", "leaders", "schedules", "_deimos"])
async def test_keys_of_the_store_itself_are_read_only(server: DeimosServer, folder: str) -> None:
    await server.store.put(f"{folder}/x/1", b"holder")
    for verb, target in (
        ("PUT", f"/keys/{folder}/x/1"),
        ("PUT", f"/keys/{folder}?dir=true"),
        ("POST", f"/keys/{folder}/x"),
        ("DELETE", f"/keys/{folder}?recursive=true"),
        ("DELETE", f"/keys/{folder}/x/1"),
    ):
        found = await server.ask(verb, target)
        assert (found.status, found.value["errorCode"]) == (403, 106), (verb, target)
    assert (await server.ask("GET", f"/keys/{folder}/x/1")).status == (404 if folder == "_deimos" else 200)


async def test_requests_are_bounded(server: DeimosServer) -> None:
    for target, form in (
        ("/keys/" + "k" * 513, "value=1"),
        ("/keys/k", "value=" + "v" * (256 * 1024 + 1)),
        ("/keys/k", "value=" + "v" * 1024 * 1024),
        ("/keys/k", "a=1&" * 1000),
        ("/keys/a%0Ab", "value=1"),
    ):
        found = await server.ask("PUT", target, form)
        assert (found.status, found.value["errorCode"], found["x-deimos-index"]) == (400, 209, "0")
    assert (await server.ask("PUT", "/keys/" + "k" * 512, "value=" + "v" * 256 * 1024)).status == 201


async def test_made_keys_are_bounded(server: DeimosServer) -> None:
    """A client of `store://` has to be able to name them, and the items of directories."""
    above, directory = "a" * 510, "b" * 505
    for number in range(10):
        await server.store.put(f"{above}/x", b"%d" % number)
    for request in (
        f"POST /keys/{above}?value=1",
        f"PUT /keys/{above}?prevExists=true&ttl=100",
        f"PUT /keys/{directory}?dir=true",
        f"PUT /keys/{directory}/x?value=1",
    ):
        verb, target = request.split(" ")
        found = await server.ask(verb, target)
        assert (found.status, found.value["errorCode"]) == (400, 209), request
    assert (await server.ask("PUT", f"/keys/{directory[1:]}/xxxxxxx?value=1")).status == 201
    assert max(len(item.key) for item in server.store.content.items.below()) == 512


@pytest.mark.parametrize("request_line", ["DELETE /keys/lock", "PUT /keys/lock?value=other"])
async def test_form_that_is_cut_changes_nothing(server: DeimosServer, request_line: str) -> None:
    """Its condition may be in the part that was cut off."""
    await server.store.put("lock", b"holder")
    fields = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked"
    async with await HttpClient.to(server.address) as client:
        client.send(f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n\r\n4\r\nx=1&\r\n".encode())
        client.send(b"zz\r\nprevValue=me")
        assert (await client.response()).status == 400
    found = await server.store.get("lock")
    assert found is not None
    assert found.value == b"holder"


async def test_answers_are_bounded(server: DeimosServer) -> None:
    for number in range(33):
        await server.store.put(f"a/{number}", b"x" * 256 * 1024)
    found = await server.ask("GET", "/keys/a")
    assert (found.status, found.value["errorCode"]) == (400, 209)
    assert (await server.ask("GET", "/keys/")).status == 200


async def test_any_bytes_get_an_answer(server: DeimosServer) -> None:
    dice = random.Random(1)
    names = ["value", "ttl", "dir", "prevExists", "prevValue", "prevIndex", "recursive", "waitIndex", "x%zz"]
    values = ["", "1", "true", "-1", "%ff", "a;b", "9" * 30, "18446744073709551615"]
    for _ in range(200):
        words = "/".join(dice.choices(["a", "b", "_c", "%2e%2e", "%2F", "", "%00", "ü"], k=dice.randrange(4)))
        form = "&".join(f"{dice.choice(names)}={dice.choice(values)}" for _ in range(dice.randrange(4)))
        verb = dice.choice(["GET", "PUT", "POST", "DELETE"])
        target = f"/keys/{words}".encode().decode("latin-1").replace("Ã¼", "%C3%BC")
        found = await server.ask(verb, target, form)
        assert found.status in (200, 201, 307, 400, 403, 404, 412), (verb, target, form, found.body)


async def test_change_of_another_client_is_an_event(server: DeimosServer) -> None:
    store, index = server.store, server.app.tree.index
    await store.put("a/1", b"\xff")
    lease = await store.lease(5)
    await store.transact([], [Write("a/2", b"", lease), Write("b", b"")])
    server.advance(6)
    await store.delete("a/1")
    found = []
    for number in range(1, 5):
        answer = await server.ask("GET", f"/keys/?wait=true&recursive=true&waitIndex={index + number}")
        found.append((answer.value["action"], answer.value["node"]["key"]))
    assert found == [("set", "/a/1"), ("set", "/a/2"), ("expire", "/a/2"), ("delete", "/a/1")]


async def test_directory_ends_with_all_in_it(server: DeimosServer) -> None:
    await server.ask("PUT", "/keys/d", "dir=true&ttl=5")
    await server.ask("PUT", "/keys/d/x/y", "value=1")
    await server.store.put("d/z", b"")
    async with await HttpClient.to(server.address) as client:
        client.send(sent({"request": "GET /keys/d/x/y?wait=true"}))
        await client.head()
        server.advance(6)
        assert b'"action":"expire","node":{"key":"/d"' in await client.chunk()
    assert (await server.store.list()).items == ()


async def test_time_of_a_key_ends_with_it(server: DeimosServer) -> None:
    """No lease is left: a store has a bound of them."""
    await server.ask("PUT", "/keys/d", "dir=true&ttl=5")
    for key in ("d/a", "d/b/c", "put", "deleted", "replaced", "swapped"):
        await server.ask("PUT", f"/keys/{key}", "value=1&ttl=100")
    assert server.store.figures()["leases"] == 7
    await server.store.put("put", b"")
    await server.ask("DELETE", "/keys/deleted")
    await server.ask("PUT", "/keys/replaced", "value=2")
    await server.ask("PUT", "/keys/swapped", "value=2&prevValue=1&ttl=100")
    server.advance(6)
    swapped = server.store.content.items.get("swapped")
    assert swapped is not None
    assert [name for name, _, _ in server.store.content.leases.all()] == [swapped.lease]
    assert list(server.app.tree._ends) == [swapped.lease]


async def test_write_without_room_is_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(*_: Any) -> None:
        raise StoreError("full", status=Status.RESOURCE_EXHAUSTED)

    async with deimos_server(StoreService(tmp_path / "store")) as server:
        with monkeypatch.context() as patched:
            patched.setattr(SqliteJournal, "commit", commit)
            found = await server.ask("PUT", "/keys/k", "value=1&ttl=100")
            assert (found.status, found.value["errorCode"]) == (507, 111)
        assert server.app.tree._ends == {}
        assert (await server.ask("GET", "/keys/k")).status == 404
        assert (await server.ask("PUT", "/keys/k", "value=2")).status == 201
        event = await server.ask("GET", "/keys/k?wait=true&waitIndex=1")
        assert event.value["node"]["value"] == "2"


async def test_events_outlast_a_restart(tmp_path: Path) -> None:
    """A client of Phobos whose index is cleared asks a thousand times a second."""
    async with deimos_server(StoreService(tmp_path / "store")) as server:
        for form in ("value=1", "value=2", "prevExists=false&ttl=100"):
            await server.ask("PUT", "/keys/a/" + form[-1], form)
        await server.ask("PUT", "/keys/d", "dir=true")
        await server.ask("DELETE", "/keys/a/2")
    async with deimos_server(StoreService(tmp_path / "store")) as server:
        found = []
        for index in range(1, 6):
            event = (await server.ask("GET", f"/keys/?wait=true&recursive=true&waitIndex={index}")).value
            found.append((event["action"], event["node"]["key"], event["node"]["modifiedIndex"]))
            if index == 5:
                assert event["prevNode"]["value"] == "2"
    assert found == [
        ("set", "/a/1", 1),
        ("set", "/a/2", 2),
        ("set", "/a/0", 3),
        ("set", "/d", 4),
        ("delete", "/a/2", 5),
    ]


async def test_event_after_a_restart_has_no_value_from_before_a_deletion(tmp_path: Path) -> None:
    async with deimos_server(StoreService(tmp_path / "store")) as server:
        await server.ask("PUT", "/keys/k", "value=1")
        await server.ask("DELETE", "/keys/k")
        await server.ask("PUT", "/keys/k", "value=2")
    async with deimos_server(StoreService(tmp_path / "store")) as server:
        event = (await server.ask("GET", "/keys/k?wait=true&waitIndex=3")).value
        assert event["node"]["value"] == "2"
        assert "prevNode" not in event


async def test_events_beyond_the_bound_are_cleared(
    server: DeimosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "_EVENTS", 10)
    for number in range(30):
        await server.store.put("k", str(number).encode())
    found = await server.ask("GET", "/keys/k?wait=true&waitIndex=3")
    assert (found.status, found.value["errorCode"]) == (400, 401)
    start = int(found.value["cause"].partition("[")[2].partition("/")[0])
    assert 3 < start < 30
    kept = await server.ask("GET", f"/keys/k?wait=true&waitIndex={start}")
    assert kept.value["node"]["modifiedIndex"] == start


async def test_watch_ends_with_its_server() -> None:
    async with StoreService() as service, asyncio.timeout(10):
        async with DeimosPort(service, "http://127.0.0.1:0") as port:
            client = await HttpClient.to(port.address)
            client.send(sent({"request": "GET /keys/k?wait=true"}))
            await client.head()
            end = asyncio.ensure_future(client.chunk())
            end.add_done_callback(lambda _: client.writer.close())
        assert await end == b""


async def test_port_is_encrypted_and_asks_for_a_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "token").write_text("shop\n")
    tls = authority.certificate().tls()
    rights = rights_of(TOKENS, Policy(RULES), command="store")
    async with (
        StoreService(rights=rights) as service,
        DeimosPort(service, "https://127.0.0.1:0", tls, TOKENS) as port,
    ):
        assert port.url == f"https://127.0.0.1:{port.address.port}"
        url = f"deimos://127.0.0.1:{port.address.port}?tls=true&ca_file={authority.cert_file}"
        async with open_store(f"{url}&token_file={tmp_path / 'token'}") as store:
            assert await store.put("shop/k", b"1", expect=0)
            with pytest.raises(StoreError) as caught:
                await store.put("ann/k", b"1")
            assert caught.value.status is Status.PERMISSION_DENIED


async def test_port_refuses_other_hosts_unless_it_asks_for_a_token() -> None:
    async with StoreService() as service, DeimosPort(service, "http://127.0.0.1:0") as port:
        for host, status in (("localhost", 200), ("10.0.0.7:4001", 200), ("shop.example", 421)):
            async with await HttpClient.to(port.address) as client:
                assert (await client.get("/machines", Host=host)).status == status
    async with StoreService() as service, DeimosPort(service, "http://127.0.0.1:0", None, TOKENS) as port:
        async with await HttpClient.to(port.address) as client:
            fields = {"Host": "shop.example", "Authorization": "Bearer shop"}
            assert (await client.get("/machines", **fields)).status == 200


async def test_watch_of_a_lost_right_ends(guarded: DeimosServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await HttpClient.to(guarded.address) as client:
        fields = {"Authorization": "Bearer ann"}
        client.send(sent({"request": "GET /keys/shop/k?wait=true", "request_headers": fields}))
        await client.head()
        rights = guarded.app._rights
        assert rights is not None
        monkeypatch.setattr(rights, "_policy", Policy(RULES[:1]))
        await guarded.store.put("shop/k", b"2")
        assert await client.chunk() == b""


async def test_watch_of_a_directory_tells_no_key_of_its_name(guarded: DeimosServer) -> None:
    """Its caller may read all keys below it."""
    store = guarded.store
    index = store.content.revision + 1
    await store.put("shop", b"planted")
    await store.put("shop", b"planted")
    fields = {"Authorization": "Bearer ann"}
    target = "/keys/shop?wait=true&recursive=true"
    async with await HttpClient.to(guarded.address) as stream, await HttpClient.to(guarded.address) as one:
        for client, more in ((stream, f"&stream=true&waitIndex={index}"), (one, f"&waitIndex={index}")):
            client.send(sent({"request": f"GET {target}{more}", "request_headers": fields}))
            await client.head()
        await store.delete("shop")
        await store.put("shop/k", b"2")
        for client in (stream, one):
            assert b'"set","node":{"key":"/shop/k","value":"2"' in await client.chunk()
        assert await one.chunk() == b""
        # It ends with its directory.
        assert (
            await guarded.ask("DELETE", "/keys/shop?recursive=true", Authorization="Bearer shop")
        ).status == 200
        assert b'"delete","node":{"key":"/shop","dir":true' in await stream.chunk()


async def test_event_of_the_history_is_told_though_a_right_ends_meanwhile(server: DeimosServer) -> None:
    """Otherwise later events would be lost: the watch would continue with the next one."""
    first = await server.store.put("k", b"1")
    await server.store.put("k", b"2")
    rights = [True]
    watch = server.app.tree.log.watch(
        "k", first, is_recursive=False, is_stream=False, shows=lambda event: any(rights)
    )
    rights.clear()
    async with asyncio.timeout(10):
        with watch:
            event = await watch.next()
    assert event is not None
    assert event.revision == first


async def test_slow_watch_ends_before_it_holds_much_memory(
    server: DeimosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "_BEHIND_BYTES", 10_000)
    with server.app.tree.log.watch("k", 0, is_recursive=False, is_stream=True) as watch:
        # One event may be larger.
        for size in (20_000, 1_000):
            await server.store.put("k", b"x" * size)
            assert await watch.next() is not None
        for _ in range(4):
            await server.store.put("k", b"x" * 1_000)
        for _ in range(4):
            assert await watch.next() is not None
        for _ in range(20):
            await server.store.put("k", b"x" * 1_000)
            assert sum(event.size() for event in watch._events) <= 10_000
        assert await watch.next() is None


async def test_handshake_of_a_websocket_is_refused(server: DeimosServer) -> None:
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert (await server.ask("GET", "/keys/k", **fields, **key)).status == 403


async def test_store_on_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="deimos_app got str"):
        deimos_app("memory://a")  # type: ignore[arg-type]
    async with deimos_server() as server, open_store(f"deimos://127.0.0.1:{server.address.port}") as store:
        with pytest.raises(ConfigError, match="another machine"):
            deimos_app(store).local  # noqa: B018


def test_address_of_the_port_is_one_of_http() -> None:
    with pytest.raises(ConfigError, match="not an address of HTTP"):
        DeimosPort(StoreService(), "tcp://127.0.0.1:4001")
