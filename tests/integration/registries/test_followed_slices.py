"""Clients follow EndpointSlices of a stand-in; `test_recorded_apiserver.py` has the answers of a real apiserver."""

import asyncio
import contextlib
import itertools
import logging
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint, StoreError
from fastrpc.registries import Watch, kubernetes, open_registry
from fastrpc.registries.base.secrets import Secret
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.kubernetes.api import ApiAccess
from fastrpc.registries.kubernetes.lookup import LIST_SECONDS, SILENT_SECONDS, SliceLookup
from fastrpc.registries.kubernetes.slices import Reading
from fastrpc.testing import FakeClock
from tests.support.apiserver import NAMESPACE, Apiserver, pod, slice_of, status
from tests.support.apiserver_scenes import hosts, until
from tests.support.certificates import Authority
from tests.support.open_loop import OpenLoop
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@pytest.fixture
def apiserver() -> Iterator[Apiserver]:
    with Apiserver() as served:
        yield served


@pytest.fixture
def opened(apiserver: Apiserver) -> Iterator[Callable[..., SingleLookup]]:
    found: list[SingleLookup] = []

    def open_one(
        service: str = "arith", *, token: Secret | None = None, clock: Any = None, **options: str
    ) -> SingleLookup:
        place = "127.0.0.1", apiserver.port
        access = ApiAccess(place, NAMESPACE, base="", tls=None, token=token)
        clocks = {} if clock is None else {"clock": clock}
        found.append(SingleLookup(SliceLookup(access, Reading(**options), **clocks), service))
        return found[-1]

    yield open_one
    for one in found:
        one.close()


@pytest.mark.parametrize("gone_as", ["status", "event"])
def test_dropped_version_is_listed_again(apiserver: Apiserver, opened: Any, gone_as: str) -> None:
    apiserver.gone_as = gone_as
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = opened()
    assert hosts(lookup) == ["10.0.0.1"]
    apiserver.put(slice_of("a", "arith", pod("10.0.0.2")))
    apiserver.forget()
    listing = lookup.fetch(5.0)
    assert [key for key, _ in listing.entries] == ["tcp://10.0.0.2:8972"]
    assert listing.pause_seconds > 0
    assert not listing.is_restart
    apiserver.put(slice_of("a", "arith", pod("10.0.0.3")))
    until(lookup, "10.0.0.3")
    assert apiserver.lists == 2


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("ERROR", status(500, "InternalError", "etcd event received with PrevKv=nil")),
        ("ERROR", {}),
        ("RENAMED", {"kind": "EndpointSlice"}),
    ],
)
def test_unknown_event_is_answered_by_a_list(
    apiserver: Apiserver, opened: Any, kind: str, content: dict[str, Any]
) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = opened()
    hosts(lookup)
    apiserver.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    apiserver.send(kind, content)
    listing = lookup.fetch(5.0)
    assert listing.pause_seconds > 0
    assert apiserver.lists == 2


def test_pauses_grow_while_watches_fail(apiserver: Apiserver, opened: Any) -> None:
    lookup = opened()
    hosts(lookup)
    apiserver._oldest = 1 << 40
    pauses = [lookup.fetch(1.0).pause_seconds for _ in range(12)]
    assert pauses[0] < 0.2
    assert 1.0 < pauses[-1] < 3.0
    assert apiserver.lists == 13


def test_bookmarks_keep_the_version_that_a_new_watch_begins_from(apiserver: Apiserver, opened: Any) -> None:
    apiserver.bookmark_seconds = 0.05
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = opened()
    hosts(lookup)
    apiserver.put(slice_of("b", "other", pod("10.0.0.9")))
    lookup.fetch(5.0)
    apiserver.end_watches()
    while apiserver.watches < 2:
        lookup.fetch(0.1)
    assert apiserver.queries[-1]["resourceVersion"] == str(apiserver.version)
    assert apiserver.queries[-1]["allowWatchBookmarks"] == "true"
    assert 240 <= int(apiserver.queries[-1]["timeoutSeconds"]) <= 480
    assert apiserver.lists <= 2


def test_watch_that_has_ended_is_followed_by_one_from_its_version(apiserver: Apiserver, opened: Any) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    clock = FakeClock()
    lookup = opened(clock=clock)
    hosts(lookup)
    apiserver.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    clock.advance(2.0)
    apiserver.end_watches()
    while apiserver.watches < 2:
        assert lookup.fetch(1.0).pause_seconds == 0
    apiserver.put(slice_of("a", "arith", pod("10.0.0.3")))
    until(lookup, "10.0.0.3")
    assert apiserver.lists == 1


