"""Scenes of a lookup at an apiserver: played at a real one, whose answers are recorded, and at the recorded answers.

`ci/services -m conformance -k kubernetes` plays them at a real one, and with FASTRPC_RECORD=1 records them anew. Those
in `tests/golden` are of kube-apiserver 1.37.2 over etcd 3.7.3. Each piece of an answer carries the number of changes
made before it: at the recorded answers a change sends what it caused.
"""

import asyncio
import codecs
import contextlib
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.place import HINTS
from fastrpc.registries.base.secrets import Secret
from fastrpc.registries.base.shared import SingleLookup
from fastrpc.registries.kubernetes import api
from fastrpc.registries.kubernetes.api import ApiAccess
from fastrpc.registries.kubernetes.lookup import LIST_SECONDS, SliceLookup
from fastrpc.registries.kubernetes.slices import Reading
from fastrpc.status import Status
from tests.support.apiserver import NAMESPACE, pod, slice_of
from tests.support.hostile_http import HostileHttpServer, Reply
from tests.support.kube_apiserver import KubeApiserver
from tests.support.peer_writing import write_to
from tests.support.source_tree import ROOT

__all__ = [
    "RECORDED",
    "SCENES",
    "Exchange",
    "ExchangeRecorder",
    "Stage",
    "hosts",
    "record",
    "recorded",
    "reply_of",
    "until",
]

T = TypeVar("T")

RECORDED = ROOT / "tests" / "golden" / "apiserver.json"


@dataclass
class Exchange:
    """A request, and the pieces of its answer."""

    target: str
    #: Texts, each with the number of changes before it.
    answer: list[tuple[int, str]] = field(default_factory=list)
    #: After how many changes the apiserver ended the connection; None: it did not.
    ended: int | None = None


def recorded() -> dict[str, list[Exchange]]:
    """Return the exchanges of each scene."""
    return {
        name: [Exchange(**each) for each in found]
        for name, found in json.loads(RECORDED.read_text(encoding="utf-8")).items()
    }


