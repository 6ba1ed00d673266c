"""Applications of FastAPI, Starlette and Django, as their own tutorials have them, mounted in a server."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from tests.support.http_talk import request
from tests.support.mounted import mounted
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


def tutorial() -> FastAPI:
    """Return the steps of FastAPI's tutorial as routes of one application."""
    app = FastAPI(title="Tutorial")
    app.state.words = []
    add_parameters(app)
    add_bodies(app)
    add_dependencies(app)
    add_responses(app)
    add_streams(app)
    return app


def add_parameters(app: FastAPI) -> None:
    @app.get("/")
    async def first_steps() -> dict[str, str]:
        return {"message": "Hello World"}

    @app.get("/path/{item_id}")
    async def path_parameters(item_id: Annotated[int, Path(ge=1)]) -> dict[str, int]:
        return {"item_id": item_id}

    @app.get("/files/{file_path:path}")
    async def path_convertor(file_path: str) -> dict[str, str]:
        return {"file_path": file_path}

    @app.get("/query")
    async def query_parameters(q: Annotated[list[str], Query()], skip: int = 0) -> dict[str, Any]:
        return {"q": q, "skip": skip}


def add_bodies(app: FastAPI) -> None:
    @app.post("/body", status_code=201)
    async def request_body(item: Item) -> Item:
        return item

    @app.put("/bodies/{item_id}")
    async def multiple_parameters(
        item_id: int, item: Item, importance: Annotated[int, Body()]
    ) -> dict[str, Any]:
        return {"item_id": item_id, "name": item.name, "importance": importance}


def add_dependencies(app: FastAPI) -> None:
    @app.get("/headers")
    async def header_parameters(
        user_agent: Annotated[str | None, Header()] = None, session: Annotated[str | None, Cookie()] = None
    ) -> dict[str, Any]:
        return {"agent": user_agent, "session": session}

    @app.get("/error/{status}")
    async def handling_errors(status: int) -> None:
        raise HTTPException(status_code=status, detail="gone", headers={"X-Error": "there goes my error"})

    @app.get("/sync")
    def blocking() -> dict[str, str]:
        return {"runs": "in a thread"}

    async def common(q: str = "none") -> AsyncIterator[str]:
        yield q

    @app.get("/depends")
    async def dependencies(found: Annotated[str, Depends(common)]) -> str:
        return found


def add_responses(app: FastAPI) -> None:
    @app.get("/html", response_class=HTMLResponse)
    async def custom_response() -> str:
        return "<h1>page</h1>"

    @app.get("/redirect")
    async def redirect() -> RedirectResponse:
        return RedirectResponse("/path/1", status_code=307)

    @app.get("/cookie")
    async def response_cookies(response: Response) -> None:
        response.set_cookie("fakesession", "fake")
        response.set_cookie("second", "2")

    @app.delete("/nothing", status_code=204)
    async def no_content() -> None:
        return None


