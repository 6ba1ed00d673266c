"""Pages about a client's requests: JSON, forms, files, and the raw request."""

from typing import Annotated, Any

from fastapi import Body, FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, HttpUrl

from tests.support.http_talk import HttpClient, request
from tests.support.tutorial.page import FORM, MULTIPART, Page, multipart, sent

__all__ = ["PAGES"]


class Tea(BaseModel):
    name: str
    price: float
    tax: float | None = None


def body() -> FastAPI:
    app = FastAPI()

    @app.post("/teas", status_code=201)
    async def add(tea: Tea) -> dict[str, Any]:
        return {**tea.model_dump(), "total": tea.price + (tea.tax or 0)}

    @app.put("/teas/{number}")
    async def replace(number: int, tea: Tea, note: str = "") -> list[Any]:
        return [number, tea.name, note]

    return app


async def ask_body(client: HttpClient, at: str) -> None:
    answer = await client.post(f"{at}/teas", {"name": "Assam", "price": 3.5, "tax": 0.5})
    assert (answer.status, answer.value["total"]) == (201, 4.0)
    wrong = await client.post(f"{at}/teas", {"name": "Assam", "price": "dear"})
    assert (wrong.status, wrong.value["detail"][0]["loc"]) == (422, ["body", "price"])
    assert (await client.post(f"{at}/teas", b'{"name": ')).status == 422
    answer = await sent(client, "PUT", f"{at}/teas/3?note=new", {"name": "Assam", "price": 1})
    assert answer.value == [3, "Assam", "new"]


class Guest(BaseModel):
    name: str


def body_multiple_params() -> FastAPI:
    app = FastAPI()

    @app.put("/orders/{number}")
    async def order(number: int, tea: Tea, guest: Guest, cups: Annotated[int, Body(gt=0)]) -> list[Any]:
        return [number, tea.name, guest.name, cups]

    @app.post("/embedded")
    async def embedded(tea: Annotated[Tea, Body(embed=True)]) -> str:
        return tea.name

    return app


async def ask_body_multiple_params(client: HttpClient, at: str) -> None:
    tea = {"name": "Assam", "price": 1}
    order = {"tea": tea, "guest": {"name": "Ann"}, "cups": 2}
    assert (await sent(client, "PUT", f"{at}/orders/7", order)).value == [7, "Assam", "Ann", 2]
    assert (await sent(client, "PUT", f"{at}/orders/7", {**order, "cups": 0})).status == 422
    assert (await sent(client, "PUT", f"{at}/orders/7", tea)).status == 422
    assert (await client.post(f"{at}/embedded", {"tea": tea})).value == "Assam"


class Picture(BaseModel):
    url: HttpUrl
    title: str = ""


class Blend(BaseModel):
    name: str = Field(max_length=20)
    tags: set[str] = set()
    pictures: list[Picture] = []


def body_nested_models() -> FastAPI:
    app = FastAPI()

    @app.post("/blends")
    async def blend(blend: Blend) -> Blend:
        return blend

    @app.post("/weights")
    async def weights(weights: dict[int, float]) -> float:
        return sum(number * weight for number, weight in weights.items())

    @app.post("/pictures")
    async def pictures(pictures: list[Picture]) -> list[str]:
        return [str(picture.url) for picture in pictures]

    return app


async def ask_body_nested_models(client: HttpClient, at: str) -> None:
    picture = {"url": "https://tea.example/a.png", "title": "leaves"}
    blend = {"name": "Morning", "tags": ["a", "a"], "pictures": [picture]}
    assert (await client.post(f"{at}/blends", blend)).value == {**blend, "tags": ["a"]}
    wrong = await client.post(f"{at}/blends", {"name": "Morning", "pictures": [picture, {"url": "nowhere"}]})
    assert wrong.value["detail"][0]["loc"] == ["body", "pictures", 1, "url"]
    assert (await client.post(f"{at}/weights", {"2": 0.5, "10": 1.5})).value == 16.0
    assert (await client.post(f"{at}/weights", {"two": 1})).status == 422
    many = [{"url": f"https://tea.example/{number}"} for number in range(5_000)]
    assert len((await client.post(f"{at}/pictures", many)).value) == 5_000


class Change(BaseModel):
    name: str | None = None
    price: float | None = None


def body_updates() -> FastAPI:
    app = FastAPI()
    kept = {"assam": Tea(name="Assam", price=3.0)}

    @app.patch("/teas/{key}")
    async def update(key: str, change: Change) -> Tea:
        if key not in kept:
            raise HTTPException(404, "no such tea")
        kept[key] = kept[key].model_copy(update=change.model_dump(exclude_unset=True))
        return kept[key]

    return app