def test_cut_watch_is_continued_from_its_version(apiserver: Apiserver, opened: Any) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    clock = FakeClock()
    lookup = opened(clock=clock)
    hosts(lookup)
    for number in range(2, 6):
        apiserver.put(slice_of("a", "arith", pod(f"10.0.0.{number}")))
        until(lookup, f"10.0.0.{number}")
        clock.advance(2.0)
        apiserver.cut_watches()
        while apiserver.watches < number:
            assert lookup.fetch(1.0).pause_seconds == 0
        assert apiserver.queries[-1]["resourceVersion"] == str(apiserver.version)
    assert apiserver.lists == 1


BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
LATER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "lists"), [(b"", 1), (b"HTTP/1.1 2", 1), (BUSY, 1), (LATER, 1), (FAILED, 2)]
)
def test_watch_that_cannot_be_opened_for_a_while_begins_at_its_version(
    apiserver: Apiserver, opened: Any, answer: bytes, lists: int
) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    clock = FakeClock()
    lookup = opened(clock=clock)
    hosts(lookup)
    apiserver.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    version = str(apiserver.version)
    clock.advance(2.0)
    apiserver.instead = [answer] * 3
    apiserver.cut_watches()
    with pytest.raises(StoreError):
        while True:
            lookup.fetch(1.0)
    apiserver.instead = apiserver.instead[:1] if lists == 1 else []
    if apiserver.instead:
        with pytest.raises(StoreError):
            lookup.fetch(1.0)
    # The first answer after an outage has the list, changed or not.
    assert not lookup.fetch(1.0).is_repeated
    apiserver.put(slice_of("a", "arith", pod("10.0.0.3")))
    until(lookup, "10.0.0.3")
    assert apiserver.lists == lists
    assert apiserver.queries[-1]["resourceVersion"] == version


def test_bookmark_before_the_version_of_a_watch_is_answered_by_a_list(
    apiserver: Apiserver, opened: Any
) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = opened()
    hosts(lookup)
    apiserver.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    apiserver.version = 500
    apiserver.send("BOOKMARK", {"kind": "EndpointSlice", "metadata": {"resourceVersion": "500"}})
    assert lookup.fetch(5.0).is_restart
    assert apiserver.lists == 2


def test_silent_watch_is_opened_again(apiserver: Apiserver, opened: Any) -> None:
    clock = FakeClock()
    lookup = opened(clock=clock)
    hosts(lookup)
    hosts(lookup, 0.01)
    clock.advance(SILENT_SECONDS)
    hosts(lookup, 0.01)
    hosts(lookup, 0.01)
    assert (apiserver.lists, apiserver.watches) == (1, 2)


def test_restored_backup_counts_as_a_restart(apiserver: Apiserver, opened: Any) -> None:
    lookup = opened()
    assert not lookup.fetch(0.0).is_restart
    apiserver.version = 500
    assert lookup.fetch(0.0).is_restart
    assert not lookup.fetch(0.0).is_restart


