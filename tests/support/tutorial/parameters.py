"""Pages about parameters: paths, queries, headers, cookies."""

import enum
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Cookie, FastAPI, Header, Path, Query
from pydantic import BaseModel, Field

from tests.support.http_talk import HttpClient, request
from tests.support.tutorial.page import Page

__all__ = ["PAGES"]


def first_steps() -> FastAPI:
    app = FastAPI(title="Tea house")

    @app.get("/")
    async def welcome() -> dict[str, str]:
        return {"message": "welcome"}

    return app


async def ask_first_steps(client: HttpClient, at: str) -> None:
    answer = await client.get(f"{at}/")
    assert (answer.status, answer["content-type"]) == (200, "application/json")
    assert answer.value == {"message": "welcome"}
    document = (await client.get(f"{at}/openapi.json")).value
    assert (document["info"]["title"], list(document["paths"])) == ("Tea house", ["/"])
    assert f"{at}/openapi.json".encode() in (await client.get(f"{at}/docs")).body
    assert (await client.get(f"{at}/redoc")).status == 200
    assert (await client.post(f"{at}/", {})).status == 405
    assert (await client.ask("HEAD", f"{at}/")).status == 405


class Kind(enum.StrEnum):
    GREEN = "green"
    BLACK = "black"


def path_params() -> FastAPI:
    app = FastAPI()

    @app.get("/teas/best")
    async def best() -> str:
        return "the best one"

    @app.get("/teas/{number}")
    async def tea(number: int) -> int:
        return number

    @app.get("/kinds/{kind}")
    async def kind(kind: Kind) -> dict[str, Any]:
        return {"kind": kind, "is_green": kind is Kind.GREEN}

    @app.get("/leaves/{place:path}")
    async def leaf(place: str) -> str:
        return place

    return app


