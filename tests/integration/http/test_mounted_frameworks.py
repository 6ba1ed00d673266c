"""Applications of Starlette and Django, mounted in a server; tests with FastAPI are in `tests/integration/mounts`."""

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from fastrpc import ConfigError
from tests.support.http_talk import request
from tests.support.mounted import mounted
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def test_files_and_mounts_of_starlette(tmp_path: Any) -> None:
    (tmp_path / "page.bin").write_bytes(bytes(range(256)) * 2_000)

    async def page(request: Any) -> FileResponse:
        return FileResponse(tmp_path / "page.bin")

    app = Starlette(routes=[Mount("/static", routes=[Route("/page", page)])])
    async with mounted(app) as client:
        assert (await client.get("/static/page")).body == bytes(range(256)) * 2_000
        part = await client.get("/static/page", Range="bytes=10-19")
        assert (part.status, part.body) == (206, bytes(range(10, 20)))


async def test_application_at_several_paths_has_one_lifespan_and_one_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        steps.append("started")
        yield {"pool": object()}
        steps.append("ended")

    async def pool(request: Any) -> PlainTextResponse:
        return PlainTextResponse(f"{id(request.state.pool)}")

    def made() -> Starlette:
        return Starlette(routes=[Route("/pool", pool)], lifespan=lifespan)

    module = ModuleType("mounted_twice")
    module.app = made()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mounted_twice", module)
    mounts = {"/v1": module.app, "/v2/long": "mounted_twice:app", "/other": made()}
    async with mounted(mounts) as client:
        assert steps == ["started"] * 2
        first, second, other = [(await client.get(f"{prefix}/pool")).body for prefix in mounts]
        assert first == second
        assert first != other
    assert steps == ["started"] * 2 + ["ended"] * 2


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_startup_or_shutdown_error_of_an_application_is_reported_once(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if step == "startup":
            raise OSError("no database")
        yield
        raise OSError("no database")

    with pytest.raises(ConfigError) if step == "startup" else contextlib.nullcontext() as caught:
        async with mounted(Starlette(lifespan=lifespan)):
            pass
    gc.collect()
    told = [record.getMessage() for record in caplog.records] + ([str(caught.value)] if caught else [])
    assert [text.count("OSError: no database") for text in told] == [1]


async def test_server_sent_events_until_the_client_leaves() -> None:
    left = asyncio.Event()

    async def events(request: Any) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            try:
                number = 0
                while True:
                    yield f"data: {number}\n\n"
                    number += 1
                    await asyncio.sleep(0.001)
            finally:
                left.set()

        return StreamingResponse(lines(), media_type="text/event-stream")

    async with mounted(Starlette(routes=[Route("/events", events)])) as client:
        client.send(request("GET", "/events"))
        assert (await client.head())["content-type"].startswith("text/event-stream")
        assert [await client.chunk() for _ in range(3)] == [b"data: %d\n\n" % number for number in range(3)]
        client.writer.transport.abort()
        await eventually(left.is_set)


async def test_handler_of_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mounted_django")
    module: Any = sys.modules.setdefault("mounted_django", ModuleType("mounted_django"))
    module.SECRET_KEY, module.ALLOWED_HOSTS, module.ROOT_URLCONF = "x", ["*"], "mounted_django"
    module.DEFAULT_CHARSET, module.MIDDLEWARE = "utf-8", ["django.middleware.common.CommonMiddleware"]
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, JsonResponse
    from django.urls import path

    async def hello(request: HttpRequest, name: str) -> JsonResponse:
        return JsonResponse({"name": name, "method": request.method, "q": request.GET.get("q")})

    def echo(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.body[::-1], headers={"X-Script": request.META["SCRIPT_NAME"]})

    module.urlpatterns = [path("hello/<str:name>", hello), path("echo", echo)]
    async with mounted({"/django": get_asgi_application()}) as client:
        found = (await client.get("/django/hello/Ada%20L?q=1")).value
        assert found == {"name": "Ada L", "method": "GET", "q": "1"}
        answer = await client.post("/django/echo", b"abc" * 50_000)
        assert (answer.body, answer["x-script"]) == (b"cba" * 50_000, "/django")
        assert (await client.get("/django/none")).status == 404
