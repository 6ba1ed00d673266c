"""An application of FastAPI next to the methods of a server; one of Starlette if FastAPI is not installed."""

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from demo_process import check, say

import fastrpc

__all__ = ["show_mounts"]


@fastrpc.service("moved")
class Moved:
    """The route that has become a method."""

    @fastrpc.method(safe=True, http="GET /orders/{number}")
    async def order(self, number: int) -> str:
        return f"order {number}, by a method"


def application() -> tuple[str, Callable[..., Awaitable[None]]]:
    """Return an application with two routes, and its framework."""
    try:
        from fastapi import FastAPI
    except ImportError:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        async def answer(request: Request) -> JSONResponse:
            number = request.path_params["number"]
            return JSONResponse(f"{request.url.path.split('/')[1][:-1]} {number}, by Starlette")

        paths = ("/orders/{number}", "/prices/{number}")
        return "Starlette", Starlette(routes=[Route(path, answer) for path in paths])
    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(number: int) -> str:
        return f"order {number}, by FastAPI"

    @app.get("/prices/{number}")
    async def price(number: int) -> str:
        return f"price {number}, by FastAPI"

    return "FastAPI", app


async def show_mounts() -> None:
    """Serve an application, then one of its routes by a method."""
    framework, app = application()
    say(f"An application of {framework} on that port: HTTP(mounts={{'/': app}})")
    config = fastrpc.ServerConfig(protocols=("native", "http"), http=fastrpc.HTTP(mounts={"/": app}))
    async with fastrpc.Server(config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        url = f"http://127.0.0.1:{address.port}"
        check(
            await read(f"{url}/orders/7") == f"order 7, by {framework}",
            f"GET /orders/7 is answered by {framework}",
        )
        server.add(Moved())
        check(
            await read(f"{url}/orders/7") == "order 7, by a method",
            "then by the method that has taken its route",
        )
        check(
            await read(f"{url}/prices/7") == f"price 7, by {framework}",
            f"GET /prices/7 stays with {framework}",
        )


async def read(url: str) -> Any:
    """Return the value that a URL has."""
    with await asyncio.to_thread(urllib.request.urlopen, url, timeout=30) as answer:
        return json.loads(answer.read())