async def ask_path_params(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/teas/best")).value == "the best one"
    assert (await client.get(f"{at}/teas/7")).value == 7
    wrong = await client.get(f"{at}/teas/seven")
    assert (wrong.status, wrong.value["detail"][0]["loc"]) == (422, ["path", "number"])
    assert (await client.get(f"{at}/kinds/green")).value == {"kind": "green", "is_green": True}
    assert (await client.get(f"{at}/kinds/red")).status == 422
    assert (await client.get(f"{at}/leaves//a/b%20c/%E2%82%AC.txt")).value == "/a/b c/€.txt"
    moved = await client.get(f"{at}/teas/7/")
    assert (moved.status, moved["location"]) == (307, f"http://127.0.0.1{at}/teas/7")


def path_params_numeric_validations() -> FastAPI:
    app = FastAPI()

    @app.get("/shelves/{shelf}")
    async def shelf(
        shelf: Annotated[int, Path(ge=1, le=9)], weight: Annotated[float, Query(gt=0, lt=10.5)]
    ) -> list[float]:
        return [shelf, weight]

    return app


async def ask_path_params_numeric_validations(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/shelves/9?weight=10.25")).value == [9, 10.25]
    for target in (
        "/shelves/0?weight=1",
        "/shelves/10?weight=1",
        "/shelves/1?weight=0",
        "/shelves/1?weight=10.5",
    ):
        assert (await client.get(at + target)).status == 422


def query_params() -> FastAPI:
    app = FastAPI()
    teas = [f"tea {number}" for number in range(30)]

    @app.get("/teas")
    async def page(skip: int = 0, limit: int = 3) -> list[str]:
        return teas[skip : skip + limit]

    @app.get("/teas/{name}")
    async def tea(name: str, needed: str, more: str | None = None, short: bool = False) -> dict[str, Any]:
        return {"name": name, "needed": needed, "more": more, "short": short}

    return app


async def ask_query_params(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/teas")).value == ["tea 0", "tea 1", "tea 2"]
    assert (await client.get(f"{at}/teas?skip=28&limit=5")).value == ["tea 28", "tea 29"]
    found = {"name": "a b", "needed": "x&y", "more": None, "short": True}
    assert (await client.get(f"{at}/teas/a%20b?needed=x%26y&short=on")).value == found
    assert (await client.get(f"{at}/teas/a")).status == 422
    assert (await client.get(f"{at}/teas/a?needed=1&short=maybe")).status == 422


def query_params_str_validations() -> FastAPI:
    app = FastAPI()

    @app.get("/search")
    async def search(
        text: Annotated[
            str | None, Query(alias="search-text", min_length=3, max_length=6, pattern="^[a-z]+$")
        ] = None,
        kinds: Annotated[list[str], Query()] = ["all"],  # noqa: B006 (the page shows it)
    ) -> list[Any]:
        return [text, kinds]

    return app


async def ask_query_params_str_validations(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/search")).value == [None, ["all"]]
    assert (await client.get(f"{at}/search?search-text=oolong&kinds=a&kinds=b%2Cc")).value == [
        "oolong",
        ["a", "b,c"],
    ]
    for text in ("ab", "abcdefg", "ABC", "a%20b"):
        assert (await client.get(f"{at}/search?search-text={text}")).status == 422


class Filter(BaseModel):
    model_config = {"extra": "forbid"}

    limit: int = Field(10, gt=0, le=100)
    order: Literal["name", "price"] = "name"
    tags: list[str] = []


def query_param_models() -> FastAPI:
    app = FastAPI()

    @app.get("/teas")
    async def teas(given: Annotated[Filter, Query()]) -> Filter:
        return given

    return app


async def ask_query_param_models(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/teas")).value == {"limit": 10, "order": "name", "tags": []}
    found = {"limit": 5, "order": "price", "tags": ["a", "b"]}
    assert (await client.get(f"{at}/teas?limit=5&order=price&tags=a&tags=b")).value == found
    for query in ("limit=0", "limit=101", "order=age", "other=1"):
        assert (await client.get(f"{at}/teas?{query}")).status == 422


def header_params() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def read(
        user_agent: Annotated[str | None, Header()] = None,
        x_token: Annotated[list[str] | None, Header()] = None,
        plain: Annotated[str | None, Header(alias="X-Plain")] = None,
    ) -> list[Any]:
        return [user_agent, x_token, plain]

    return app


async def ask_header_params(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/")).value == [None, None, None]
    asked = request("GET", f"{at}/", User_Agent="kettle/1", X_Token="one", x_plain="two, three")
    client.send(asked.replace(b"X-Token: one\r\n", b"X-Token: one\r\nx-token: four\r\n"))
    assert (await client.response()).value == ["kettle/1", ["one", "four"], "two, three"]


class Cookies(BaseModel):
    session: str
    seen: int = 0


def cookie_params() -> FastAPI:
    app = FastAPI()

    @app.get("/one")
    async def one(ads: Annotated[str | None, Cookie()] = None) -> str | None:
        return ads

    @app.get("/all")
    async def all_of_them(cookies: Annotated[Cookies, Cookie()]) -> Cookies:
        return cookies

    return app


async def ask_cookie_params(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/one")).value is None
    assert (await client.get(f"{at}/one", Cookie="x=1; ads=none")).value == "none"
    assert (await client.get(f"{at}/all", Cookie="session=abc; seen=3")).value == {
        "session": "abc",
        "seen": 3,
    }
    assert (await client.get(f"{at}/all", Cookie="seen=3")).status == 422


def extra_data_types() -> FastAPI:
    app = FastAPI()

    @app.put("/brews/{brew}")
    async def plan(brew: UUID, begin: datetime, steep: timedelta) -> dict[str, Any]:
        return {"brew": brew, "end": begin + steep}

    return app


async def ask_extra_data_types(client: HttpClient, at: str) -> None:
    target = f"{at}/brews/12345678-1234-5678-1234-567812345678"
    answer = await client.ask("PUT", f"{target}?begin=2026-01-01T10:00:00Z&steep=PT3M", Content_Length="0")
    assert answer.value == {"brew": target[-36:], "end": "2026-01-01T10:03:00Z"}
    assert (await client.ask("PUT", f"{target}0?begin=2026-01-01&steep=1", Content_Length="0")).status == 422


PAGES = {
    "first-steps": Page(first_steps, ask_first_steps),
    "path-params": Page(path_params, ask_path_params),
    "path-params-numeric-validations": Page(
        path_params_numeric_validations, ask_path_params_numeric_validations
    ),
    "query-params": Page(query_params, ask_query_params),
    "query-params-str-validations": Page(query_params_str_validations, ask_query_params_str_validations),
    "query-param-models": Page(query_param_models, ask_query_param_models),
    "header-params": Page(header_params, ask_header_params),
    "cookie-params": Page(cookie_params, ask_cookie_params),
    "extra-data-types": Page(extra_data_types, ask_extra_data_types),
}
