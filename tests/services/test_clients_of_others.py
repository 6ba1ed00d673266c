"""Independent clients against our server: the reference client of MCP, and clients generated from the document."""

import asyncio
import datetime
import importlib
import io
import json
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Upload, current_call
from fastrpc.auth import Identity, StaticTokens
from tests.support.described import described
from tests.support.every_type import EveryType
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize(
    ("mode", "revision"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")]
)
async def test_the_reference_client_lists_and_calls_tools(mode: Any, revision: str) -> None:
    mcp = pytest.importorskip("mcp", reason="mcp is not installed; `make services` installs it")
    async with described() as serving, mcp.Client(f"{serving.origin}/mcp", mode=mode) as client:
        assert client.protocol_version == revision
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["arith_mul", "arith_product", "arith_fail"]
        assert tools["arith_mul"].description == "Multiply <script>two</script> numbers."
        assert tools["arith_mul"].annotations.read_only_hint is True
        assert tools["arith_product"].output_schema["type"] == "object"
        product = await client.call_tool("arith_product", {"factors": [2, 3, 7]})
        assert (product.is_error, product.structured_content["value"]) == (False, 42)
        number = await client.call_tool("arith_mul", {"a": 6, "b": 7})
        assert [one.text for one in number.content] == ["42"]
        failed = await client.call_tool("arith_fail", {"text": "no such thing"})
        assert (failed.is_error, failed.content[0].text) == (True, "no such thing")
        wrong = await client.call_tool("arith_mul", {"a": "x"})
        assert wrong.is_error is True
        with pytest.raises(mcp.MCPError, match="no tool 'arith_none' here"):
            await client.call_tool("arith_none", {})


async def test_the_reference_client_is_refused_without_a_token() -> None:
    mcp = pytest.importorskip("mcp", reason="mcp is not installed; `make services` installs it")
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving:
        async with mcp.Client(f"{serving.origin}/mcp") as client:
            # Only public methods.
            assert [tool.name for tool in (await client.list_tools()).tools] == ["arith_mul"]
            with pytest.raises(mcp.MCPError):
                await client.call_tool("arith_fail", {})


def generated(origin: str, folder: Path, name: str = "arith_client") -> Any:
    """Return a client of this name that `openapi-python-client` generates from a server's document."""
    program = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    # Its own formatting is left out: it needs programs that may not be on the path.
    (folder / "config.yml").write_text("post_hooks: []\n")
    subprocess.run(
        [
            *program,
            *("--url", f"{origin}/openapi.json", "--output-path", str(folder / name)),
            *("--config", str(folder / "config.yml")),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


async def test_a_generated_client_makes_calls(tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client", reason="it is not installed; `make services` installs it")
    async with described(EveryType()) as serving:
        package = await asyncio.to_thread(generated, serving.origin, tmp_path)
        async with package.Client(base_url=serving.origin) as client:
            await use(client)


async def use(client: Any) -> None:
    """Make calls by the generated client."""
    arith = {
        name: importlib.import_module(f"arith_client.api.arith.{name}")
        for name in ("arith_mul", "get_arith_mul", "arith_product", "arith_fail")
    }
    models = importlib.import_module("arith_client.models")
    body = models.ArithMulBody(a=6, b=7)
    assert await arith["arith_mul"].asyncio(client=client, body=body) == 42
    assert await arith["get_arith_mul"].asyncio(client=client, a=6) == 12
    product = await arith["arith_product"].asyncio(
        client=client, body=models.ArithProductBody(factors=[2, 3])
    )
    assert (product.value, product.factors) == (6, [2, 3])
    problem = await arith["arith_fail"].asyncio(client=client, body=models.ArithFailBody())
    assert (problem.status, problem.code.value, problem.detail) == (404, "NOT_FOUND", "no such number")
    point = importlib.import_module("arith_client.api.every_type.every_type_choices")
    numbers = models.PageInt(items=[1])
    found = await point.asyncio(
        client=client, body=models.EveryTypeChoicesBody(numbers=numbers, color=models.Color.BLUE)
    )
    assert found.value == "blue"


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Thing:
    name: str
    made: datetime.date


@fastrpc.service("things")
class Things:
    @fastrpc.method(safe=True, http="GET /things/{id}/{color}")
    async def get(
        self, id: uuid.UUID, color: Color, day: datetime.date, tags: list[str], most: int | None = None
    ) -> list[str]:
        return [str(id), color.value, day.isoformat(), *tags, str(most)]

    @fastrpc.method(http="POST /things")
    async def create(self, thing: Thing) -> Thing:
        current_call().http(status=201)
        return thing

    @fastrpc.method(http="PUT /things/{id}")
    async def put(self, id: int, thing: Thing) -> str:
        return f"{id} {thing.name} {thing.made}"

    @fastrpc.method(http="PATCH /things/{id}")
    async def change(self, id: int, name: str | None = None, color: Color = Color.RED) -> str:
        return f"{id} {name} {color.value}"

    @fastrpc.method(http="DELETE /things/{id}")
    async def delete(self, id: int, reason: str = "") -> str:
        return f"{id} {reason}"

    @fastrpc.method(http="POST /things/{id}/pictures")
    async def picture(self, picture: Upload, id: int, title: str) -> str:
        size = sum([len(piece) async for piece in picture])
        return f"{id} {title} {picture.filename} {picture.content_type} {size}"


async def test_a_generated_client_calls_each_route(tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client", reason="it is not installed; `make services` installs it")
    async with described(Things()) as serving:
        package = await asyncio.to_thread(generated, serving.origin, tmp_path, "things_client")
        models = importlib.import_module("things_client.models")
        routes = {
            name: importlib.import_module(f"things_client.api.things.http_things_{name}")
            for name in ("get", "create", "put", "change", "delete", "picture")
        }
        day, key = datetime.date(2026, 1, 31), uuid.UUID(int=7)
        async with package.Client(base_url=serving.origin) as client:
            options = {"client": client, "day": day, "tags": ["a", "b c"]}
            found = await routes["get"].asyncio(key, models.Color.BLUE, **options)
            assert found == [str(key), "blue", "2026-01-31", "a", "b c", "None"]
            assert (await routes["get"].asyncio(key, models.Color.RED, most=3, **options))[-1] == "3"
            thing = models.Thing(name="cup", made=day)
            assert await routes["put"].asyncio(7, client=client, body=thing) == "7 cup 2026-01-31"
            created = await routes["create"].asyncio_detailed(client=client, body=thing)
            assert (created.status_code, created.content) == (201, b'{"name":"cup","made":"2026-01-31"}')
            body = models.HttpThingsChangeBody(color=models.Color.BLUE)
            assert await routes["change"].asyncio(7, client=client, body=body) == "7 None blue"
            assert await routes["delete"].asyncio(7, client=client, reason="old") == "7 old"
            file = importlib.import_module("things_client.types").File(
                io.BytesIO(b"abc"), "a.png", "image/png"
            )
            form = models.HttpThingsPictureBody(title="cup", picture=file)
            assert await routes["picture"].asyncio(7, client=client, body=form) == "7 cup a.png image/png 3"


def run_typescript(folder: Path, origin: str, document: Path) -> list[Any]:
    """Write the types of a document, compile the client in `typescript` with them, and return its output."""
    for name in ("package.json", "client.ts"):
        shutil.copy(Path(__file__).parent / "typescript" / name, folder)
    programs = folder / "node_modules" / ".bin"
    run = partial(subprocess.run, cwd=folder, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"])
    run([str(programs / "openapi-typescript"), str(document), "--output", "schema.d.ts"])
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    run([str(programs / "tsc"), *options, "client.ts"])
    return list(json.loads(run(["node", "client.js", origin]).stdout))


@pytest.mark.conformance
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
async def test_a_client_in_typescript_calls_each_route(tmp_path: Path) -> None:
    async with described(Things()) as serving:
        document = tmp_path / "openapi.json"
        async with await HttpClient.to(serving.origin.replace("http", "tcp", 1)) as client:
            document.write_bytes((await client.get("/openapi.json")).body)
        assert await asyncio.to_thread(run_typescript, tmp_path, serving.origin, document) == [
            [str(uuid.UUID(int=7)), "blue", "2026-01-31", "a", "b c", "None"],
            [str(uuid.UUID(int=7)), "red", "2026-01-31", "a", "b c", "3"],
            [201, {"name": "cup", "made": "2026-01-31"}],
            "7 cup 2026-01-31",
            "7 None blue",
            "7 old",
            "7 cup a.png image/png 3",
            [400, "INVALID_ARGUMENT"],
        ]
