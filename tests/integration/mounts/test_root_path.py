"""The start of paths that a proxy strips, in mounted applications as under uvicorn, and in pages of the gateway."""

import warnings
from typing import Any

import pytest

from fastrpc import HTTP, ConfigError, ServerConfig, asgi
from tests.support.hosted import in_uvicorn
from tests.support.http_talk import HttpClient
from tests.support.mounted import mounted
from tests.support.socket_client import SocketClient

pytestmark = pytest.mark.one_loop

ROOT = "/api/v1"


def main_page(**options: Any) -> Any:
    """Return an application as FastAPI's guide has it for proxies, with a redirect and an application in it."""
    from fastapi import FastAPI, Request

    with warnings.catch_warnings():
        # FastAPI wants its server to name the root path; programs that name it themselves still work.
        warnings.simplefilter("ignore")
        app, inner = FastAPI(**options), FastAPI()

    @app.get("/app")
    def read_main(request: Request) -> dict[str, Any]:
        return {"message": "Hello World", "root_path": request.scope.get("root_path")}

    @app.get("/list/")
    def items(request: Request) -> dict[str, Any]:
        scope = request.scope
        return {"path": scope["path"], "raw": scope["raw_path"].decode(), "url": request.url.path}

    @inner.get("/sub")
    def read_sub(request: Request) -> dict[str, Any]:
        return {"root_path": request.scope.get("root_path"), "path": request.scope["path"]}

    app.mount("/subapi", inner)
    return app


SERVERS = [
    {"url": "https://stag.example.com", "description": "Staging environment"},
    {"url": "https://prod.example.com", "description": "Production environment"},
]

#: The programs of the guide: the prefix by the server, by the application, and with addresses in the document.
PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "by the server": (ROOT, {}),
    "by the application": ("", {"root_path": ROOT}),
    "with servers": (ROOT, {"servers": [{"url": "https://stag.example", "description": "Staging"}]}),
    "with servers alone": (
        ROOT,
        {"servers": [{"url": "https://stag.example"}], "root_path_in_servers": False},
    ),
    "by the application, with servers": ("", {"servers": SERVERS, "root_path": ROOT}),
    "by the application, with servers alone": (
        "",
        {"servers": SERVERS, "root_path": ROOT, "root_path_in_servers": False},
    ),
}
PATHS = (
    "/app",
    "/list",
    "/list/?q=%20",
    "/list/%C3%A4",
    "/subapi/sub",
    "/openapi.json",
    "/docs",
    "/subapi/openapi.json",
)


async def answers(client: HttpClient) -> list[tuple[int, str, bytes]]:
    found = []
    for path in PATHS:
        answer = await client.get(path, Host="shop.example")
        found.append((answer.status, dict(answer.fields).get("location", ""), answer.body))
    return found


@pytest.mark.parametrize("program", PROGRAMS)
async def test_applications_answer_as_under_uvicorn(program: str) -> None:
    root, options = PROGRAMS[program]
    async with in_uvicorn(main_page(**options), root_path=root) as port:
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
            theirs = await answers(client)
    async with mounted(main_page(**options), http={"root_path": root, "allowed_hosts": ("*",)}) as client:
        assert await answers(client) == theirs
    assert theirs[1] == (307, f"http://shop.example{root}/list/" if root else theirs[1][1], b"")


@pytest.mark.parametrize("options", [{}, {"root_path": ROOT}, {"servers": SERVERS}], ids=str)
async def test_a_document_that_an_application_keeps_has_the_root_path_of_each_server(options: Any) -> None:
    ours, theirs = main_page(**options), main_page(**options)
    for root in ("/one", "", "/two", "/one", ROOT):
        async with in_uvicorn(theirs, root_path=root) as port:
            async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
                known = (await client.get("/openapi.json")).value
        async with mounted(ours, http={"root_path": root}) as client:
            assert (await client.get("/openapi.json")).value == known


async def test_hosts_that_an_application_checks_by_patterns_are_those_under_uvicorn() -> None:
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    def page() -> Any:
        app = FastAPI()
        hosts = ["example.com", "*.example.com"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=True)
        app.add_api_route("/", lambda: {"message": "Hello World"})
        return app

    async def asked(client: HttpClient) -> list[Any]:
        found = []
        for host in (
            "example.com",
            "a.example.com:8000",
            "a.b.example.com",
            "EXAMPLE.com",
            "evilexample.com",
        ):
            answer = await client.get("/", Host=host)
            found.append((host, answer.status, dict(answer.fields).get("location"), answer.body))
        return found

    async with in_uvicorn(page()) as port:
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
            theirs = await asked(client)
    async with mounted(page(), http={"allowed_hosts": ("*",)}) as client:
        assert await asked(client) == theirs
    # The server refuses a foreign host itself, before the application.
    async with mounted(page(), http={"allowed_hosts": ("example.com", "*.example.com")}) as client:
        ours = await asked(client)
    assert ours[:3] == theirs[:3]
    assert ours[4][1] == 421


async def test_root_path_stands_in_front_of_the_prefix_of_a_mount() -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        seen.append((scope["type"], scope["root_path"], scope["path"], scope["raw_path"]))
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with mounted({"/shop": application}, http={"root_path": ROOT}) as client:
        await client.get("/shop/a%20b")
        assert (await SocketClient(client).open("/shop/talk")).status == 101
    assert seen == [
        ("http", "/api/v1/shop", "/api/v1/shop/a b", b"/api/v1/shop/a%20b"),
        ("websocket", "/api/v1/shop", "/api/v1/shop/talk", b"/api/v1/shop/talk"),
    ]


async def test_pages_of_the_gateway_name_the_root_path() -> None:
    async with mounted({}, http={"root_path": ROOT}) as client:
        assert (await client.get("/openapi.json")).value["servers"] == [{"url": ROOT}]
        assert b'href="/api/v1/docs"' in (await client.get("/")).body
        # The proxy strips the prefix: methods are where they were.
        assert (await client.get("/stock/count?name=tea")).value == 3


def test_a_server_around_an_asgi_application_tells_the_root_path_itself() -> None:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(root_path=ROOT))
    with pytest.raises(ConfigError, match="root_path"):
        asgi(config=config)
