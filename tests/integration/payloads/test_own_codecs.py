"""Codecs and compressors that other packages bring, and those that are added to this one."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, ConfigError, ServerConfig, Status, SyncClient
from fastrpc.codecs.base import codec_named, codec_numbers
from fastrpc.compressors import base as compressors
from fastrpc.compressors.base import compressor_named, compressor_numbers
from fastrpc.testing import serving
from tests.support.own_package import forget_tables, write_package
from tests.support.program import Program
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TAKES_OWN = ServerConfig(codecs=("msgpack", "json", "reversed"))
LONG = "word " * 2_000


@dataclass
class Point:
    x: int
    y: int = 2


@fastrpc.service("texts")
class Texts:
    def __init__(self) -> None:
        self.codecs: list[int] = []
        self.ran = 0
        self.go_on = asyncio.Event()
        self.before_answer: Callable[[], None] = lambda: None

    @fastrpc.method
    async def wait(self) -> str:
        self.ran += 1
        await self.go_on.wait()
        return "waited"

    @fastrpc.method
    async def act(self, suspends: bool) -> int:
        if suspends:
            await asyncio.sleep(0)
        self.before_answer()
        return 1

    @fastrpc.method
    async def double(self, text: str, times: int = 2) -> str:
        self.ran += 1
        return text * times

    @fastrpc.method
    async def moved(self, point: Point, by: list[int]) -> Point:
        return Point(point.x + by[0], point.y + by[1])

    @fastrpc.method
    async def length(self, text: str) -> int:
        return len(text)

    @fastrpc.method
    async def refuse(self) -> None:
        raise CallError(Status.NOT_FOUND, "not here", details={"a": [1]})

    @fastrpc.method
    async def crash(self) -> int:
        raise ValueError("text")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One package with a codec and a compressor, which both ask for the highest number there is."""
    write_package(tmp_path, "own_one", codec_number=255, compressor_number=255)
    monkeypatch.syspath_prepend(tmp_path)
    forget_tables(Texts)
    yield
    sys.modules.pop("own_one", None)
    forget_tables(Texts)


@pytest.fixture(params=SCHEMES)
async def client(request: pytest.FixtureRequest, package: None) -> AsyncIterator[Client]:
    async with served(Texts, scheme=request.param, config=TAKES_OWN) as target, Client(target) as client:
        yield client


def uses() -> int:
    return int(importlib.import_module("own_one").Deflating.used)


async def test_programs_without_own_codecs_are_unaffected(client: Client) -> None:
    assert await client.call(Texts.double, "a") == "aa"
    assert await client.with_options(codec="json", compressor="gzip").call(Texts.double, LONG, 1) == LONG


async def test_a_codec_of_ones_own_carries_calls(client: Client) -> None:
    view = client.with_options(codec="reversed")
    assert await view.call(Texts.double, "ab") == "abab"
    assert await view.call(Texts.double, "ab", times=3) == "ababab"
    assert await view.call(Texts.moved, Point(1), [5, 6]) == Point(6, 8)
    assert await view.call("texts.double", "ab", 1) == "ab"
    assert await view.call("texts.moved", {"x": 1, "y": 1}, by=[1, 1]) == {"x": 2, "y": 2}
    assert (await view.request(Texts.double, "ab")).value == "abab"
    assert await view.call_many(Texts.double, [("a",), ("b", 3)]) == ["aa", "bbb"]
    await view.notify(Texts.double, "ab")


async def test_a_compressor_of_ones_own_is_used_in_both_directions(client: Client) -> None:
    view = client.with_options(compressor="deflating")
    before = uses()
    assert await view.call(Texts.double, LONG, 1) == LONG
    assert uses() == before + 4
    assert await view.call(Texts.length, LONG) == len(LONG)
    assert await view.call_many(Texts.double, [(LONG, 1)] * 2) == [LONG] * 2
    both = view.with_options(codec="reversed")
    assert await both.call(Texts.double, LONG, 1) == LONG


async def test_the_very_first_call_may_use_them(package: None) -> None:
    config = ClientConfig(codec="reversed", compressor="deflating", early_calls="all")
    async with served(Texts, scheme="tcp", config=TAKES_OWN) as target:
        async with Client(target, config=config) as client:
            assert await client.call(Texts.double, LONG, 1) == LONG
        async with Client(target, config=config) as client:
            assert await client.call_many(Texts.double, [(LONG, 1), ("a",)]) == [LONG, "aa"]
        async with Client(target, config=config) as client:
            await client.notify(Texts.double, LONG)


