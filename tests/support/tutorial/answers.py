"""Pages about an application's answers: models, errors, other responses, files, messages; and tasks after them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import (
    BackgroundTasks,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from tests.support.http_talk import HttpClient
from tests.support.socket_client import SocketClient
from tests.support.tutorial.page import Page, asked_until

__all__ = ["PAGES"]

FOLDER = Path(__file__).parent


class Guest(BaseModel):
    name: str
    age: int | None = None


class NewGuest(Guest):
    password: str


def response_model() -> FastAPI:
    app = FastAPI()

    @app.post("/guests", response_model=Guest)
    async def add(guest: NewGuest) -> Any:
        return guest

    @app.post("/set", response_model=Guest, response_model_exclude_unset=True)
    async def only_set(guest: NewGuest) -> Any:
        return guest

    return app


async def ask_response_model(client: HttpClient, at: str) -> None:
    given = {"name": "Ann", "password": "1234"}
    assert (await client.post(f"{at}/guests", given)).value == {"name": "Ann", "age": None}
    assert (await client.post(f"{at}/set", given)).value == {"name": "Ann"}


def response_status_code() -> FastAPI:
    app = FastAPI()

    @app.post("/teas", status_code=201)
    async def add(name: str) -> str:
        return name

    @app.delete("/teas", status_code=204)
    async def remove() -> None:
        return None

    @app.put("/teas")
    async def put(response: Response, name: str) -> str:
        response.status_code = 202 if name == "new" else 200
        return name

    return app


async def ask_response_status_code(client: HttpClient, at: str) -> None:
    assert (await client.post(f"{at}/teas?name=a")).status == 201
    answer = await client.ask("DELETE", f"{at}/teas")
    assert (answer.status, answer.body, "content-length" in answer) == (204, b"", False)
    for name, status in (("new", 202), ("old", 200)):
        assert (await client.ask("PUT", f"{at}/teas?name={name}", Content_Length="0")).status == status


class SoldOutError(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def handling_errors() -> FastAPI:
    app = FastAPI()

    @app.exception_handler(SoldOutError)
    async def sold_out(request: Request, error: SoldOutError) -> JSONResponse:
        return JSONResponse({"sold out": error.name}, status_code=418)

    @app.exception_handler(RequestValidationError)
    async def unfit(request: Request, error: RequestValidationError) -> PlainTextResponse:
        return PlainTextResponse(f"{len(error.errors())} mistakes", status_code=400)

    @app.get("/teas/{number}")
    async def tea(number: int) -> str:
        if number == 3:
            raise HTTPException(404, {"number": number}, headers={"X-Error": "no such tea"})
        if number == 4:
            raise SoldOutError("Assam")
        return "here"

    return app


async def ask_handling_errors(client: HttpClient, at: str) -> None:
    missing = await client.get(f"{at}/teas/3")
    assert (missing.status, missing.value) == (404, {"detail": {"number": 3}})
    assert missing["x-error"] == "no such tea"
    sold_out = await client.get(f"{at}/teas/4")
    assert (sold_out.status, sold_out.value) == (418, {"sold out": "Assam"})
    unfit = await client.get(f"{at}/teas/x")
    assert (unfit.status, unfit.body) == (400, b"1 mistakes")
    assert (await client.get(f"{at}/nothing")).value == {"detail": "Not Found"}
    # None of these ended the connection.
    assert (await client.get(f"{at}/teas/1")).value == "here"


def path_operation_configuration() -> FastAPI:
    app = FastAPI()

    @app.get("/teas", tags=["teas"], summary="All teas", response_description="Their names", deprecated=True)
    async def teas() -> list[str]:
        """Return them in *their* order."""
        return ["Assam"]

    return app


async def ask_path_operation_configuration(client: HttpClient, at: str) -> None:
    told = (await client.get(f"{at}/openapi.json")).value["paths"]["/teas"]["get"]
    assert (told["tags"], told["summary"], told["deprecated"]) == (["teas"], "All teas", True)
    assert told["description"] == "Return them in *their* order."
    assert told["responses"]["200"]["description"] == "Their names"


def custom_response() -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)

    @app.get("/plain")
    async def plain() -> str:
        return "tea"

    @app.get("/page", response_class=HTMLResponse)
    async def page() -> str:
        return "<h1>tea</h1>"

    @app.get("/elsewhere")
    async def elsewhere() -> RedirectResponse:
        return RedirectResponse("/plain", status_code=307)

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(FOLDER / "answers.py", filename="tea.txt")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(100):
                yield b"%d;" % number
                await asyncio.sleep(0)

        return StreamingResponse(parts(), media_type="text/csv")

    return app


async def ask_custom_response(client: HttpClient, at: str) -> None:
    plain = await client.get(f"{at}/plain")
    assert (plain.body, plain["content-type"]) == (b"tea", "text/plain; charset=utf-8")
    assert (await client.get(f"{at}/page"))["content-type"] == "text/html; charset=utf-8"
    answer = await client.get(f"{at}/elsewhere")
    assert (answer.status, answer["location"], answer.body) == (307, "/plain", b"")
    answer = await client.get(f"{at}/file")
    assert answer.body == (FOLDER / "answers.py").read_bytes()
    assert answer["content-disposition"] == 'attachment; filename="tea.txt"'
    answer = await client.get(f"{at}/stream")
    assert answer.body == b"".join(b"%d;" % number for number in range(100))
    assert answer["content-type"].startswith("text/csv")


def response_cookies() -> FastAPI:
    app = FastAPI()

    @app.get("/set")
    async def set_two(response: Response) -> str:
        response.set_cookie("session", "a b", httponly=True)
        response.set_cookie("seen", "1", max_age=60)
        response.headers["X-Tea"] = "Assam"
        return "set"

    return app


async def ask_response_cookies(client: HttpClient, at: str) -> None:
    answer = await client.get(f"{at}/set")
    cookies = [value for name, value in answer.fields if name == "set-cookie"]
    assert [cookie.partition(";")[0] for cookie in cookies] == ['session="a b"', "seen=1"]
    assert ("HttpOnly" in cookies[0], "Max-Age=60" in cookies[1], answer["x-tea"]) == (True, True, "Assam")


def static_files() -> FastAPI:
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=FOLDER), name="static")
    return app


async def ask_static_files(client: HttpClient, at: str) -> None:
    content = (FOLDER / "answers.py").read_bytes()
    answer = await client.get(f"{at}/static/answers.py")
    assert (answer.body, answer["content-length"]) == (content, str(len(content)))
    same = await client.get(f"{at}/static/answers.py", If_None_Match=answer["etag"])
    assert (same.status, same.body) == (304, b"")
    part = await client.get(f"{at}/static/answers.py", Range="bytes=3-11")
    assert (part.status, part.body) == (206, content[3:12])
    head = await client.ask("HEAD", f"{at}/static/answers.py")
    assert (head.status, head["content-length"]) == (200, str(len(content)))
    for target in ("/static/none.py", "/static/../page.py", "/static/%2e%2e/mounted.py"):
        assert (await client.get(at + target)).status == 404


def background_tasks() -> FastAPI:
    app = FastAPI()
    written: list[str] = []

    def write(text: str) -> None:
        written.append(text)

    @app.post("/tell/{name}")
    async def tell(name: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(write, f"tea for {name}")
        return "soon"

    @app.get("/written")
    async def read() -> list[str]:
        return written

    return app


async def ask_background_tasks(client: HttpClient, at: str) -> None:
    assert (await client.post(f"{at}/tell/Ann")).value == "soon"
    await asked_until(client, f"{at}/written", ["tea for Ann"])


def websockets() -> FastAPI:
    app = FastAPI()

    @app.websocket("/rooms/{room}")
    async def talk(socket: WebSocket, room: int, token: str = "") -> None:
        if token != "secret":
            raise WebSocketException(1008, "no token")
        await socket.accept()
        try:
            while True:
                await socket.send_json([room, await socket.receive_json()])
        except WebSocketDisconnect as error:
            app.state.left = error.code

    @app.get("/left")
    async def left() -> int | None:
        return getattr(app.state, "left", None)

    return app


async def ask_websockets(client: HttpClient, at: str) -> None:
    async with await HttpClient.to(client.address) as http:  # type: ignore[attr-defined]
        assert (await SocketClient(http).open(f"{at}/rooms/7")).status == 403
    async with await HttpClient.to(client.address) as http:  # type: ignore[attr-defined]
        talk = SocketClient(http)
        assert (await talk.open(f"{at}/rooms/7?token=secret")).status == 101
        for number in range(3):
            talk.send({"cups": number})
            assert await talk.receive() == [7, {"cups": number}]
    await asked_until(client, f"{at}/left", 1006)


PAGES = {
    "response-model": Page(response_model, ask_response_model),
    "response-status-code": Page(response_status_code, ask_response_status_code),
    "handling-errors": Page(handling_errors, ask_handling_errors),
    "path-operation-configuration": Page(path_operation_configuration, ask_path_operation_configuration),
    "static-files": Page(static_files, ask_static_files),
    "background-tasks": Page(background_tasks, ask_background_tasks),
    "advanced/custom-response": Page(custom_response, ask_custom_response),
    "advanced/response-cookies": Page(response_cookies, ask_response_cookies),
    "advanced/websockets": Page(websockets, ask_websockets),
}
