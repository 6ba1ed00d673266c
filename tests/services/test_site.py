"""The site of `make docs` in a real browser: complete, offline, found by questions, in both schemes and three widths.

With FASTRPC_SCREENSHOTS, a folder, pictures of its pages are left there.
"""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

import fastrpc
from ci.site.definitions import public_names
from ci.site.entries import MODULES
from tests.support.cache_folder import alone
from tests.support.source_tree import ROOT

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("sphinx", reason="the extra `docs` is not installed")

pytestmark = pytest.mark.one_loop

QUESTIONS = {
    "How do I call my methods by HTTP with curl?": "guide/http",
    "How do I set a deadline for a call?": "guide/deadlines",
    "How do I limit the rate of a caller?": "guide/limits",
    "Which port does Prometheus scrape?": "guide/observing",
    "How do I test a service without ports?": "guide/testing",
    "How do I run several workers under systemd?": "guide/deployment",
    "How do I send many messages in one call?": "guide/streams",
    "How do I upload a large file?": "guide/files",
    "How do I restart without a refused connection?": "guide/new-versions",
    "mount a FastAPI application": "guide/mounts",
    "numpy arrays and pydantic models": "guide/values",
    "How do gRPC clients call my methods?": "guide/grpc",
    "route GET with a path parameter": "guide/routes",
    "Kubernetes readiness probe in a container": "guide/containers",
    "How does a client find servers in consul?": "guide/many-servers",
    "TLS certificate of the server": "guide/security",
    "send only a percentage of calls to a canary": "guide/zones",
    "Did the handler run when a call failed?": "guide/errors",
    "move a service from FastAPI step by step": "guide/fastapi",
    "rotation of the keys of JWT": "guide/jwt",
    "Should I use NATS or Celery?": "guide/other-tools",
    "What causes 'Address already in use'?": "guide/troubleshooting",
    "database pool": "guide/recipes",
    "call from a Django view": "guide/notebooks-and-django",
    "When is something deprecated and removed?": "guide/stability",
    "ServerConfig": "reference/fastrpc.config",
    "DeadlineExceededError": "reference/fastrpc.errors",
}

#: A page of every kind, and each that has a table, a menu or a text that no other has; the search with its results.
SHOWN = (
    "index",
    "guide/first-service",
    "guide/troubleshooting",
    "guide/recipes",
    "reference/index",
    "reference/fastrpc",
    "reference/fastrpc.config",
    "PROTOCOL",
    "SECURITY",
    "CHANGELOG",
    "genindex",
    "py-modindex",
)

QUERY = "How do I set a deadline for a call?"


def build(output: Path) -> subprocess.CompletedProcess[str]:
    """Build a site; only one process at a time may: all builds lay out their sources in one folder."""
    return subprocess.run(
        [sys.executable, "-m", "ci.site", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site, which the first process of a run builds in a minute; the other processes read it."""
    folder = tmp_path_factory.getbasetemp()
    output = (folder if worker_id == "master" else folder.parent) / "site"
    with alone("site"):
        if not output.exists():
            built = output.with_name("unfinished-site")
            ended = build(built)
            assert (ended.returncode, ended.stderr) == (0, "")
            built.rename(output)
    return output


@pytest.fixture(scope="module")
def origin(site: Path) -> Iterator[str]:
    """Serve the folder, as any server of files would."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


def test_the_inventory_has_every_public_name(site: Path) -> None:
    content = (site / "objects.inv").read_bytes()
    listed = zlib.decompress(content.split(b"\n", 4)[4]).decode()
    entries = set(re.findall(r"^(\S+) py:", listed, re.MULTILINE))
    names = {f"{module}.{name}" for module in MODULES for name in public_names(module)}
    assert len(names) > 180
    assert names - entries == set()
    assert fastrpc.__version__.encode() in content.split(b"\n", 4)[2] or fastrpc.__version__ in (
        site / "index.html"
    ).read_text(encoding="utf-8")


def test_a_broken_link_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("# A\n\n[b](missing.md) [c](#nowhere)\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(ROOT / "ci" / "site")]
    ended = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "missing.md" in ended.stderr
    assert "nowhere" in ended.stderr


class Fetched(HTMLParser):
    """The files that a browser fetches for a page, by its markup alone."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: set[str] = set()
        self.others: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "script" and "src" in values:
            self.scripts.add(values["src"])
        elif tag == "link" and set(values.get("rel", "").split()) & {"stylesheet", "icon", "preload"}:
            self.others.add(values["href"])
        elif tag not in ("a", "script", "link"):
            named = ("src", "srcset", "data", "poster", "background", "action")
            self.others.update(values[name] for name in named if name in values)


def test_no_page_names_a_file_of_another_host(site: Path) -> None:
    pages = {
        page.relative_to(site).with_suffix("").as_posix(): Fetched(page.read_text(encoding="utf-8"))
        for page in site.rglob("*.html")
    }
    assert len(pages) > 70
    foreign = re.compile(r"(?!data:)(\w+:|//)")
    named = {name for page in pages.values() for name in page.scripts | page.others}
    assert [name for name in named if foreign.match(name)] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    urls = [url for text in styles for url in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", text)]
    assert [url for url in urls if foreign.match(url)] == []

    # The pages that the browser opens below have every script.
    def scripts(names: Iterable[str]) -> set[str]:
        return {script.rpartition("/")[2] for name in names for script in pages[name].scripts}

    assert scripts(pages) == scripts([*SHOWN, "search"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900, 1440])
def test_pages_fit_their_window_and_ask_no_other_host(
    browser: Any, origin: str, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    for name in SHOWN:
        page.goto(f"{origin}/{name}.html")
        look(page, name, width, scheme)
    search(page, QUERY)
    links = page.eval_on_selector_all("ul.search li > a", "all => all.map(one => one.getAttribute('href'))")
    assert len(links) > 3
    look(page, "search", width, scheme)
    assert f"{origin}/searchindex.js" in {url.partition("?")[0] for url in asked}
    assert [url for url in asked if not url.startswith((f"{origin}/", "data:"))] == []
    assert told == []
    page.close()


def look(page: Any, name: str, width: int, scheme: str) -> None:
    """Check that an open page fits its window in the colours that are asked for; leave a picture."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, *_ = map(int, re.findall(r"\d+", colour))
    assert (red < 64) == (scheme == "dark"), name
    if folder := os.environ.get("FASTRPC_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"site-{name.replace('/', '-')}-{width}-{scheme}.png"))


def search(page: Any, query: str) -> None:
    """Type a query as a reader does: where the window is narrow, the menu has the field."""
    field = page.locator("input.sidebar-search")
    menu = page.locator("label.nav-overlay-icon")
    if menu.is_visible():
        menu.click()
    field.fill(query)
    field.press("Enter")
    found(page)


def found(page: Any) -> None:
    page.wait_for_function("/finished|complete/i.test(document.querySelector('.search-summary')?.innerText)")


@pytest.mark.parametrize(("question", "wanted"), QUESTIONS.items(), ids=list(QUESTIONS.values()))
def test_search_finds_the_page_of_a_question(browser: Any, origin: str, question: str, wanted: str) -> None:
    page = browser.new_page()
    page.goto(f"{origin}/search.html?q={quote(question)}")
    found(page)
    links = page.eval_on_selector_all("ul.search li > a", "all => all.map(one => one.getAttribute('href'))")
    page.close()
    pages = list(dict.fromkeys(re.split(r"[?#]", unquote(link))[0] for link in links))
    assert f"{wanted}.html" in pages[:3]