@pytest.mark.parametrize("suspends", [False, True])
async def test_an_answer_that_cannot_be_written_ends_no_other_call(package: None, suspends: bool) -> None:
    texts = Texts()
    async with served(texts, scheme="tcp", config=TAKES_OWN) as target, Client(target) as client:
        view = client.with_options(codec="reversed")
        waiting = asyncio.create_task(client.call(Texts.wait))
        await eventually(lambda: texts.ran)
        assert await view.call(Texts.act, suspends) == 1
        codecs = target.server._gate.codecs
        known = dict(codecs)
        # Its number is looked up as the answer is written.
        texts.before_answer = codecs.clear
        with pytest.raises(CallError, match=r"texts\.act failed, and so did its answer") as failed:
            await view.call(Texts.act, suspends)
        assert (failed.value.status, failed.value.processed) == (Status.INTERNAL, "yes")
        codecs.update(known)
        texts.before_answer = lambda: None
        assert await view.call(Texts.act, suspends) == 1
        texts.go_on.set()
        assert await waiting == "waited"


async def test_errors_of_such_calls_are_told_as_of_any(client: Client) -> None:
    view = client.with_options(codec="reversed")
    with pytest.raises(CallError, match="not here") as failed:
        await view.call(Texts.refuse)
    assert (failed.value.status, failed.value.details) == (Status.NOT_FOUND, {"a": [1]})
    with pytest.raises(CallError, match="the server's log"):
        await view.call(Texts.crash)
    with pytest.raises(CallError, match="times: Expected `int`, got `str`|times: expected `int`") as failed:
        await view.call("texts.double", "a", "b")
    assert (failed.value.status, failed.value.processed) == (Status.INVALID_ARGUMENT, "no")


async def test_an_argument_that_an_installed_codec_cannot_read_is_the_callers_mistake(
    package: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = Texts()
    async with served(texts, config=TAKES_OWN) as target, Client(target) as client:
        view = client.with_options(codec="reversed")
        await view.call(Texts.length, "")

        def damaged(self: Any) -> Any:
            return lambda value: b"}}"

        monkeypatch.setattr(importlib.import_module("own_one").Reversed, "encoder", damaged)
        with pytest.raises(CallError) as failed:
            await view.call("texts.double", "never encoded before")
        assert failed.value.status is Status.INVALID_ARGUMENT
    assert texts.ran == 0


async def test_a_method_may_demand_a_codec_of_ones_own(package: None) -> None:
    @fastrpc.service("demanding")
    class Demanding:
        @fastrpc.method(codec="reversed")
        async def same(self, text: str) -> str:
            return text

    async with served(Demanding, config=TAKES_OWN) as target, Client(target) as client:
        assert await client.call(Demanding.same, "text") == "text"
        with pytest.raises(CallError, match="codec 'msgpack'|expected|demanding") as failed:
            await client.with_options(codec="json").call("demanding.same", 5)
        assert failed.value.status is Status.INVALID_ARGUMENT


async def test_a_server_that_does_not_take_the_codec_is_named_before_anything_is_sent(package: None) -> None:
    texts = Texts()
    async with served(texts) as target, Client(target) as client:
        with pytest.raises(
            CallError, match=r"texts\.double: codec 'reversed' is not accepted there"
        ) as failed:
            await client.with_options(codec="reversed").call(Texts.double, "a")
        assert (failed.value.status, failed.value.processed) == (Status.UNIMPLEMENTED, "no")
        assert failed.value.retryable is False
        assert await client.call(Texts.double, "a") == "aa"
    assert texts.ran == 1


@pytest.mark.parametrize("name", ["reversed", "deflating"])
async def test_an_unknown_name_is_refused(name: str) -> None:
    """Nothing is installed here."""
    kind = "codec" if name == "reversed" else "compressor"
    async with Client("memory://nobody") as client:
        with pytest.raises(ConfigError, match=f"no {kind} is called '{name}'"):
            client.with_options(**{kind: name})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"no {kind} is called '{name}'"):
        Client("memory://nobody", config=ClientConfig(**{kind: name}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"no {kind} is called '{name}'"):
        SyncClient("tcp://127.0.0.1:9", config=ClientConfig(**{kind: name}))  # type: ignore[arg-type]


def test_a_blocking_client_uses_them(package: None) -> None:
    with serving(Texts, config=TAKES_OWN) as address:
        with SyncClient(address) as client:
            view = client.with_options(codec="reversed", compressor="deflating")
            before = uses()
            assert view.call(Texts.double, LONG, 1) == LONG
            assert uses() == before + 4
            assert view.call_many(Texts.double, [("a",), (LONG, 1)]) == ["aa", LONG]
            assert view.call(Texts.moved, Point(1), [5, 6]) == Point(6, 8)
            view.notify(Texts.double, LONG)
        config = ClientConfig(codec="reversed", compressor="deflating")
        with SyncClient(address, config=config) as client:
            assert client.call_many(Texts.double, [(LONG, 1), ("a",)]) == [LONG, "aa"]


@pytest.mark.parametrize("made", ["bytes", "bytearray", "memoryview"])
async def test_their_output_may_be_any_kind_of_bytes(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "own_made", codec=made, compressor=made, made=made)
    monkeypatch.syspath_prepend(tmp_path)
    forget_tables()
    try:
        config = ServerConfig(codecs=("msgpack", made))
        async with served(Texts, config=config) as target, Client(target) as client:
            view = client.with_options(codec=made, compressor=made)
            assert await view.call(Texts.double, LONG, 1) == LONG
            assert await view.call("texts.length", LONG) == len(LONG)
    finally:
        sys.modules.pop("own_made", None)
        forget_tables()


async def test_a_compressor_that_fails_costs_that_call_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, *arguments: Any) -> bytes:
        raise KeyError("broken")

    kind = importlib.import_module("own_one").Deflating
    view = client.with_options(compressor="deflating")
    await client.ready()
    monkeypatch.setattr(kind, "compress", fail)
    with pytest.raises(fastrpc.EncodeError, match="cannot be compressed by deflating"):
        await view.call(Texts.length, LONG)
    monkeypatch.undo()
    monkeypatch.setattr(kind, "decompress", fail)
    with pytest.raises(CallError, match="cannot be decompressed") as failed:
        await view.call(Texts.length, LONG)
    assert failed.value.status is Status.INVALID_ARGUMENT
    assert await client.call(Texts.double, "a") == "aa"


