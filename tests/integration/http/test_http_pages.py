"""`/docs`, `/openapi.json` and `/client.js`: their content, their readers, and the rights of the pages."""

import json
import re
from importlib import resources
from typing import Any
from urllib.parse import urljoin

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import fastrpc
from fastrpc import ConfigError, Server, ServerConfig
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.config import HTTP, OpenAPI
from tests.support.described import described, session
from tests.support.every_type import EveryType

pytestmark = pytest.mark.one_loop

MODULES = ("calls", "commands", "fields", "form", "method", "page", "parts", "schemas", "values")
SCRIPTS = (*(f"/docs/{name}.js" for name in MODULES), "/client.js")
PAGES = ("/", "/docs", *SCRIPTS, "/docs/page.css", "/openapi.json")
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_loads_files_only_from_its_server(path: str) -> None:
    async with described() as serving, session() as client, client.get(serving.origin + path) as answer:
        assert answer.status == 200
        assert answer.headers.getall("Content-Security-Policy") == [POLICY]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert len(answer.headers.getall("Cache-Control")) == 1
        assert len(await answer.read()) > 100


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_read_only(path: str) -> None:
    async with described() as serving, session() as client:
        async with client.head(serving.origin + path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with client.post(serving.origin + path, json={}) as answer:
            assert answer.status == 405


async def test_the_document_is_valid_for_every_type_and_names_the_served_methods() -> None:
    async with described(EveryType()) as serving, session() as client:
        async with client.get(f"{serving.origin}/openapi.json") as answer:
            found = json.loads(await answer.read())
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []
    assert {"/arith/mul", "/every.type/classes"} <= found["paths"].keys()
    assert not any(path.startswith("/fastrpc") for path in found["paths"])


async def test_the_document_has_the_title_of_the_settings() -> None:
    http = HTTP(openapi=OpenAPI(title="Sums <b>"))
    async with described(http=http) as serving, session() as client:
        async with client.get(f"{serving.origin}/openapi.json") as answer:
            assert (await answer.json())["info"]["title"] == "Sums <b>"
        async with client.get(f"{serving.origin}/") as answer:
            assert "<title>Sums &lt;b&gt;</title>" in await answer.text()


async def test_the_index_links_the_enabled_pages() -> None:
    links = {}
    for http in (HTTP(), HTTP(jsonrpc=True, mcp=True, websocket=True)):
        async with described(http=http) as serving, session() as client:
            async with client.get(f"{serving.origin}/") as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                links[http.jsonrpc] = re.findall(r"<li>(?:<a href=\"[^\"]+\">)?([^<:]+)", await answer.text())
            for path in ("/docs", "/openapi.json", "/client.js"):
                async with client.get(serving.origin + path) as answer:
                    assert answer.status == 200
    assert links[False] == ["/docs", "/openapi.json", "/client.js"]
    assert links[True] == ["/docs", "/openapi.json", "/client.js", "/jsonrpc", "/mcp", "/ws/"]


async def test_without_pages_nothing_is_at_the_root() -> None:
    async with described(http=HTTP(docs=False)) as serving, session() as client:
        async with client.get(f"{serving.origin}/") as answer:
            assert answer.status == 404


async def test_a_call_as_the_document_says_is_answered() -> None:
    async with described() as serving, session() as client:
        async with client.get(f"{serving.origin}/openapi.json") as answer:
            paths = (await answer.json())["paths"]
        (media,) = paths["/arith/mul"]["post"]["requestBody"]["content"]
        body = {"a": 6, "b": 7}
        async with client.post(f"{serving.origin}/arith/mul", json=body, headers={"Accept": media}) as answer:
            assert (answer.status, await answer.json()) == (200, 42)
        async with client.get(f"{serving.origin}/arith/mul", params=body) as answer:
            assert (answer.status, await answer.json()) == (200, 42)
        async with client.post(f"{serving.origin}/arith/fail", json={}) as answer:
            problem = json.loads(await answer.read())
            schema = paths["/arith/fail"]["post"]["responses"][str(answer.status)]
    assert problem["code"] == "NOT_FOUND"
    assert schema == {"$ref": "#/components/responses/NotFound"}


async def test_a_service_that_is_added_later_is_described() -> None:
    @fastrpc.service("late")
    class Late:
        @fastrpc.method
        async def f(self) -> None: ...

    async with described() as serving, session() as client:
        for is_there in (False, True):
            async with client.get(f"{serving.origin}/openapi.json") as answer:
                assert ("/late/f" in (await answer.json())["paths"]) is is_there
            if not is_there:
                serving.server.add(Late())


@pytest.mark.parametrize(
    ("reflection", "docs", "status"),
    [(None, None, 200), (True, None, 200), (False, None, 404), (False, True, 200), (True, False, 404)],
)
async def test_pages_are_shown_as_reflection_is_or_as_the_setting_says(
    reflection: bool | None, docs: bool | None, status: int
) -> None:
    async with described(http=HTTP(docs=docs), reflection=reflection) as serving, session() as client:
        for path in PAGES:
            async with client.get(serving.origin + path) as answer:
                assert answer.status == status


async def test_pages_need_no_identity_and_say_which_methods_do() -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving, session() as client:
        for path in PAGES:
            async with client.get(serving.origin + path) as answer:
                assert answer.status == 200
        ada = {"Authorization": "Bearer s3cret"}
        async with client.get(f"{serving.origin}/openapi.json", headers=ada) as answer:
            paths = (await answer.json())["paths"]
    assert paths["/arith/fail"]["post"]["security"] == [{"bearer": []}]
    assert {} in paths["/arith/mul"]["post"]["security"]


async def test_the_document_lists_the_methods_that_its_reader_may_call() -> None:
    tokens = StaticTokens({"ada": Identity("ada"), "bob": Identity("bob")})
    policy = Policy(
        [{"who": ["ada", "anonymous"], "allow": ["arith.*"]}, {"who": ["bob"], "allow": ["arith.fail"]}]
    )
    async with described(EveryType(), authenticate=tokens, authorize=policy) as serving, session() as client:
        found = {}
        for reader in ("", "ada", "bob", "", "wrong"):
            fields = {"Authorization": f"Bearer {reader}"} if reader else {}
            async with client.get(f"{serving.origin}/openapi.json", headers=fields) as answer:
                found[reader] = answer.status, await answer.json(content_type=None)
                assert reader == "wrong" or "Authorization" in answer.headers["Vary"]
    assert [status for status, _ in found.values()] == [200, 200, 200, 401]
    documents = {reader: document for reader, (_, document) in found.items()}
    assert "/arith/mul" in documents[""]["paths"]
    assert "/arith/fail" not in documents[""]["paths"]
    assert documents["ada"]["paths"].keys() > documents[""]["paths"].keys()
    assert documents["bob"]["paths"].keys() == {"/arith/fail"}
    for document in (documents["ada"], documents["bob"]):
        # Nor do its types tell of other methods.
        assert [tag["name"] for tag in document["tags"]] == ["arith"]
        assert "every.type" not in document["info"]["title"]
        assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert documents["bob"]["components"]["schemas"].keys() == {"Problem"}


@pytest.mark.parametrize("name", ["docs", "openapi.json", "client.js", "mcp"])
async def test_a_service_with_the_name_of_a_page_is_refused(name: str) -> None:
    def made(**options: Any) -> Any:
        @fastrpc.service(**options)
        class Named:
            @fastrpc.method
            async def f(self) -> None: ...

        return Named

    config = ServerConfig(protocols=("native", "http"))
    for source in (
        fastrpc.service(name)(type("Named", (), {"f": made_method()})),
        fastrpc.service("other", alias=(name,))(type("Other", (), {"f": made_method()})),
    ):
        with pytest.raises(ConfigError, match=rf"'{re.escape(name)}' has the name of a fixed path"):
            await Server(source, config=config).start()


def made_method() -> Any:
    @fastrpc.method
    async def f(self: Any) -> None: ...

    return f


def test_no_page_has_an_inline_script_or_style() -> None:
    folder = resources.files("fastrpc.openapi").joinpath("site")
    page = folder.joinpath("index.html").read_text()
    assert re.findall(r"<script(?! type=\"module\" src=\"docs/page.js\"></script>)", page) == []
    assert not re.search(r"<style|style=|\son\w+=|javascript:|https?:", page)
    scripts = "".join(folder.joinpath(path.split("/")[-1]).read_text() for path in SCRIPTS)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        ".style",
        'setAttribute("on',
        "Storage",
        "cookie",
    ):
        assert word not in scripts


async def test_each_file_of_the_site_and_each_import_of_a_script_is_served() -> None:
    files = {one.name for one in resources.files("fastrpc.openapi").joinpath("site").iterdir()}
    assert files == {"index.html", "page.css", *(path.split("/")[-1] for path in SCRIPTS)}
    async with described() as serving, session() as client:
        for path in SCRIPTS:
            async with client.get(serving.origin + path) as answer:
                assert answer.content_type == "text/javascript"
                text = await answer.text()
            for found in re.findall(r'^import .* from "(.*)";$', text, re.MULTILINE):
                assert urljoin(path, found) in SCRIPTS, (path, found)
