"""Pages about the parts of an application: dependencies, security, middlewares, routers, other applications, life."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.security import HTTPBasic, HTTPBasicCredentials, OAuth2PasswordBearer, OAuth2PasswordRequestForm

from tests.support.http_talk import HttpClient
from tests.support.tutorial.page import FORM, Page, asked_until

__all__ = ["PAGES"]


class Paging:
    def __init__(self, skip: int = 0, limit: int = 10) -> None:
        self.bounds = [skip, limit]


async def token_of(x_token: Annotated[str | None, Header()] = None) -> str:
    if x_token is None:
        raise HTTPException(400, "X-Token is missing")
    return x_token


def upper(token: Annotated[str, Depends(token_of)]) -> str:
    return token.upper()


def dependencies() -> FastAPI:
    app = FastAPI()

    @app.get("/pages")
    async def pages(paging: Annotated[Paging, Depends()]) -> list[int]:
        return paging.bounds

    @app.get("/token")
    async def token(
        plain: Annotated[str, Depends(token_of)], changed: Annotated[str, Depends(upper)]
    ) -> list[str]:
        return [plain, changed]

    @app.get("/guarded", dependencies=[Depends(token_of)])
    def guarded() -> str:
        return "in a thread"

    return app


async def ask_dependencies(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/pages")).value == [0, 10]
    assert (await client.get(f"{at}/pages?skip=3&limit=4")).value == [3, 4]
    assert (await client.get(f"{at}/token", X_Token="tea")).value == ["tea", "TEA"]
    assert (await client.get(f"{at}/guarded", X_Token="tea")).value == "in a thread"
    for target in ("/token", "/guarded"):
        refused = await client.get(at + target)
        assert (refused.status, refused.value) == (400, {"detail": "X-Token is missing"})


def dependencies_with_yield() -> FastAPI:
    app = FastAPI()
    steps: list[str] = []

    async def kettle() -> AsyncIterator[str]:
        steps.append("kettle on")
        try:
            yield "hot"
        except ValueError:
            steps.append("spilled")
            raise HTTPException(409, "the water is spilled") from None
        finally:
            steps.append("kettle off")

    def pot(kettle: Annotated[str, Depends(kettle)]) -> Iterator[str]:
        steps.append("pot filled")
        yield f"{kettle} pot"
        steps.append("pot empty")

    @app.get("/brew")
    async def brew(pot: Annotated[str, Depends(pot)]) -> str:
        steps.append("brewed")
        return pot

    @app.get("/spill")
    async def spill(kettle: Annotated[str, Depends(kettle)]) -> str:
        raise ValueError(kettle)

    @app.get("/steps")
    async def told() -> list[str]:
        return steps

    return app


async def ask_dependencies_with_yield(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/brew")).value == "hot pot"
    brewed = ["kettle on", "pot filled", "brewed", "pot empty", "kettle off"]
    await asked_until(client, f"{at}/steps", brewed)
    spilled = await client.get(f"{at}/spill")
    assert (spilled.status, spilled.value) == (409, {"detail": "the water is spilled"})
    await asked_until(client, f"{at}/steps", [*brewed, "kettle on", "spilled", "kettle off"])


def simple_oauth2() -> FastAPI:
    app = FastAPI()
    scheme = OAuth2PasswordBearer(tokenUrl="token")
    names = {"token-of-ann": "Ann"}

    async def guest(token: Annotated[str, Depends(scheme)]) -> str:
        if token not in names:
            raise HTTPException(401, "no such token", headers={"WWW-Authenticate": "Bearer"})
        return names[token]

    @app.post("/token")
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        if (form.username, form.password) != ("Ann", "tea"):
            raise HTTPException(400, "wrong name or password")
        return {"access_token": "token-of-ann", "token_type": "bearer"}

    @app.get("/me")
    async def me(name: Annotated[str, Depends(guest)]) -> str:
        return name

    return app


async def ask_simple_oauth2(client: HttpClient, at: str) -> None:
    refused = await client.get(f"{at}/me")
    assert (refused.status, refused["www-authenticate"]) == (401, "Bearer")
    assert (await client.post(f"{at}/token", b"username=Ann&password=coffee", **FORM)).status == 400
    answer = await client.post(f"{at}/token", b"grant_type=password&username=Ann&password=tea", **FORM)
    token = answer.value["access_token"]
    assert (await client.get(f"{at}/me", Authorization=f"Bearer {token}")).value == "Ann"
    assert (await client.get(f"{at}/me", Authorization=f"Bearer {token}x")).status == 401


def http_basic_auth() -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(shown: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> list[str]:
        return [shown.username, shown.password]

    return app


async def ask_http_basic_auth(client: HttpClient, at: str) -> None:
    refused = await client.get(f"{at}/me")
    assert (refused.status, refused["www-authenticate"]) == (401, "Basic")
    # The example of RFC 7617, section 2.
    shown = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert (await client.get(f"{at}/me", Authorization=shown)).value == ["Aladdin", "open sesame"]


def middleware() -> FastAPI:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=500)

    @app.middleware("http")
    async def count(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path.endswith("/closed"):
            return Response("closed", status_code=503)
        response = await proceed(request)
        response.headers["X-Path"] = request.url.path
        return response

    @app.get("/text")
    async def text(size: int) -> str:
        return "x" * size

    return app


async def ask_middleware(client: HttpClient, at: str) -> None:
    answer = await client.get(f"{at}/text?size=10", Accept_Encoding="gzip")
    assert (answer.value, answer["x-path"], "content-encoding" in answer) == ("x" * 10, f"{at}/text", False)
    answer = await client.get(f"{at}/text?size=1000", Accept_Encoding="gzip")
    assert (answer["content-encoding"], len(answer.body) < 500) == ("gzip", True)
    assert (await client.get(f"{at}/closed")).status == 503


def cors() -> FastAPI:
    app = FastAPI()
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["https://tea.example"],
        allow_credentials=True,
        allow_methods=["PUT"],
        allow_headers=["X-Token"],
    )

    @app.get("/")
    async def read() -> str:
        return "tea"

    return app


async def ask_cors(client: HttpClient, at: str) -> None:
    asked = {"Origin": "https://tea.example", "Access_Control_Request_Method": "PUT"}
    preflight = await client.ask("OPTIONS", f"{at}/", Access_Control_Request_Headers="x-token", **asked)
    assert (preflight.status, preflight["access-control-allow-origin"]) == (200, "https://tea.example")
    assert "PUT" in preflight["access-control-allow-methods"]
    refused = await client.ask("OPTIONS", f"{at}/", **{**asked, "Origin": "https://evil.example"})
    assert (refused.status, "access-control-allow-origin" in refused) == (400, False)
    answer = await client.get(f"{at}/", Origin="https://tea.example")
    assert answer["access-control-allow-credentials"] == "true"
    # The page of another origin gets the answer, and its browser keeps that from it.
    answer = await client.get(f"{at}/", Origin="https://evil.example", Sec_Fetch_Site="cross-site")
    assert (answer.value, "access-control-allow-origin" in answer) == ("tea", False)


def bigger_applications() -> FastAPI:
    teas, staff = APIRouter(prefix="/teas", tags=["teas"]), APIRouter()

    @teas.get("/")
    async def all_teas() -> list[str]:
        return ["Assam"]

    @teas.get("/{name}", name="tea")
    async def tea(name: str, request: Request) -> str:
        return str(request.url_for("tea", name=name))

    @staff.post("/close")
    async def close() -> str:
        return "closed"

    app = FastAPI(dependencies=[Depends(token_of)])
    app.include_router(teas)
    app.include_router(staff, prefix="/staff", responses={418: {"description": "a teapot"}})
    return app


async def ask_bigger_applications(client: HttpClient, at: str) -> None:
    shown = {"X_Token": "t"}
    assert (await client.get(f"{at}/teas/", **shown)).value == ["Assam"]
    # Without the slash it points there, below the prefix.
    moved = await client.get(f"{at}/teas", **shown)
    assert (moved.status, moved["location"]) == (307, f"http://127.0.0.1{at}/teas/")
    assert (await client.get(f"{at}/teas/Assam", **shown)).value == f"http://127.0.0.1{at}/teas/Assam"
    assert (await client.post(f"{at}/staff/close", **shown)).value == "closed"
    assert (await client.post(f"{at}/staff/close")).status == 400
    document = (await client.get(f"{at}/openapi.json")).value
    assert document["paths"].keys() == {"/teas/", "/teas/{name}", "/staff/close"}


def sub_applications() -> FastAPI:
    app, below = FastAPI(), FastAPI(title="Cellar")

    @app.get("/where")
    @below.get("/where")
    async def where(request: Request) -> list[str]:
        return [request.scope["root_path"], request.url.path]

    app.mount("/cellar", below)
    return app


async def ask_sub_applications(client: HttpClient, at: str) -> None:
    assert (await client.get(f"{at}/where")).value == [at, f"{at}/where"]
    assert (await client.get(f"{at}/cellar/where")).value == [f"{at}/cellar", f"{at}/cellar/where"]
    document = (await client.get(f"{at}/cellar/openapi.json")).value
    assert (document["info"]["title"], document["servers"]) == ("Cellar", [{"url": f"{at}/cellar"}])


def behind_a_proxy() -> FastAPI:
    app = FastAPI()

    @app.get("/about")
    async def about(request: Request) -> dict[str, Any]:
        return {"root_path": request.scope["root_path"], "base": str(request.base_url)}

    return app


async def ask_behind_a_proxy(client: HttpClient, at: str) -> None:
    found = {"root_path": at, "base": f"http://127.0.0.1{at}/"}
    assert (await client.get(f"{at}/about")).value == found
    # The document names the path of the mount, so that its page finds the application.
    assert (await client.get(f"{at}/openapi.json")).value["servers"] == [{"url": at}]


def events() -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        app.state.steps = ["opened"]
        yield {"leaves": {"Assam": 3}}
        app.state.steps.append("closed")

    app = FastAPI(lifespan=lifespan)

    @app.get("/leaves")
    async def leaves(request: Request) -> list[Any]:
        return [app.state.steps, request.state.leaves]

    return app


async def ask_events(client: HttpClient, at: str) -> None:
    for _ in range(2):
        assert (await client.get(f"{at}/leaves")).value == [["opened"], {"Assam": 3}]


PAGES = {
    "dependencies": Page(dependencies, ask_dependencies),
    "dependencies/dependencies-with-yield": Page(dependencies_with_yield, ask_dependencies_with_yield),
    "security/simple-oauth2": Page(simple_oauth2, ask_simple_oauth2),
    "middleware": Page(middleware, ask_middleware),
    "cors": Page(cors, ask_cors),
    "bigger-applications": Page(bigger_applications, ask_bigger_applications),
    "advanced/security/http-basic-auth": Page(http_basic_auth, ask_http_basic_auth),
    "advanced/sub-applications": Page(sub_applications, ask_sub_applications),
    "advanced/behind-a-proxy": Page(behind_a_proxy, ask_behind_a_proxy),
    "advanced/events": Page(events, ask_events),
}
