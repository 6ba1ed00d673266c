"""Paths, addresses, deques and counters travel by both codecs, through both clients and in every place of a type."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Client, ConfigError, EncodeError, ServerConfig, Status, SyncClient
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import check_service
from fastrpc.rpc.service import service, service_definition
from fastrpc.testing import connected, serving
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

T = TypeVar("T")
CODECS = ["msgpack", "json"]
Home = NewType("Home", Path)


@dataclass
class Size:
    bytes: int
    unit: str = "B"


@dataclass
class Folder:
    path: Path
    inner: "deque[Folder]" = field(default_factory=deque)
    sizes: deque[Size] = field(default_factory=deque)


class Route(msgspec.Struct, frozen=True):
    network: IPv4Network
    gateway: IPv4Address | None = None


class Lease(TypedDict):
    address: IPv6Address
    home: NotRequired[Path]


class Pair(NamedTuple):
    first: PurePosixPath
    words: Counter[str]


class Page(msgspec.Struct, Generic[T]):
    items: deque[T]


async def echoed(kind: Any, value: Any, codec: str = "msgpack") -> Any:
    """Return the echo of a handler with this type; check that the handler got the same value."""
    got: list[Any] = []

    async def echo(self: Any, value: Any) -> Any:
        got.append(value)
        return value

    echo.__annotations__.update({"value": kind, "return": kind})
    cls: Any = service("echo")(type("Echo", (), {"echo": method(echo)}))
    async with connected(cls) as client:
        answer = await client.with_options(codec=codec).call(cls.echo, value)
    assert got == [answer]
    assert type(got[0]) is type(answer)
    return answer


VALUES: list[tuple[Any, Any]] = [
    (Path, Path("/srv/a b/ü")),
    (PurePath, PurePath("x")),
    (PurePosixPath, PurePosixPath("../x")),
    (PureWindowsPath, PureWindowsPath("C:\\x")),
    (Home, Path("/home")),
    (IPv4Address, IPv4Address("10.1.2.3")),
    (IPv4Network, IPv4Network("10.0.0.0/8")),
    (IPv4Interface, IPv4Interface("10.1.2.3/8")),
    (IPv6Address, IPv6Address("fe80::1%eth0")),
    (IPv6Network, IPv6Network("fe80::/64")),
    (IPv6Interface, IPv6Interface("fe80::1/64")),
    (deque[int], deque([1, 2])),
    (deque, deque([1, "a", None])),
    (deque[bytes], deque([b"\x00\xff"])),
    (deque[Decimal], deque([Decimal("1.5")])),
    (deque[deque[Path]], deque([deque([Path("a")]), deque()])),
    (Counter[str], Counter("banana")),
    (Counter[int], Counter([1, 1, -2])),
    (Counter[Path], Counter([Path("a"), Path("a")])),
    (deque[dict[IPv4Address, Path]], deque([{IPv4Address("10.0.0.1"): Path("a")}])),
    (deque[dict[UUID, int]], deque([{UUID(int=5): 1}])),
    (deque[dict[int, set[Path]]], deque([{5: {Path("a")}}])),
    (Path | None, None),
    (Path | None, Path("a")),
    (list[Path], [Path("a")]),
    (set[Path], {Path("a"), Path("b")}),
    (dict[IPv4Address, Path], {IPv4Address("10.0.0.1"): Path("a")}),
    (dict[str, deque[int]], {"a": deque([1])}),
    (tuple[Path, IPv4Address], (Path("a"), IPv4Address("10.0.0.1"))),
    (Folder, Folder(Path("/"), deque([Folder(Path("a"))]), deque([Size(3), Size(4, "KiB")]))),
    (Route, Route(IPv4Network("10.0.0.0/8"), IPv4Address("10.0.0.1"))),
    (set[Route], {Route(IPv4Network("10.0.0.0/8"))}),
    (Lease, {"address": IPv6Address("::1"), "home": Path("a")}),
    (Pair, Pair(PurePosixPath("a"), Counter("aab"))),
    (Page[Path], Page(deque([Path("a")]))),
    (list[Page[Size]], [Page(deque([Size(1)]))]),
]


@pytest.mark.parametrize("codec", CODECS)
async def test_values_come_back_as_they_were(codec: str) -> None:
    for kind, value in VALUES:
        assert await echoed(kind, value, codec) == value, kind


async def test_bytes_in_a_counter_of_msgpack_come_back() -> None:
    assert await echoed(Counter[bytes], Counter([b"\xff", b"\xff"])) == {b"\xff": 2}


@fastrpc.service("disk")
class Disk:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.noted = asyncio.Event()

    @fastrpc.method
    async def parent(self, path: Path, *, levels: int = 1) -> Path:
        return path.parents[levels - 1]

    @fastrpc.method
    def hosts(self, network: IPv4Network) -> deque[IPv4Address]:
        return deque(network.hosts())

    @fastrpc.method
    async def note(self, folder: Folder) -> None:
        self.seen.append(folder)
        self.noted.set()

    @fastrpc.method
    async def count(self, folders: deque[Folder], words: Counter[str]) -> int:
        return len(folders) + words.total()

    @fastrpc.method
    async def plain(self, value, other=None):  # type: ignore[no-untyped-def]
        return [type(value).__name__, value]

    @fastrpc.method
    async def wrong(self) -> Path:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_verbs_of_a_client_carry_them(scheme: str) -> None:
    disk = Disk()
    async with served(disk, scheme=scheme) as address, Client(address) as client:
        assert await client.call(Disk.parent, Path("/a/b")) == Path("/a")
        assert await client.call(Disk.parent, path=Path("/a/b"), levels=2) == Path("/")
        assert await client.call(Disk.hosts, IPv4Network("10.0.0.0/30")) == deque(
            [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")]
        )
        assert await client.call_many(Disk.parent, [(Path("/a/b"),)] * 3) == [Path("/a")] * 3
        assert (await client.request(Disk.parent, Path("/a/b"))).value == Path("/a")
        assert await client.bind(Disk).parent(Path("/a/b")) == Path("/a")  # type: ignore[arg-type]
        assert await client.call("disk.parent", Path("/a/b")) == "/a"
        await client.notify(Disk.note, Folder(Path("a")))
        await disk.noted.wait()
    assert disk.seen == [Folder(Path("a"))]


@pytest.mark.parametrize("codec", CODECS)
def test_a_blocking_client_carries_them(codec: str) -> None:
    with serving(Disk) as address, SyncClient(address) as plain:
        client = plain.with_options(codec=codec)
        assert client.call(Disk.parent, Path("/a/b")) == Path("/a")
        assert client.call_many(Disk.parent, [(Path("/a/b"),)] * 2) == [Path("/a")] * 2
        assert client.call("disk.count", deque([Folder(Path("a"))]), Counter("aab")) == 4
        with pytest.raises(CallError, match=r"network: expected `IPv4Network`"):
            client.call("disk.hosts", "10.0.0.1/8")


@pytest.mark.parametrize("codec", CODECS)
async def test_a_parameter_without_annotation_gets_the_plain_form(codec: str) -> None:
    async with connected(Disk) as plain:
        client = plain.with_options(codec=codec)
        assert await client.call(Disk.plain, Path("/a")) == ["str", "/a"]
        assert await client.call(Disk.plain, IPv6Address("::1")) == ["str", "::1"]
        assert await client.call(Disk.plain, deque([1])) == ["list", [1]]
        assert await client.call(Disk.plain, Counter("a")) == ["dict", {"a": 1}]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("disk.parent", 5), "path: expected `Path` as text, got `int`"),
        (("disk.hosts", 167772160), "network: expected `IPv4Network` as text, got `int`"),
        (("disk.hosts", "10.0.0.300"), "network: expected `IPv4Network`: .*10.0.0.300"),
        (("disk.hosts", "1" * 100_000), "network: expected `IPv4Network`, got a text of 100000 characters"),
        (("disk.count", {}, {}), r"folders: expected `array`, got `object`"),
        (("disk.count", [{"path": "a"}, {}], {}), r"folders\[1\]: object missing required field `path`"),
        (
            ("disk.note", {"path": "a", "inner": [{"path": "b", "inner": [{"path": 1}]}]}),
            r"folder\.inner\[0\]\.inner\[0\]\.path: expected `Path` as text",
        ),
        (
            ("disk.note", {"path": "a", "sizes": [{"bytes": "x"}]}),
            r"folder\.sizes\[0\]\.bytes: expected `int`",
        ),
        (("disk.count", [], {"a": "x"}), r"words\[\.\.\.\]: expected `int`, got `str`"),
    ],
)
async def test_a_value_that_does_not_fit_names_its_place(
    arguments: tuple[Any, ...], text: str, codec: str
) -> None:
    async with connected(Disk) as client:
        with pytest.raises(CallError, match=text) as caught:
            await client.with_options(codec=codec).call(*arguments)
    assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")


async def test_items_of_a_deque_are_whole_where_the_handler_gets_them() -> None:
    disk = Disk()
    async with connected(disk) as client:
        await client.call("disk.note", {"path": "a", "sizes": [{"bytes": 1}], "inner": [{"path": "b"}]})
    (folder,) = disk.seen
    assert vars(folder.sizes[0]) == {"bytes": 1, "unit": "B"}
    assert vars(folder.inner[0]) == {"path": Path("b"), "inner": deque(), "sizes": deque()}


async def test_a_checked_result_that_is_no_path_is_refused() -> None:
    async with (
        served(Disk, config=ServerConfig(check_results=True)) as address,
        Client(address) as client,
    ):
        with pytest.raises(CallError, match="INTERNAL"):
            await client.call(Disk.wrong)


async def test_a_path_that_is_no_unicode_cannot_be_encoded() -> None:
    async with connected(Disk) as client:
        with pytest.raises(EncodeError, match=r"disk\.parent: argument path, of type PosixPath"):
            await client.call(Disk.parent, Path("\udcff"))


class Unknown:
    pass


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Path | IPv4Address, "more than one custom type.*wrap each in a msgspec.Struct with a tag"),
        (Path | str, "custom type.*wrap each in a msgspec.Struct with a tag"),
        (dict[str, Path | int], "wrap each in a msgspec.Struct with a tag"),
        (deque[Path | int], "wrap each in a msgspec.Struct with a tag"),
        (deque[Unknown], "Unknown has no encoding: .*fastrpc.types.register"),
        (Counter[Unknown], "Unknown has no encoding"),
        (list[deque[deque[Unknown]]], "Unknown has no encoding"),
        (Page[Unknown], "Unknown has no encoding"),
    ],
)
@pytest.mark.parametrize("place", ["key", "return"])
def test_an_ambiguous_or_unknown_type_is_refused_with_a_remedy(kind: Any, text: str, place: str) -> None:
    async def get(self: Any, key: int) -> int: ...  # type: ignore[empty-body]

    get.__annotations__[place] = kind
    cls = service("odd")(type("Odd", (), {"get": method(get)}))
    with pytest.raises(ConfigError, match=rf"(?s)Odd\.get: .*{text}"):
        check_service(service_definition(cls))


def test_a_subclass_of_a_path_is_no_payload_type() -> None:
    other = type("WindowsPath", (PureWindowsPath,), {})
    with pytest.raises(ConfigError, match="has no encoding"):
        check_service(service_definition(_service_of(other)))


def _service_of(kind: Any) -> Any:
    async def get(self: Any, key: Any) -> None: ...

    get.__annotations__["key"] = kind
    return service("odd")(type("Odd", (), {"get": method(get)}))
