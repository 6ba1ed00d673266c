"""The files of the console's page: how they are served, to whom, and their rights in the browser."""

import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fastrpc import ConfigError, Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from fastrpc.config import HTTP
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.fleet import Fleet
from fastrpc.console.page_files import PAGE_POLICY, with_page
from fastrpc.console.service import ConsoleDetailService, ConsoleService
from tests.support.described import session
from tests.support.program import run_program

pytestmark = pytest.mark.one_loop

ROOT = Path(__file__).parents[3]

FOLDER = resources.files("fastrpc.console").joinpath("site")

#: The script that the page loads.
SCRIPT = "/".join(("console", "page.js"))

#: Words by which a script makes elements or scripts from texts, or stores values that it must not store.
FORBIDDEN = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "setHTML", "document.write", "eval(", "Function("),
    *("DOMParser", "srcdoc", "cookie", "localStorage", "indexedDB", "import(", ".style.", "http:", "https:"),
)

TOKENS = {"figures": Identity("figures"), "detailed": Identity("detailed"), "none": Identity("none")}


def scripts() -> Iterator[tuple[str, str]]:
    """Yield the names and the texts of the page's scripts."""
    for file in FOLDER.iterdir():
        if file.name.endswith(".js"):
            yield file.name, file.read_text()


def paths() -> list[str]:
    """Return the paths of the page's files: the page, and every file in its folder."""
    return ["/", *sorted(f"/console/{one.name}" for one in FOLDER.iterdir() if one.name != "index.html")]


def authorize(identity: Identity | None, route: Any) -> bool:
    name = "" if identity is None else identity.name
    return name == "detailed" or (name == "figures" and route.service == "fastrpc.console")


@asynccontextmanager
async def console(http: HTTP | None = None) -> AsyncIterator[str]:
    """Serve the page over an empty fleet, and yield its origin."""
    config = ServerConfig(protocols=("http",), http=with_page(http or HTTP()))
    async with Fleet(None, AllowedServers()) as fleet:
        services = [ConsoleService(fleet), ConsoleDetailService(fleet)]
        access = {"authenticate": StaticTokens(TOKENS), "authorize": authorize}
        async with Server(*services, config=config, **access) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            yield f"http://127.0.0.1:{address.port}"


KINDS = {"": "text/html", "css": "text/css", "js": "text/javascript"}


async def test_each_file_is_public_with_its_media_type_and_the_policy() -> None:
    async with console() as origin, session() as client:
        for path in paths():
            async with client.get(origin + path) as answer:
                assert answer.status == 200, path
                assert answer.content_type == KINDS[Path(path).suffix[1:]]
                assert answer.charset == "utf-8"
                assert answer.headers.getall("Content-Security-Policy") == [PAGE_POLICY]
                assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
                assert answer.headers.getall("Cache-Control") == ["no-store"]
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                content = await answer.read()
            name = Path(path).name or "index.html"
            assert content == FOLDER.joinpath(name).read_bytes()
            async with client.head(origin + path) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
                assert answer.headers["Content-Length"] == str(len(content))


async def test_all_other_paths_are_the_gateways_and_files_are_read_only() -> None:
    others = ("/console", "/console/", "/console/index.html", "/console/../page_files.py", "/console/x.js")
    async with console() as origin, session() as client:
        for path in (*others, "/fastrpc.console/unknown", "/shop/price", "/%63onsole/page.css", "//"):
            for token, status in (("", 401), ("figures", 403)):
                fields = {"Authorization": f"Bearer {token}"} if token else {}
                url = aiohttp.client.URL(origin + path, encoded=True)
                # A path that the page lacks does not show strangers whether a method of this name exists.
                async with client.post(url, headers=fields, json={}) as answer:
                    assert (path, answer.status) == (path, status)
                    assert answer.content_type == "application/problem+json"
        async with client.post(f"{origin}/{SCRIPT}", json={}) as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET, HEAD"


async def test_files_that_the_page_loads_are_served_with_it() -> None:
    named = {path for _, text in scripts() for path in re.findall(r'from "([^"]+)"', text)}
    page = FOLDER.joinpath("index.html").read_text()
    named |= set(re.findall(r'(?:src|href)="([^"]+)"', page))
    async with console() as origin, session() as client:
        for name in named:
            path = name if name.startswith(("console/", "docs/")) else f"console/{name}"
            async with client.get(f"{origin}/{path}") as answer:
                assert answer.status == 200, name