def test_role_without_watch_is_served_by_lists(
    apiserver: Apiserver, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    apiserver.verbs = {"list"}
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    clock = FakeClock()
    lookup = opened(clock=clock)
    hosts(lookup)
    for number in range(2, 5):
        apiserver.put(slice_of("a", "arith", pod(f"10.0.0.{number}")))
        listing = lookup.fetch(15.0)
        assert [key for key, _ in listing.entries] == [f"tcp://10.0.0.{number}:8972"]
        assert listing.pause_seconds == LIST_SECONDS
    assert apiserver.watches == 1
    assert [one.levelno for one in caplog.records if "cannot be watched" in one.message] == [logging.WARNING]
    apiserver.verbs = {"list", "watch"}
    clock.advance(60.0)
    assert lookup.fetch(0.01).pause_seconds == 0
    assert apiserver.watches == 2


def test_dotted_name_is_a_label_of_the_service(apiserver: Apiserver, opened: Any) -> None:
    apiserver.put(
        slice_of("a", "web", pod("10.0.0.1"), labels={"fastrpc/shop.v1.arith": ""}),
        slice_of("b", "web", pod("10.0.0.2")),
    )
    assert hosts(opened("shop.v1.arith")) == ["10.0.0.1"]
    assert hosts(opened("web")) == ["10.0.0.1", "10.0.0.2"]


def test_record_that_did_not_change_keeps_its_endpoint(apiserver: Apiserver, opened: Any) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1", zone="eu-1a")))
    lookup = opened()
    [(_, before)] = lookup.fetch(0.0).entries
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1", zone="eu-1a"), pod("10.0.0.2")))
    until(lookup, "10.0.0.1", "10.0.0.2")
    assert any(value is before for _, value in lookup.fetch(0.01).entries)


def url_of(apiserver: Apiserver, more: str = "") -> str:
    return f"kubernetes://{NAMESPACE}?server={apiserver.url}{more}"


def test_broken_slice_costs_one_log_line(apiserver: Apiserver, caplog: pytest.LogCaptureFixture) -> None:
    apiserver.put(
        slice_of("broken", "arith", endpoints=5),
        slice_of("refused", "arith", pod("169.254.169.254")),
        slice_of("good", "arith", pod("10.0.0.1")),
    )
    with open_registry(url_of(apiserver)) as registry, registry.watch("arith") as watch:
        assert [str(one.address) for one in watch.wait(10).endpoints] == ["tcp://10.0.0.1:8972"]
        apiserver.put(slice_of("good", "arith", pod("10.0.0.2")))
        while [one.address.host for one in watch.wait(10).endpoints] != ["10.0.0.2"]:
            continue
    left_out = [one.message for one in caplog.records if "is ignored" in one.message]
    assert len(left_out) == 2
    assert any("'broken' is ignored: it does not look like a slice" in one for one in left_out)


def test_services_of_ours_are_named(apiserver: Apiserver) -> None:
    ours = [{"name": "fastrpc", "port": 80}]
    apiserver.page_slices = 1
    apiserver.put(
        slice_of("a", "postgres", pod("10.0.0.1")),
        slice_of("b", "arith", pod("10.0.0.1"), ports=ours),
        slice_of("c", "web", pod("10.0.0.1"), labels={"fastrpc/shop.v1.arith": ""}),
    )
    with open_registry(url_of(apiserver)) as registry:
        assert registry.services() == ["arith", "shop.v1.arith"]
    with open_registry(url_of(apiserver, "&port=rpc")) as registry:
        assert registry.services() == ["arith", "postgres", "shop.v1.arith", "web"]


def test_registering_is_refused_with_its_reason(apiserver: Apiserver) -> None:
    with (
        open_registry(url_of(apiserver)) as registry,
        pytest.raises(ConfigError, match="Kubernetes registers pods by itself"),
    ):
        registry.register("arith", Endpoint("tcp://10.0.0.1:1"))


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = authority.certificate()
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    account = tmp_path / "account"
    account.mkdir()
    monkeypatch.setattr(kubernetes, "SERVICE_ACCOUNT", account)
    with Apiserver(lambda listening: context.wrap_socket(listening, server_side=True)) as served:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(served.port))
        with pytest.raises(ConfigError, match="token"):
            open_registry("kubernetes://")
        (account / "token").write_text("of-the-pod\n")
        (account / "namespace").write_text(f"{NAMESPACE}\n")
        shutil.copy(authority.cert_file, account / "ca.crt")
        served.token = "of-the-pod"
        served.put(slice_of("a", "arith", pod("10.0.0.1")))
        with open_registry("kubernetes://") as registry, registry.watch("arith") as watch:
            assert [one.address.host for one in watch.wait(10).endpoints] == ["10.0.0.1"]


