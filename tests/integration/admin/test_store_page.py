"""The admin page of a store: its keys, leases, locks and leaders, and no value."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from fastrpc import Server, ServerConfig, StoreConflictError
from fastrpc.coordination import StoreService, open_store
from fastrpc.coordination.overview import overview_of
from tests.support.admin_pages import fetch, page, server_with_pages
from tests.support.program import command_line, run_program
from tests.support.scrapes import samples_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}


async def test_page_shows_keys_leases_locks_and_leaders_without_values() -> None:
    service = StoreService()
    async with server_with_pages(service) as server:
        url = f"store://{str(server._listening.listeners[0].address).partition('://')[2]}"
        async with (
            open_store(url) as store,
            store.lock("jobs/nightly", ttl=60, value="host-1") as lock,
            store.lead("shop", "tcp://a:1", ttl=60) as lead,
        ):
            waiting = asyncio.ensure_future(store.lock("jobs/nightly", ttl=60).__aenter__())
            await store.put("shop/limits", "planted-value")
            revision = await store.put("shop/limits", "planted-value")
            await eventually(lambda: service._store.figures()["items"] == 4)
            answer = await page(server, "/store", **JSON)
            shown = answer.json
            assert shown["locks"] == [
                {"name": "jobs/nightly", "holder": "host-1", "token": lock.token, "waiting": 1}
            ]
            assert shown["leaders"] == [
                {"name": "shop", "holder": "tcp://a:1", "token": lead.token, "waiting": 0}
            ]
            keys = [item["key"] for item in shown["items"]]
            assert keys == sorted(keys)
            assert shown["items"][-1] == {
                "key": "shop/limits",
                "bytes": len('"planted-value"'),
                "revision": revision,
                "created": revision - 1,
                "lease": None,
            }
            assert {one["lease"]: one["items"] for one in shown["leases"]}[lock.lease.id] == 1
            assert all(0 < one["left_seconds"] <= one["seconds"] == 60 for one in shown["leases"])
            assert (shown["store"]["items"], shown["store"]["leases"]) == (4, 3)
            html = await page(server, "/store", **HTML)
            for text in (answer.text, html.text):
                assert "planted-value" not in text
                assert "shop/limits" in text
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_keys_and_holders_are_escaped() -> None:
    async with server_with_pages(StoreService()) as server:
        url = f"store://{str(server._listening.listeners[0].address).partition('://')[2]}"
        name, value = "<img src=x onerror='alert(1)'>", '<script>alert("2")</script>\x1b\u202e'
        async with open_store(url) as store, store.lock(name, value=value), store.lead(name, value):
            await store.put("<script>alert(3)<", b"")
            text = (await page(server, "/store", **HTML)).text
            assert "alert" not in re.sub(r"&lt;[^<]*", "", text)
            assert "<img" not in text
            assert text.count("&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;") >= 2
            assert text.count("&lt;script&gt;alert(&quot;2&quot;)&lt;/script&gt;\\x1b\\u202e") == 2
            assert "&lt;script&gt;alert(3)&lt;" in text


async def test_page_has_the_first_rows_and_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.server.admin.state.MOST_ROWS", 3)
    service = StoreService()
    async with server_with_pages(service) as server:
        for number in range(9):
            await service._store.put(f"locks/a/{number}", b"no lock: it has no lease")
            await service._store.put(f"locks/{number}", b"x" * 1000, lease=await service._store.lease(60))
        shown = (await page(server, "/store", **JSON)).json
        assert (shown["store"]["items"], shown["store"]["leases"]) == (18, 9)
        assert (len(shown["items"]), len(shown["leases"]), shown["locks"]) == (3, 3, [])


async def test_metrics_tell_the_size_of_the_store_and_its_operations(tmp_path: Path) -> None:
    service = StoreService(tmp_path / "store")
    async with server_with_pages(service) as server:
        url = f"store://{str(server._listening.listeners[0].address).partition('://')[2]}"
        before = samples_of((await page(server, "/metrics")).text)
        async with open_store(url) as store, store.lease(60), store.watch("k/"):
            for number in range(3):
                await store.put(f"k/{number}", b"1", expect=0)
            with pytest.raises(StoreConflictError):
                await store.put("k/0", b"1", expect=0)
            after = samples_of((await page(server, "/metrics")).text)

    def made(name: str, **labels: str) -> float:
        key = (f"fastrpc_store_{name}", frozenset(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert {name: made(name) for name in ("items", "leases")} == {"items": 3, "leases": 1}
    assert made("operations_total", operation="put", outcome="OK") == 3
    assert made("operations_total", operation="put", outcome="ABORTED") == 1
    assert made("operation_seconds_count", operation="put") == 4
    assert made("operation_seconds_count", operation="lease") == 1
    file_bytes = ("fastrpc_store_file_bytes", frozenset[tuple[str, str]]())
    assert after[file_bytes] >= 32 * 1024
    assert "fastrpc_store_watchers" in {name for name, _ in after}


async def test_page_needs_the_token_of_the_other_pages() -> None:
    async with server_with_pages(StoreService(), admin_token="s3cret") as server:
        assert (await page(server, "/store")).status == 401
        assert (await page(server, "/store", Authorization="Bearer s3cret")).status == 200


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_page_shows_the_store_that_a_server_uses_and_does_not_host(scheme: str, tmp_path: Path) -> None:
    url = "memory://shown" if scheme == "memory" else f"sqlite://{tmp_path}/store"
    async with Server(store=url, config=ServerConfig(admin_address="tcp://127.0.0.1:0")) as server:
        store = server._gate.dispatcher.store  # type: ignore[union-attr]
        await store.put("shop/limits", "planted-value")
        async with store.lead("shop", "tcp://a:1", ttl=60) as lead:
            answer = await page(server, "/store", **JSON)
            assert answer.json["leaders"] == [
                {"name": "shop", "holder": "tcp://a:1", "token": lead.token, "waiting": 0}
            ]
            assert [item["key"] for item in answer.json["items"]][-1] == "shop/limits"
            assert "planted-value" not in answer.text
    # While the sources of a server are left, it has pages still.
    assert overview_of(store, 10) is None


async def test_store_of_another_process_is_shown_by_its_own_page() -> None:
    async with server_with_pages(StoreService()) as host:
        url = f"store://{str(host._listening.listeners[0].address).partition('://')[2]}"
        async with Server(store=url, config=ServerConfig(admin_address="tcp://127.0.0.1:0")) as server:
            await server._gate.dispatcher.store.put("k", b"1")  # type: ignore[union-attr]
            assert (await page(server, "/store", **JSON)).json == {"store": []}
            assert [item["key"] for item in (await page(host, "/store", **JSON)).json["items"]] == ["k"]


async def test_server_without_a_store_shows_none() -> None:
    async with server_with_pages() as server:
        assert (await page(server, "/store", **JSON)).json == {"store": []}
        assert "<p>none</p>" in (await page(server, "/store", **HTML)).text


def test_command_serves_the_page(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    admin = ["--admin-address", "tcp://127.0.0.1:0", "--admin-token", "token"]
    arguments = ["store", "--address", "tcp://127.0.0.1:0", "--json"]
    with command_line([*arguments, *admin, "--log-level", "info"], tmp_path) as store:
        port = int(store.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        assert fetch(port, "/store").status == 401
        answer = fetch(port, "/store", Authorization="Bearer s3cret", **JSON)
        assert answer.json["items"] == []
        assert json.loads(store.wait_output(r"^\{.*\}$")[0])["urls"]
    refused = run_program(["-m", "fastrpc", *arguments, "--admin-token", "token"], tmp_path)
    assert refused.code == 2
    assert "admin_address is None" in refused.errors