def add_streams(app: FastAPI) -> None:
    @app.post("/raw")
    async def using_the_request_directly(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    @app.post("/chunks")
    async def stream_of_the_request(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @app.get("/stream")
    async def streaming() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(10):
                yield b"%d;" % number
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(tasks: BackgroundTasks, word: str) -> str:
        tasks.add_task(app.state.words.append, word)
        return "sent"


async def test_steps_of_the_tutorial_of_fastapi() -> None:
    app = tutorial()
    async with mounted(app) as client:
        assert (await client.get("/")).value == {"message": "Hello World"}
        assert (await client.get("/path/7")).value == {"item_id": 7}
        assert [(await client.get(f"/path/{one}")).status for one in ("0", "x")] == [422, 422]
        assert (await client.get("/files//deep/a%20b.txt")).value == {"file_path": "/deep/a b.txt"}
        assert (await client.get("/query?q=a&q=b%26c&skip=2")).value == {"q": ["a", "b&c"], "skip": 2}
        item = {"name": "tea", "price": 3.5, "tags": ["hot"]}
        answer = await client.post("/body", item)
        assert (answer.status, answer.value) == (201, item)
        assert (await client.post("/body", {"name": 7})).status == 422
        sent = {"item": item, "importance": 5}
        fields = {"Content_Type": "application/json", "Content_Length": str(len(json.dumps(sent)))}
        assert (await client.ask("PUT", "/bodies/3", sent, **fields)).value == {
            "item_id": 3,
            "name": "tea",
            "importance": 5,
        }
        found = (await client.get("/headers", User_Agent="curl/8", Cookie="session=abc")).value
        assert found == {"agent": "curl/8", "session": "abc"}
        answer = await client.get("/error/418")
        assert (answer.status, answer.value, answer["x-error"]) == (
            418,
            {"detail": "gone"},
            "there goes my error",
        )
        assert (await client.get("/missing")).value == {"detail": "Not Found"}
        assert (await client.post("/path/7", {})).status == 405
        assert (await client.get("/sync")).value == {"runs": "in a thread"}
        assert [(await client.get(path)).value for path in ("/depends", "/depends?q=x")] == ["none", "x"]


async def test_responses_of_the_tutorial_of_fastapi() -> None:
    app = tutorial()
    async with mounted(app) as client:
        answer = await client.get("/html")
        assert (answer.body, answer["content-type"]) == (b"<h1>page</h1>", "text/html; charset=utf-8")
        answer = await client.get("/redirect")
        assert (answer.status, answer["location"]) == (307, "/path/1")
        cookies = [value for name, value in (await client.get("/cookie")).fields if name == "set-cookie"]
        assert [cookie.partition(";")[0] for cookie in cookies] == ["fakesession=fake", "second=2"]
        answer = await client.ask("DELETE", "/nothing")
        assert (answer.status, answer.body) == (204, b"")
        assert (await client.post("/raw", b"x" * 300_000)).body == b"300000"
        assert (await client.post("/chunks", b"x" * 300_000)).value == 300_000
        assert (await client.get("/stream")).body == b"0;1;2;3;4;5;6;7;8;9;"
        assert (await client.get("/background?word=later")).value == "sent"
        await eventually(lambda: app.state.words == ["later"])
        # Its own document, not that of the gateway.
        assert (await client.get("/openapi.json")).value["info"]["title"] == "Tutorial"
        assert b"swagger" in (await client.get("/docs")).body
        assert (await client.ask("HEAD", "/")).status == 405


async def test_lifespan_and_state_of_fastapi() -> None:
    steps: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        steps.append("up")
        yield {"pool": "made at the start"}
        steps.append("down")

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def read(request: Request) -> str:
        return str(request.state.pool)

    async with mounted(app) as client:
        assert (await client.get("/")).value == "made at the start"
        assert steps == ["up"]
    assert steps == ["up", "down"]


async def test_middlewares_below_a_prefix() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["*"])
    app.add_middleware(GZipMiddleware, minimum_size=100)

    @app.get("/items", name="items")
    async def items(request: Request) -> str:
        return str(request.url_for("items")) + "x" * 200

    async with mounted({"/v1": app}) as client:
        preflight = {"Origin": "https://shop.example", "Access_Control_Request_Method": "GET"}
        answer = await client.ask("OPTIONS", "/v1/items", **preflight)
        assert answer["access-control-allow-origin"] == "https://shop.example"
        assert "/v1/items" in (await client.get("/v1/items")).value
        packed = await client.get("/v1/items", Accept_Encoding="gzip")
        assert packed["content-encoding"] == "gzip"
        assert (await client.get("/items")).status == 404


async def test_files_and_mounts_of_starlette(tmp_path: Any) -> None:
    (tmp_path / "page.bin").write_bytes(bytes(range(256)) * 2_000)

    async def page(request: Any) -> FileResponse:
        return FileResponse(tmp_path / "page.bin")

    app = Starlette(routes=[Mount("/static", routes=[Route("/page", page)])])
    async with mounted(app) as client:
        assert (await client.get("/static/page")).body == bytes(range(256)) * 2_000
        part = await client.get("/static/page", Range="bytes=10-19")
        assert (part.status, part.body) == (206, bytes(range(10, 20)))


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