async def test_the_content_policy_allows_only_the_pages_server_and_no_text_as_script() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in PAGE_POLICY.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["trusted-types"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert rules["require-trusted-types-for"] == "'script'"


def test_no_script_makes_elements_from_texts() -> None:
    for name, text in scripts():
        # The namespace of SVG is a name, and is not loaded.
        text = text.replace('"http://www.w3.org/2000/svg"', "")
        assert [word for word in FORBIDDEN if word in text] == [], name


def test_only_one_script_keeps_the_token_and_no_script_keeps_the_operators_token() -> None:
    assert [name for name, text in scripts() if "Storage" in text] == ["address.js"]
    [acts] = [text for name, text in scripts() if name == "acts.js"]
    assert "Token" not in acts.replace("Token of an operator", "")


def test_the_page_has_no_script_and_no_style_inside() -> None:
    page = FOLDER.joinpath("index.html").read_text()
    assert re.findall(rf'<script(?! type="module" src="{SCRIPT}"></script>)', page) == []
    assert not re.search(r"<style|style=|\son\w+=|javascript:|https?:|data:", page)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as #1a5fb4 (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    least, most = sorted((luminance(one), luminance(other)))
    return (most + 0.05) / (least + 0.05)


def test_texts_and_lines_can_be_told_from_the_paper() -> None:
    docs = resources.files("fastrpc.openapi").joinpath("site", "page.css").read_text()
    styles = docs + FOLDER.joinpath("page.css").read_text()
    found = {
        name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", styles)
    }
    texts, lines = (
        ("soft", "mark", "bad", "good", "warn"),
        [name for name in found if name.startswith("line-")],
    )
    assert len(lines) == 8
    for scheme in (0, 1):
        for paper in ("paper", "panel"):
            papers = found[paper][scheme]
            assert {name for name in texts if contrast(found[name][scheme], papers) < 4.5} == set()
            assert {name for name in (*lines, "rule") if contrast(found[name][scheme], papers) < 3} == set()


def test_wheels_carry_the_files_of_all_pages() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folders = {file.parent.parent for file in (ROOT / "src" / "fastrpc").rglob("site/*.html")}
    names = {".".join(folder.relative_to(ROOT / "src").parts) for folder in folders}
    assert names == {"fastrpc.console", "fastrpc.openapi"}
    assert [settings.get(name) for name in names] == [["site/*"]] * 2


async def test_openapi_lists_the_views_that_its_reader_may_ask_for() -> None:
    found = {}
    async with console() as origin, session() as client:
        for token in ("", *TOKENS):
            fields = {"Authorization": f"Bearer {token}"} if token else {}
            async with client.get(f"{origin}/openapi.json", headers=fields) as answer:
                assert answer.status == 200
                found[token] = sorted((await answer.json())["paths"])
    views = ["/fastrpc.console.detail/view", "/fastrpc.console/view"]
    assert found == {"": [], "figures": views[1:], "detailed": views, "none": []}


def test_without_documents_there_is_no_page() -> None:
    assert dict(with_page(HTTP(docs=False)).mounts) == {}
    assert list(with_page(HTTP()).mounts) == ["/"]


def test_another_mount_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"HTTP\.mounts has /shop"):
        with_page(HTTP(mounts={"/shop": "shop:app"}))


async def test_a_console_prints_an_address_at_which_its_page_is(tmp_path: Path) -> None:
    from tests.support.console_scene import console_at

    async with console_at(tmp_path, "--target", "http://127.0.0.1:1") as url, session() as client:
        async with client.get(url) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert SCRIPT in await answer.text()


async def test_a_console_refuses_other_mounts(tmp_path: Path) -> None:
    (tmp_path / "fastrpc.toml").write_text('[http]\nmounts = { "/shop" = "shop:app" }\n')
    command = ["-m", "fastrpc", "console", "--target", "http://127.0.0.1:1", "--config", "fastrpc.toml"]
    done = run_program(command, tmp_path)
    assert done.code == 2
    assert "a console serves only its own page" in done.errors