def record(name: str, exchanges: Sequence[Exchange]) -> None:
    """Keep the exchanges of a scene."""
    found = (
        {scene: each for scene, each in recorded().items() if scene in SCENES} if RECORDED.exists() else {}
    )
    found[name] = list(exchanges)
    content = {scene: [asdict(each) for each in found[scene]] for scene in sorted(found)}
    RECORDED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class Stage:
    """Where a scene is played.

    Args:
        place: the host and the port of the apiserver, or of a proxy before it.
        cluster: the real one; None at recorded answers.
    """

    def __init__(
        self, place: tuple[str, int], cluster: KubeApiserver | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._place = place
        self._cluster = cluster
        self._monkeypatch = monkeypatch
        self._changed = threading.Condition()
        self._lookups: list[SingleLookup] = []
        #: Seconds for which a fetch waits for events.
        self.wait_seconds = 2.0 if cluster is not None else 0.05
        # At recorded answers all intervals are long enough.
        self._clock = time.monotonic if cluster is not None else itertools.count(0.0, 1.0).__next__
        #: How many changes were made.
        self.changes = 0
        #: The path and query of each request so far.
        self.targets: list[str] = []
        # A change to make before the first request whose target contains a text.
        self._before: tuple[str, Callable[[KubeApiserver], None]] | None = None

    @property
    def lists(self) -> int:
        return sum("watch=" not in one and "continue=" not in one for one in self.targets)

    @property
    def watched(self) -> list[int]:
        """The versions from which watches began."""
        watches = [one for one in self.targets if "watch=" in one]
        return [int(one.partition("resourceVersion=")[2].partition("&")[0]) for one in watches]

    def lookup(self, service: str = "arith", *, token: Secret | None = None, **options: str) -> SingleLookup:
        token = token or (lambda: "owner")
        access = ApiAccess(self._place, NAMESPACE, base="", tls=None, token=token)
        self._lookups.append(SingleLookup(SliceLookup(access, Reading(**options), self._clock), service))
        return self._lookups[-1]

    def limit(self, name: str, value: Any) -> None:
        """Set a limit of `fastrpc.registries.kubernetes.api`."""
        self._monkeypatch.setattr(api, name, value)

    def change(self, change: Callable[[KubeApiserver], Any]) -> None:
        with self._changed:
            self.changes += 1
            self._changed.notify_all()
        if self._cluster is not None:
            change(self._cluster)

    def put(self, *slices: dict[str, Any]) -> None:
        self.change(lambda cluster: cluster.put(*slices))

    def token(self, account: str, name: str) -> str:
        return name if self._cluster is None else self._cluster.token(account, name)

    def before(self, text: str, change: Callable[[KubeApiserver], None]) -> None:
        """Make a change before the first request whose target contains a text."""
        self._before = text, change

    def note(self, target: str) -> None:
        """Take the target of a request, before it is answered."""
        self.targets.append(target)
        if self._before is not None and self._before[0] in target:
            (_, change), self._before = self._before, None
            self.change(change)

    def wait(self, changes: int, seconds: float) -> bool:
        """Wait for the given number of changes; return whether they have been made."""
        with self._changed:
            return self._changed.wait_for(lambda: self.changes >= changes, seconds)

    def close(self) -> None:
        for one in self._lookups:
            one.close()


class ExchangeRecorder:
    """Stands before an apiserver, on loopback and without TLS, and records."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._upstream = port
        self._context = context
        self.exchanges: list[Exchange] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, play: Callable[[tuple[str, int]], Stage], scene: Callable[[Stage], None]) -> None:
        """Play a scene in another thread, and record its traffic."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self._stage = play(("127.0.0.1", server.sockets[0].getsockname()[1]))
            try:
                await asyncio.to_thread(scene, self._stage)
            finally:
                self._stage.close()
                server.close()
                await asyncio.gather(*self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._relay(reader, writer)))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay the requests of a connection, one after the other."""
        back: asyncio.StreamWriter | None = None
        answering: asyncio.Task[None] | None = None
        # The requests of this connection.
        exchanges: list[Exchange] = []
        try:
            while head := await _head(reader):
                exchanges.append(Exchange(head.split()[1].decode()))
                self.exchanges.append(exchanges[-1])
                await asyncio.to_thread(self._stage.note, exchanges[-1].target)
                if back is None:
                    try:
                        answers, back = await asyncio.open_connection(
                            "127.0.0.1", self._upstream, ssl=self._context, server_hostname="localhost"
                        )
                    except OSError:
                        exchanges[-1].ended = self._stage.changes
                        return
                    answering = asyncio.create_task(self._answer(answers, writer, exchanges))
                back.write(head)
        finally:
            writer.close()
            if answering is not None and back is not None:
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answering
                back.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, exchanges: list[Exchange]
    ) -> None:
        """Relay and record what the apiserver sends on a connection; each piece answers the last request on it."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            try:
                piece = await reader.read(65_536)
            except OSError:
                piece = b""
            changes = self._stage.changes
            if not piece:
                break
            exchanges[-1].answer.append((changes, decoder.decode(piece)))
            write_to(writer, piece)
            await writer.drain()
        exchanges[-1].ended = changes
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Return the head of the next request; b"" is the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        return b""


def reply_of(exchange: Exchange, stage: Stage, server: HostileHttpServer) -> Reply:
    """Return an answer that was recorded, piece by piece with the changes of a scene."""

    def reply() -> Iterator[bytes | None]:
        stage.note(server.requests[-1].split()[1])
        for changes, text in exchange.answer:
            while not stage.wait(changes, 0.1):
                yield None
            yield text.encode()
        if exchange.ended is not None:
            while not stage.wait(exchange.ended, 0.1):
                yield None
            raise ConnectionResetError

    return reply


def hosts(lookup: SingleLookup, wait_seconds: float = 0.0) -> list[str]:
    """Return the hosts of a list, sorted."""
    found = [value for _, value in lookup.fetch(wait_seconds).entries]
    return sorted(one.address.host for one in found if isinstance(one, Endpoint))


def until(lookup: SingleLookup, *wanted: str) -> None:
    """Fetch until the list has these hosts."""
    fetched(lambda: hosts(lookup, 2.0), lambda found: found == sorted(wanted))


def fetched(fetch: Callable[[], T], is_wanted: Callable[[T], bool]) -> T:
    """Fetch until a condition holds for the fetched list, and return that list."""
    for _ in range(100):
        found = fetch()
        if is_wanted(found):
            return found
    raise AssertionError(f"the list is {found}")


def pages(stage: Stage) -> None:
    stage.limit("PAGE_SLICES", 2)
    stage.put(*(slice_of(f"s{number}", "arith", pod(f"10.0.0.{number}")) for number in range(1, 6)))
    assert hosts(stage.lookup()) == [f"10.0.0.{number}" for number in range(1, 6)]
    assert (stage.lists, len(stage.targets)) == (1, 3)


