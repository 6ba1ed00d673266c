"""Code that other packages bring: codecs, compressors, stores, applications that are mounted."""

import asyncio
import importlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import ServerConfig
from fastrpc.coordination.sync import open_store
from fastrpc.testing import serving
from tests.support.failing.scenes import Fail, caught, check_serves, scene
from tests.support.failing.servers import Good
from tests.support.mounted import mounted, part, start
from tests.support.own_package import forget_tables, write_package
from tests.support.waiting import eventually

LONG = "word " * 2_000
#: Compressed in slices.
LONGEST = "word " * 100_000

CONFIG = ServerConfig(codecs=("msgpack", "json", "reversed"))


@fastrpc.service("texts")
class Texts:
    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    async def length(self, text: str) -> int:
        return len(text)

    @fastrpc.method
    async def each(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text

    @fastrpc.method
    async def repeat(self, text: str, times: int) -> str:
        return text * times


@contextmanager
def _package() -> Iterator[Any]:
    """Install a codec and a compressor; yield their module."""
    with tempfile.TemporaryDirectory() as folder:
        write_package(Path(folder), "failing_package")
        sys.path.insert(0, folder)
        forget_tables(Texts)
        try:
            yield importlib.import_module("failing_package")
        finally:
            sys.path.remove(folder)
            sys.modules.pop("failing_package", None)
            forget_tables(Texts)


async def _streamed(view: Any, text: str) -> None:
    async def texts() -> AsyncIterator[str]:
        yield text

    async with view.stream(Texts.each, texts()) as stream:
        assert [one async for one in stream] == [text]


@scene
async def installed_compressors(fail: Fail) -> None:
    with _package() as module:
        works = {name: getattr(module.Deflating, name) for name in ("compress", "decompress")}
        async with fastrpc.Server(Texts, Good) as server:
            address = str(await server.listen("tcp://127.0.0.1:0"))
            async with fastrpc.Client(address) as client:
                await client.ready(timeout=10)
                view = client.with_options(compressor="deflating")
                for name in works:
                    for text in (LONG, LONGEST):
                        setattr(module.Deflating, name, lambda *_: fail())
                        await caught(view.call(Texts.length, text))
                        await caught(view.call(Texts.repeat, text[:100], len(text) // 100))
                        await caught(_streamed(view, text))
                        await check_serves(client)
                        setattr(module.Deflating, name, works[name])
                        await _streamed(view, text)
                        assert await view.call(Texts.same, text) == text


@scene
async def installed_codecs(fail: Fail) -> None:
    is_bad: list[Any] = [False]
    with _package() as module:
        encoder, decoder = module.Reversed.encoder, module.Reversed.decoder

        def wrapped(function: Any, side: str) -> Any:
            return lambda value: fail() if is_bad[0] == side else function(value)

        module.Reversed.encoder = lambda self: wrapped(encoder(self), "encoder")
        module.Reversed.decoder = lambda self, type=None: wrapped(decoder(self, type), "decoder")
        async with fastrpc.Server(Texts, Good, config=CONFIG) as server:
            address = str(await server.listen("tcp://127.0.0.1:0"))
            async with fastrpc.Client(address) as client:
                await client.ready(timeout=10)
                view = client.with_options(codec="reversed")
                assert await view.call(Texts.same, "a") == "a"
                for is_bad[0] in ("encoder", "decoder"):
                    assert await caught(view.call(Texts.same, "a")) is not None
                    await check_serves(client)
                is_bad[0] = False
                assert await view.call(Texts.same, "a") == "a"


@scene
async def applications(fail: Fail) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        if scope["path"] == "/begun":
            await send(start())
            await send(part(b"a", more=True))
        if scope["path"] != "/good":
            fail()
        await send(start())
        await send(part(b"good"))

    async with mounted(application, config={"protocols": ("native", "http")}) as client:
        assert (await client.get("/bad")).status == 500
    async with mounted(application) as client:
        await caught(client.get("/begun"))
        async with await type(client).to(client.address) as other:
            assert (await other.get("/good")).body == b"good"


@scene
async def lifespans_of_applications(fail: Fail) -> None:
    for step in ("scope", "lifespan.startup", "serving", "lifespan.shutdown"):

        async def application(scope: Any, receive: Any, send: Any, step: str = step) -> None:
            if scope["type"] == "http":
                await send(start())
                await send(part(b"good"))
                return
            if step == "scope":
                fail()
            for event in ("lifespan.startup", "lifespan.shutdown"):
                assert (await receive())["type"] == event
                if step == event:
                    fail()
                await send({"type": f"{event}.complete"})
                if step == "serving":
                    fail()

        try:
            async with mounted(application) as client:
                assert (await client.get("/good")).body == b"good"
        except fastrpc.ConfigError:
            assert step == "lifespan.startup"


@scene
async def check_of_a_setting_without_a_loop(fail: Fail) -> None:
    def check(value: int) -> None:
        if value == 2:
            fail()

    store = open_store("memory://blocking")
    with store:
        await asyncio.to_thread(store.put, "limit", 1)
        following = await asyncio.to_thread(store.follow, "limit", int, check=check)
        await asyncio.to_thread(store.put, "limit", 2)
        await asyncio.to_thread(store.put, "limit", 3)
        await eventually(lambda: following.value == 3)


@scene
async def selectors_of_a_blocking_client(fail: Fail) -> None:
    class Selector:
        where = ""

        def update(self, endpoints: Any) -> None:
            self.endpoints = endpoints

        def pick(self, call: Any) -> Any:
            if self.where == "pick":
                fail()
            return self.endpoints[0]

        def observe(self, endpoint: Any, seconds: float, error: Any) -> None:
            if self.where == "observe":
                fail()

    def play() -> None:
        selector = Selector()
        with serving(Good) as first, serving(Good) as second:
            with fastrpc.SyncClient([first, second], selector=selector) as client:
                selector.where = "observe"
                assert client.call("good.double", 2) == 4
                selector.where = "pick"
                try:
                    client.call("good.double", 2)
                except Exception:
                    selector.where = ""
                assert client.call("good.double", 2) == 4

    await asyncio.to_thread(play)
