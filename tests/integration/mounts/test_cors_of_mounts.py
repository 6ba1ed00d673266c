"""Methods that take over routes of mounted applications with middleware for CORS: a warning at the start names both."""

import logging
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from tests.support.mounted import Stock, answering

pytestmark = pytest.mark.one_loop


def fastapi_page(prefix: str = "/items", *, is_included: bool = False) -> Any:
    """Return an application of FastAPI with a route of an item below a prefix."""
    from fastapi import APIRouter, FastAPI

    app = FastAPI()
    router = APIRouter() if is_included else app.router

    @router.get(f"{'' if is_included else prefix}/{{name}}")
    def item(name: str) -> str:
        return name

    if is_included:
        app.include_router(router, prefix=prefix)
    return app


def with_cors(app: Any) -> Any:
    from fastapi.middleware.cors import CORSMiddleware

    app.add_middleware(CORSMiddleware, allow_origins=["https://front.example"])
    return app


def around(app: Any) -> Any:
    """Return an application inside middleware for CORS, and that inside other middleware."""
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    return GZipMiddleware(CORSMiddleware(app, allow_origins=["https://front.example"]))


def inside(app: Any) -> Any:
    """Return an application with another one in it."""
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/items", app)
    return outer


async def _named(self: Any, name: str) -> str:
    return name


async def _rest(self: Any, rest: str) -> str:
    return rest


async def _plain(self: Any) -> str:
    return ""


#: By the parameter in the path.
HANDLERS = {"name": _named, "rest": _rest}


async def warnings_of(
    mounts: dict[str, Any], caplog: pytest.LogCaptureFixture, *services: Any, **http: Any
) -> list[str]:
    """Start a server with these applications; return the warnings about CORS."""
    caplog.clear()
    config = ServerConfig(protocols=("http",), http=HTTP(mounts=mounts, **http))
    async with Server(Stock(), *services, config=config) as server:
        await server.listen("tcp://127.0.0.1:0")
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [text for text in told if "CORS" in text]


@pytest.mark.parametrize(
    "app",
    [
        lambda: with_cors(fastapi_page()),
        lambda: with_cors(fastapi_page(is_included=True)),
        lambda: around(fastapi_page()),
        lambda: inside(with_cors(fastapi_page(""))),
        lambda: with_cors(inside(fastapi_page(""))),
    ],
    ids=["middleware", "included router", "around", "inside", "around an inner one"],
)
async def test_a_method_that_takes_over_a_route_is_named(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    (told,) = await warnings_of({"/": app()}, caplog)
    assert "stock.item (/items/{name})" in told
    assert "application at /" in told
    assert "HTTP.cors_origins" in told
    assert "stock.count" not in told


async def test_a_route_below_a_prefix_is_compared_with_its_full_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (told,) = await warnings_of({"/items": with_cors(fastapi_page(""))}, caplog)
    assert "stock.item (/items/{name})" in told
    assert await warnings_of({"/shop": with_cors(fastapi_page())}, caplog) == []


async def test_a_method_at_its_own_path_also_replaces_a_route(caplog: pytest.LogCaptureFixture) -> None:
    from fastapi import FastAPI

    app = with_cors(FastAPI())
    app.add_api_route("/stock/{method}", lambda method: method, methods=["PUT"])
    (told,) = await warnings_of({"/": app}, caplog)
    assert "stock.count (/stock/{method})" in told
    assert "stock.item (/stock/{method})" in told


@pytest.mark.parametrize(
    ("route", "path", "is_taken"),
    [
        ("GET /shop/{name}", "/shop/latest", True),
        ("GET /shop/latest", "/shop/{name}", True),
        ("GET /shop/latest", "/shop/{number:int}", False),
        ("GET /shop/7", "/shop/{number:int}", True),
        ("GET /shop/{name}", "/shop/{name}/lines", False),
        ("GET /shop/{rest:path}", "/shop/{name}/lines", True),
        ("GET /shop/a/b", "/shop/{rest:path}", True),
        ("GET /shop/report", "/shop/{name}.json", False),
        ("GET /shop/a.json", "/shop/{name}.json", True),
        ("GET /shop", "/shop/", False),
        ("DELETE /shop/{name}", "/shop/{name}", False),
    ],
)
async def test_paths_that_fit_both_templates_are_taken_over(
    route: str, path: str, is_taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Route

    handler: Any = next((one for name, one in HANDLERS.items() if f"{{{name}" in route), _plain)
    marked = fastrpc.method("take", safe=route.startswith("GET"), http=route)(handler)
    taking = fastrpc.service("taking")(type("Taking", (), {"take": marked}))
    app = around(Starlette(routes=[Route(path, lambda request: None, methods=["GET"])]))
    told = await warnings_of({"/": app}, caplog, taking())
    assert [f"taking.take ({path})" in text for text in told] == [True] * is_taken


async def test_nothing_is_said_where_pages_are_told_of_or_no_middleware_answers_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await warnings_of({"/": fastapi_page()}, caplog) == []
    assert await warnings_of({"/": answering(b"ok")}, caplog) == []
    app = with_cors(fastapi_page())
    assert await warnings_of({"/": app}, caplog, cors_origins=("https://front.example",)) == []
    assert await warnings_of({"/": app}, caplog, json=False, jsonrpc=True) == []


async def test_many_methods_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    from fastapi import FastAPI

    methods = {f"m{number}": _numbered() for number in range(30)}
    many = fastrpc.service("many")(type("Many", (), methods))
    app = with_cors(FastAPI())
    app.add_api_route("/many/{method}", lambda method: method, methods=["POST"])
    (told,) = await warnings_of({"/": app}, caplog, many())
    assert "many.m0 (/many/{method})" in told
    assert told.count("/many/{method}") == 20
    assert "and 10 more" in told


def _numbered() -> Any:
    async def number(self: Any) -> int:
        return 1

    return fastrpc.method(number)