def expired_page(stage: Stage) -> None:
    """410 as a status."""
    stage.limit("PAGE_SLICES", 1)
    stage.put(*(slice_of(f"s{number}", "arith", pod(f"10.0.0.{number}")) for number in (1, 2)))

    def forget(cluster: KubeApiserver) -> None:
        cluster.put(slice_of("s3", "arith", pod("10.0.0.3")))
        cluster.compact()

    stage.before("continue=", forget)
    assert hosts(stage.lookup()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert stage.lists == 2


def watch(stage: Stage) -> None:
    stage.put(slice_of("a", "arith", pod("10.0.0.1")), slice_of("b", "other", pod("10.0.0.9")))
    lookup = stage.lookup()
    assert hosts(lookup) == ["10.0.0.1"]
    stage.put(slice_of("c", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.1", "10.0.0.2")
    stage.put(slice_of("a", "arith", pod("10.0.0.3")))
    until(lookup, "10.0.0.2", "10.0.0.3")
    stage.change(lambda cluster: cluster.delete("c"))
    until(lookup, "10.0.0.3")
    assert (stage.lists, len(stage.watched)) == (1, 1)


def bookmark(stage: Stage) -> None:
    """The apiserver sends one a minute, and some seconds before it ends a watch."""
    stage.limit("WATCH_SECONDS", (8.0, 8.0))
    stage.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = stage.lookup()
    assert hosts(lookup) == hosts(lookup, 0.1) == ["10.0.0.1"]
    stage.put(slice_of("b", "other", pod("10.0.0.9")))
    same = fetched(lambda: hosts(lookup, stage.wait_seconds), lambda _: len(stage.watched) == 2)
    assert same == ["10.0.0.1"]
    first, second = stage.watched
    assert first < second
    stage.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    assert stage.lists == 1


def old_version(stage: Stage) -> None:
    """410 as an event."""
    stage.limit("WATCH_SECONDS", (3.0, 3.0))
    stage.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = stage.lookup()
    assert hosts(lookup) == ["10.0.0.1"]

    def forget(cluster: KubeApiserver) -> None:
        cluster.put(slice_of("a", "arith", pod("10.0.0.2")))
        cluster.compact()
        cluster.restart()

    assert hosts(lookup, 0.1) == ["10.0.0.1"]
    if lookup._shared._api.is_watching:
        fetched(lambda: hosts(lookup, stage.wait_seconds), lambda _: not lookup._shared._api.is_watching)
    stage.change(forget)
    until(lookup, "10.0.0.2")
    assert (stage.lists, len(stage.watched)) == (2, 2)


def killed(stage: Stage) -> None:
    """The watch continues from its version, unless the restarted apiserver refuses that."""
    stage.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = stage.lookup()
    assert hosts(lookup) == hosts(lookup, 0.1) == ["10.0.0.1"]
    stage.put(slice_of("a", "arith", pod("10.0.0.2")))
    until(lookup, "10.0.0.2")
    stage.change(lambda cluster: cluster.kill())
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            fetched(lambda: lookup.fetch(30.0), lambda _: False)
        assert caught.value.status is Status.UNAVAILABLE

    def back(cluster: KubeApiserver) -> None:
        cluster.start()
        cluster.put(slice_of("a", "arith", pod("10.0.0.3")))

    stage.change(back)
    until(lookup, "10.0.0.3")
    assert stage.lists <= 2
    # Two of them were not answered.
    assert len(stage.watched) >= 4
    assert stage.watched[0] < stage.watched[1] == stage.watched[2] == stage.watched[3]


def tokens(stage: Stage) -> None:
    """One is rotated, then the next one is revoked."""
    first, second = stage.token("follower", "planted-first"), stage.token("follower", "planted-second")
    shown = [first, first]
    stage.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = stage.lookup(token=lambda: shown.pop(0) if len(shown) > 1 else shown[0])
    assert hosts(lookup) == ["10.0.0.1"]
    stage.change(lambda cluster: cluster.revoke("planted-first", first))
    shown.append(second)
    stage.put(slice_of("a", "arith", pod("10.0.0.2")))
    assert hosts(lookup) == ["10.0.0.2"]
    assert stage.lists == 3
    stage.change(lambda cluster: cluster.revoke("planted-second", second))
    with pytest.raises(StoreError, match="it answered 401: Unauthorized") as caught:
        lookup.fetch(0.0)
    assert caught.value.status is Status.UNAUTHENTICATED
    assert not any(token in str(caught.value) for token in (first, second))


def role_without_watch(stage: Stage) -> None:
    token = stage.token("lister", "only")
    stage.put(slice_of("a", "arith", pod("10.0.0.1")))
    lookup = stage.lookup(token=lambda: token)
    assert hosts(lookup) == ["10.0.0.1"]
    for number in (2, 3):
        stage.put(slice_of("a", "arith", pod(f"10.0.0.{number}")))
        listing = lookup.fetch(5.0)
        assert [key for key, _ in listing.entries] == [f"tcp://10.0.0.{number}:8972"]
        assert listing.pause_seconds == LIST_SECONDS
    assert (stage.lists, len(stage.watched)) == (3, 1)


def no_role(stage: Stage) -> None:
    token = stage.token("stranger", "none")
    with pytest.raises(StoreError, match="cannot list resource") as caught:
        stage.lookup(token=lambda: token).fetch(0.0)
    assert caught.value.status is Status.PERMISSION_DENIED


def split_and_joined(stage: Stage) -> None:
    """A pod that moves between slices stays listed."""
    one, two = pod("10.0.0.1", "1"), pod("10.0.0.2", "2")
    stage.put(slice_of("a", "arith", one, two))
    lookup = stage.lookup()
    steps: list[Callable[[KubeApiserver], None]] = [
        lambda cluster: cluster.put(slice_of("b", "arith", two)),
        lambda cluster: cluster.put(slice_of("a", "arith", one)),
        lambda cluster: cluster.put(slice_of("a", "arith", one, two)),
        lambda cluster: cluster.delete("b"),
    ]
    assert hosts(lookup) == ["10.0.0.1", "10.0.0.2"]
    for step in steps:
        version = lookup._shared._slices.version
        stage.change(step)
        changed = fetched(
            lambda: (hosts(lookup, 2.0), lookup._shared._slices.version),
            lambda found, version=version: found[1] != version,
        )
        assert changed[0] == ["10.0.0.1", "10.0.0.2"]
    assert stage.lists == 1


def families(stage: Stage) -> None:
    stage.put(
        slice_of("four", "arith", pod("10.0.0.1", "1"), pod("10.0.0.2", "2")),
        slice_of("six", "arith", pod("fd00::1", "1"), pod("fd00::3", "3"), addressType="IPv6"),
    )
    assert hosts(stage.lookup()) == ["10.0.0.1", "10.0.0.2", "fd00::3"]
    assert hosts(stage.lookup(family="ipv6")) == ["10.0.0.2", "fd00::1", "fd00::3"]


def conditions(stage: Stage) -> None:
    stage.put(
        slice_of(
            "a",
            "arith",
            pod("10.0.0.1", "1", ready=True, serving=True, terminating=False),
            pod("10.0.0.2", "2", ready=False, serving=False, terminating=False),
            pod("10.0.0.3", "3", ready=False, serving=True, terminating=True),
            pod("10.0.0.4", "4", ready=False, serving=False, terminating=True),
            {"addresses": ["10.0.0.5"]},
        )
    )
    lookup = stage.lookup()
    assert hosts(lookup) == ["10.0.0.1", "10.0.0.5"]
    stage.put(slice_of("a", "arith", pod("10.0.0.3", "3", ready=False, serving=True, terminating=True)))
    until(lookup, "10.0.0.3")
    stage.put(slice_of("a", "arith"))
    until(lookup)


def hints(stage: Stage) -> None:
    """All endpoints have them, or some."""

    def zoned(number: int, **more: Any) -> dict[str, Any]:
        return pod(f"10.0.0.{number}", str(number), zone=f"eu-1{number}", nodeName=f"node-{number}", **more)

    both = {"hints": {"forZones": [{"name": "eu-11"}, {"name": "eu-12"}]}}
    stage.put(slice_of("a", "arith", zoned(1, **both), zoned(2, **both)))
    lookup = stage.lookup()
    assert _hints(lookup.fetch(0.0)) == {
        "10.0.0.1": ("eu-11", "eu-11,eu-12"),
        "10.0.0.2": ("eu-12", "eu-11,eu-12"),
    }
    stage.put(slice_of("a", "arith", zoned(1, **both), zoned(2)))
    found = fetched(lambda: _hints(lookup.fetch(2.0)), lambda found: not found["10.0.0.2"][1])
    assert found == {"10.0.0.1": ("eu-11", "eu-11,eu-12"), "10.0.0.2": ("eu-12", "")}


def _hints(listing: Any) -> dict[str, tuple[str | None, str]]:
    endpoints = [value for _, value in listing.entries]
    return {one.address.host: (one.zone, one.labels.get(HINTS, "")) for one in endpoints}


SCENES: dict[str, Callable[[Stage], None]] = {
    scene.__name__: scene
    for scene in (
        *(pages, expired_page, watch, bookmark, old_version, killed, tokens, role_without_watch, no_role),
        *(split_and_joined, families, conditions, hints),
    )
}