def test_rotated_token_of_a_file_is_used(apiserver: Apiserver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    apiserver.token = "first"
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    url = url_of(apiserver, f"&token_file={token}")
    with open_registry(url) as registry, registry.watch("arith") as watch:
        assert [one.address.host for one in watch.wait(10).endpoints] == ["10.0.0.1"]
        apiserver.token = "second"
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").replace(token)
        apiserver.end_watches()
        apiserver.put(slice_of("b", "arith", pod("10.0.0.2")))
        assert [one.address.host for one in watch.wait(10).endpoints] == ["10.0.0.1", "10.0.0.2"]
        assert apiserver.tokens[-1] == "Bearer second"


async def test_apiserver_that_is_away_changes_no_list(apiserver: Apiserver) -> None:
    apiserver.put(slice_of("a", "arith", pod("10.0.0.1")))
    registry: Any = open_registry(url_of(apiserver))
    async with registry, registry.watch("arith") as watch:
        await eventually(lambda: watch.latest is not None and watch.latest.endpoints)
        before = watch.latest
        apiserver.instead = [BUSY] * 3
        apiserver.end_watches()
        await eventually(lambda: watch.error is not None)
        assert "it answered 503" in str(watch.error)
        assert watch.latest is before
        apiserver.put(slice_of("b", "arith", pod("10.0.0.2")))
        await eventually(lambda: watch.latest is not before)
        assert watch.error is None
        assert [one.address.host for one in watch.latest.endpoints] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kubernetes://", "this program is in no pod of Kubernetes"),
        ("kubernetes://?server=http://127.0.0.1", "names no namespace"),
        ("kubernetes://Shop?server=http://127.0.0.1", "'Shop' is not a namespace"),
        ("kubernetes://shop?server=127.0.0.1:6443", "not the address of an apiserver"),
        ("kubernetes://shop?server=https://127.0.0.1:a", "not the address of an apiserver"),
        (
            "kubernetes://shop?server=http://10.0.0.1&token=a",
            r"in the clear \(write https://, or allow_insecure",
        ),
        ("kubernetes://shop?server=http://127.0.0.1&ca_file=a", r"no effect without tls \(write https://\)"),
        ("kubernetes://shop?server=http://127.0.0.1&port=65536", "the name or the number of a port"),
        ("kubernetes://shop?server=http://127.0.0.1&family=ipv5", "one of ipv4, ipv6"),
        ("kubernetes://shop?server=http://127.0.0.1&tls=true", "has no option tls"),
    ],
)
def test_url_that_cannot_work_is_refused(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match=message):
        open_registry(url)


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


class Pods:
    """Servers on loopback as the pods of a Service, each with a separate slice, as their ports differ."""

    def __init__(self, apiserver: Apiserver, watch: Watch, stack: contextlib.AsyncExitStack) -> None:
        self._apiserver = apiserver
        self._watch = watch
        self._stack = stack
        self._numbers = itertools.count(1)
        self.running: list[tuple[str, fastrpc.Server, int]] = []

    async def start(self) -> None:
        server = await self._stack.enter_async_context(fastrpc.Server(Arith))
        address = await server.listen("tcp://127.0.0.1:0")
        name = str(next(self._numbers))
        self.running.append((name, server, address.port))
        self._put(name, address.port, ready=True)
        await eventually(lambda: address.port in self._listed())

    async def end(self) -> None:
        """End the oldest, which serves on while it is still listed, and drains, as on SIGTERM."""
        name, server, port = self.running.pop(0)
        self._put(name, port, ready=False, serving=True, terminating=True)
        await eventually(lambda: port not in self._listed())
        assert await server.drain()
        self._apiserver.delete(name)

    def _put(self, name: str, port: int, **conditions: bool) -> None:
        ports = [{"name": "fastrpc", "port": port, "protocol": "TCP"}]
        self._apiserver.put(slice_of(name, "arith", pod("127.0.0.1", name, **conditions), ports=ports))

    def _listed(self) -> set[int]:
        latest = self._watch.latest
        return set() if latest is None else {one.address.port for one in latest.endpoints}


async def roll(apiserver: Apiserver, calls: Callable[[Client], Any]) -> None:
    """Exchange ten pods one by one, inside the block that makes calls."""
    async with contextlib.AsyncExitStack() as stack:
        registry: Any = await stack.enter_async_context(open_registry(url_of(apiserver)))  # type: ignore[arg-type]
        pods = Pods(apiserver, registry.watch("arith"), stack)
        for _ in range(10):
            await pods.start()
        async with Client("arith", registry=registry) as client, calls(client):
            for _ in range(10):
                await pods.start()
                await pods.end()


async def test_a_rolling_update_of_ten_pods_fails_no_call(apiserver: Apiserver) -> None:
    @contextlib.asynccontextmanager
    async def callers(client: Client) -> AsyncIterator[None]:
        is_over = False

        async def calling() -> int:
            count = 0
            while not is_over:
                assert await client.call("arith.mul", 6, 7) == 42
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(calling()) for _ in range(8)]
            yield
            is_over = True
        assert all(task.result() > 10 for task in tasks)

    await roll(apiserver, callers)


@pytest.mark.measures
async def test_a_rolling_update_fails_no_call_at_a_thousand_calls_a_second(apiserver: Apiserver) -> None:
    await roll(apiserver, lambda client: OpenLoop(1_000, lambda _: client.call("arith.mul", 6, 7)))