async def test_an_answer_that_a_compressor_cannot_decompress_fails_that_call_alone(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    def fail(self: Any, payload: Any, max_size: int) -> bytes:
        text = deflating(self, payload, max_size)
        if len(text) > 2 * len(LONG):
            raise KeyError("broken")
        return text

    kind = importlib.import_module("own_one").Deflating
    deflating = kind.decompress
    monkeypatch.setattr(kind, "decompress", fail)
    await client.ready()
    view = client.with_options(compressor="deflating")
    with pytest.raises(fastrpc.DecodeError, match="KeyError\\('broken'\\)"):
        await view.call(Texts.double, LONG, 3)
    outcomes = await view.call_many(Texts.double, [(LONG, 3), (LONG, 1)], return_exceptions=True)
    assert isinstance(outcomes[0], fastrpc.DecodeError)
    assert outcomes[1] == LONG
    assert client.stats()["totals"]["failed"] == {"INTERNAL": 2}


# Numbers


async def test_two_packages_that_want_the_same_number_both_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "own_a", codec="a-codec", compressor="a-compressor")
    write_package(tmp_path, "own_b", codec="b-codec", compressor="b-compressor")
    monkeypatch.syspath_prepend(tmp_path)
    forget_tables()
    try:
        config = ServerConfig(codecs=("msgpack", "b-codec", "a-codec"))
        async with served(Texts, scheme="tcp", config=config) as target, Client(target) as client:
            for part in ("a", "b"):
                view = client.with_options(codec=f"{part}-codec", compressor=f"{part}-compressor")
                assert await view.call(Texts.double, LONG, 1) == LONG
        assert sorted(codec_numbers())[-2:] == [64, 65]
        assert [compressor_numbers()[number].name for number in (64, 65)] == ["a-compressor", "b-compressor"]
    finally:
        for module in ("own_a", "own_b"):
            sys.modules.pop(module, None)
        forget_tables()


