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
from collections.abc import Iterator
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

SHOWN = ("index", "guide/first-service", "reference/fastrpc", "reference/fastrpc.config", "PROTOCOL")


def build(output: Path) -> subprocess.CompletedProcess[str]:
    # All builds lay out their sources in one folder.
    with alone("site"):
        return subprocess.run(
            [sys.executable, "-m", "ci.site", str(output)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site") / "built"
    ended = build(output)
    assert (ended.returncode, ended.stderr) == (0, "")
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
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        red, *_ = map(
            int,
            re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")),
        )
        assert (red < 64) == (scheme == "dark")
        if folder := os.environ.get("FASTRPC_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / f"site-{name.replace('/', '-')}-{width}-{scheme}.png"))
    assert [url for url in asked if not url.startswith((f"{origin}/", "data:"))] == []
    assert told == []
    page.close()


@pytest.mark.parametrize(("question", "wanted"), QUESTIONS.items(), ids=list(QUESTIONS.values()))
def test_search_finds_the_page_of_a_question(browser: Any, origin: str, question: str, wanted: str) -> None:
    page = browser.new_page()
    page.goto(f"{origin}/search.html?q={quote(question)}")
    page.wait_for_function("/finished|complete/i.test(document.querySelector('.search-summary').innerText)")
    links = page.eval_on_selector_all("ul.search li > a", "all => all.map(one => one.getAttribute('href'))")
    page.close()
    pages = list(dict.fromkeys(re.split(r"[?#]", unquote(link))[0] for link in links))
    assert f"{wanted}.html" in pages[:3]