async def ask_body_updates(client: HttpClient, at: str) -> None:
    for change, found in (
        ({"price": 4}, ["Assam", 4.0]),
        ({"name": "Best"}, ["Best", 4.0]),
        ({}, ["Best", 4.0]),
    ):
        tea = (await sent(client, "PATCH", f"{at}/teas/assam", change)).value
        assert [tea["name"], tea["price"]] == found
    missing = await sent(client, "PATCH", f"{at}/teas/none", {})
    assert (missing.status, missing.value) == (404, {"detail": "no such tea"})


class Login(BaseModel):
    name: str
    password: str = Field(min_length=4)


def request_forms() -> FastAPI:
    app = FastAPI()

    @app.post("/login")
    async def login(name: Annotated[str, Form()], cups: Annotated[list[int], Form()]) -> list[Any]:
        return [name, cups]

    @app.post("/model")
    async def model(login: Annotated[Login, Form()]) -> str:
        return login.name

    return app


async def ask_request_forms(client: HttpClient, at: str) -> None:
    answer = await client.post(f"{at}/login", b"name=Ann+%C3%84&cups=1&cups=2", **FORM)
    assert answer.value == ["Ann Ä", [1, 2]]
    assert (await client.post(f"{at}/login", b"name=Ann", **FORM)).status == 422
    assert (await client.post(f"{at}/model", b"name=Ann&password=1234", **FORM)).value == "Ann"
    form = multipart(("name", None, b"Ann"), ("password", None, b"1234"))
    assert (await client.post(f"{at}/model", form, **MULTIPART)).value == "Ann"
    assert (await client.post(f"{at}/model", {"name": "Ann", "password": "1234"})).status == 422


def request_files() -> FastAPI:
    app = FastAPI()

    @app.post("/size")
    async def size(file: Annotated[bytes, File()]) -> int:
        return len(file)

    @app.post("/upload")
    async def upload(files: list[UploadFile]) -> list[list[Any]]:
        return [[file.filename, file.content_type, (await file.read())[-3:].decode()] for file in files]

    return app


async def ask_request_files(client: HttpClient, at: str) -> None:
    large = b"x" * 2_000_000 + b"end"
    assert (await client.post(f"{at}/size", multipart(("file", "a", large)), **MULTIPART)).value == len(large)
    form = multipart(("files", "a.txt", large), ("files", "b.txt", b"...two"))
    found = [["a.txt", "text/plain", "end"], ["b.txt", "text/plain", "two"]]
    assert (await client.post(f"{at}/upload", form, **MULTIPART)).value == found
    assert (await client.post(f"{at}/upload", b"files=1", **FORM)).status == 422


def request_forms_and_files() -> FastAPI:
    app = FastAPI()

    @app.post("/both")
    async def both(
        token: Annotated[str, Form()], first: Annotated[bytes, File()], second: UploadFile | None = None
    ) -> list[Any]:
        return [token, len(first), None if second is None else second.size]

    return app


async def ask_request_forms_and_files(client: HttpClient, at: str) -> None:
    parts = [("first", "a", b"12345"), ("token", None, b"t"), ("second", "b", b"123")]
    assert (await client.post(f"{at}/both", multipart(*parts), **MULTIPART)).value == ["t", 5, 3]
    assert (await client.post(f"{at}/both", multipart(*parts[:2]), **MULTIPART)).value == ["t", 5, None]
    assert (await client.post(f"{at}/both", multipart(*parts[1:]), **MULTIPART)).status == 422


def using_request_directly() -> FastAPI:
    app = FastAPI()

    @app.post("/raw")
    async def raw(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    @app.post("/stream")
    async def stream(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @app.api_route("/about", methods=["GET", "DELETE", "OPTIONS"])
    async def about(request: Request) -> list[Any]:
        assert request.client is not None
        return [request.method, request.url.path, request.client.host, request.query_params.getlist("a")]

    return app


async def ask_using_request_directly(client: HttpClient, at: str) -> None:
    assert (await client.post(f"{at}/raw", b"x" * 300_000)).body == b"300000"
    head = request("POST", f"{at}/stream", Content_Length=None, Transfer_Encoding="chunked")
    client.send(head + b"".join(b"400\r\n%b\r\n" % bytes(1024) for _ in range(300)) + b"0\r\n\r\n")
    assert (await client.response()).value == 300 * 1024
    for method in ("GET", "DELETE", "OPTIONS"):
        found = (await client.ask(method, f"{at}/about?a=1&a=2")).value
        assert found == [method, f"{at}/about", "127.0.0.1", ["1", "2"]]


PAGES = {
    "body": Page(body, ask_body),
    "body-multiple-params": Page(body_multiple_params, ask_body_multiple_params),
    "body-nested-models": Page(body_nested_models, ask_body_nested_models),
    "body-updates": Page(body_updates, ask_body_updates),
    "request-forms": Page(request_forms, ask_request_forms),
    "request-files": Page(request_files, ask_request_files),
    "request-forms-and-files": Page(request_forms_and_files, ask_request_forms_and_files),
    "advanced/using-request-directly": Page(using_request_directly, ask_using_request_directly),
}