SERVER = """
import fastrpc

@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def double(self, text: str, times: int = 2) -> str:
        return text * times
    @fastrpc.method
    async def refuse(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "not here", details={"a": [1]})

import asyncio, sys
async def main():
    config = fastrpc.ServerConfig(codecs=("msgpack", *sys.argv[1].split(",")))
    async with fastrpc.Server(Texts, config=config) as server:
        print("at", await server.listen("tcp://127.0.0.1:0"), flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


async def test_both_sides_may_number_them_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same number even means another one on the other side; names say which is meant."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, one, other in ((here, 70, 90), (there, 90, 70)):
        folder.mkdir()
        write_package(folder, "own_x", codec="x", codec_number=one, compressor="cx", compressor_number=one)
        write_package(
            folder, "own_y", codec="y", codec_number=other, compressor="cy", compressor_number=other
        )
    monkeypatch.syspath_prepend(here)
    forget_tables()
    path = {"PYTHONPATH": f"{Path(fastrpc.__file__).parents[1]}:{there}"}
    try:
        with Program(["-c", SERVER, "x,y"], tmp_path, path) as program:
            address = program.wait_output(r"^at (\S+)\n")[1]
            async with Client(address) as client:
                for codec, compressor in (("x", "cx"), ("y", "cy"), ("x", "cy")):
                    view = client.with_options(codec=codec, compressor=compressor)
                    assert await view.call("texts.double", LONG, 1) == LONG
                    with pytest.raises(CallError) as failed:
                        await view.call("texts.refuse")
                    assert failed.value.details == {"a": [1]}

            def block() -> str:
                with SyncClient(address) as blocking:
                    result: str = blocking.with_options(codec="y", compressor="cx").call(
                        "texts.double", LONG, 1
                    )
                    return result

            assert await asyncio.to_thread(block) == LONG
    finally:
        for module in ("own_x", "own_y"):
            sys.modules.pop(module, None)
        forget_tables()


async def test_a_compressor_that_only_one_side_has_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    write_package(here, "own_one")
    with Program(["-c", SERVER, "json"], tmp_path) as program:
        address = program.wait_output(r"^at (\S+)\n")[1]
        monkeypatch.syspath_prepend(here)
        forget_tables()
        try:
            async with Client(address) as client:
                assert await client.with_options(compressor="deflating").call("texts.double", LONG, 1) == LONG
            assert uses() == 0
        finally:
            sys.modules.pop("own_one", None)
            forget_tables()


@pytest.mark.parametrize("name", ["Capital", "with space", "x" * 33, "ü"])
def test_a_name_that_cannot_be_announced_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "own_one", codec=name, compressor=name)
    monkeypatch.syspath_prepend(tmp_path)
    forget_tables()
    try:
        for find in (codec_named, compressor_named):
            with pytest.raises(ConfigError, match=r"1 to 32 of a-z 0-9 \. _ -"):
                find(name)
        assert name not in codec_numbers().values()
    finally:
        sys.modules.pop("own_one", None)
        forget_tables()


# The recipe of MAP.md


async def test_a_compressor_added_by_the_recipe_is_announced_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file with one class, one line in the table of `compressors/base.py`: nothing else."""
    write_package(tmp_path, "added_compressor", compressor="brotli", compressor_number=4)
    (tmp_path / "added_compressor-1.0.dist-info" / "entry_points.txt").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(compressors._BUILT_IN, "brotli", (4, "added_compressor", "Deflating", "fastrpc"))
    forget_tables()
    try:
        async with served(Texts, scheme="tcp") as target, Client(target) as client:
            await client.ready()
            view = client.with_options(compressor="brotli")
            assert await view.call(Texts.double, LONG, 1) == LONG
            assert importlib.import_module("added_compressor").Deflating.used == 4

        def block() -> str:
            with serving(Texts) as address, SyncClient(address) as blocking:
                return blocking.with_options(compressor="brotli").call(Texts.double, LONG, 1)

        assert await asyncio.to_thread(block) == LONG
    finally:
        sys.modules.pop("added_compressor", None)
        forget_tables()


async def test_a_codec_added_by_the_recipe_is_accepted_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file with one class, one line in the table of `codecs/base.py`: nothing else."""
    from fastrpc.codecs import base as codecs

    write_package(tmp_path, "added_codec", codec="cbor", codec_number=4)
    (tmp_path / "added_codec-1.0.dist-info" / "entry_points.txt").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(codecs._BUILT_IN, "cbor", (4, "added_codec", "Reversed"))
    forget_tables()
    try:
        config = ServerConfig(codecs=("msgpack", "cbor"))
        async with served(Texts, scheme="tcp", config=config) as target, Client(target) as client:
            view = client.with_options(codec="cbor")
            assert await view.call(Texts.double, "a") == "aa"
            assert await view.call(Texts.moved, Point(1), [5, 6]) == Point(6, 8)
    finally:
        sys.modules.pop("added_codec", None)
        forget_tables()
