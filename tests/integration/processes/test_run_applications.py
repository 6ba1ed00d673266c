"""`fastrpc run` and `dev` of an ASGI application, alone and together with services."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_talk import HttpClient
from tests.support.program import Program, run_program
from tests.support.successors import started

pytestmark = pytest.mark.one_loop

PROGRAM = """
import fastrpc


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(safe=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def plain(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    body = f"{scope['root_path']} {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Site:
    async def __call__(self, scope, receive, send):
        await plain(scope, receive, send)


site = Site()


def make() -> Site:
    return Site()


def make_untold():
    return Site()


def make_plain():
    return plain


async def make_later() -> Site:
    return Site()


async def make_later_untold():
    return Site()


def make_unknown() -> "fastrpc.Nope":
    return Site()


def services():
    return [Arith()]


beside = [Arith, site]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(PROGRAM)
    (tmp_path / "mounts.toml").write_text('[http.mounts]\n"/" = "main:plain"\n')
    return tmp_path


async def served(folder: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the report of a program that has started, and the bodies at some paths."""
    whole = ["-m", "fastrpc", "run", *arguments, "-a", "tcp://127.0.0.1:0", "--json"]
    with Program(whole, folder) as serving:
        report = await asyncio.to_thread(started, serving)
        async with await HttpClient.to(report["addresses"][0]) as client:
            paths = ("/hi", "/old/hi", "/arith/mul?a=6&b=7")
            return report, {path: (await client.get(path)).body for path in paths}


@pytest.mark.parametrize("application", ["plain", "site", "make"])
async def test_an_application_alone_is_served_at_the_root(folder: Path, application: str) -> None:
    report, bodies = await served(folder, f"main:{application}")
    assert bodies["/hi"] == b" /hi"
    name = "plain" if application == "plain" else "Site"
    assert report["inferred"] == [f"{name} is an ASGI application: it is mounted at /, and HTTP is on"]


async def test_an_application_is_served_by_workers(folder: Path) -> None:
    report, bodies = await served(folder, "main:site", "-w", "2")
    assert len(report["process_ids"]) == 2
    assert bodies["/hi"] == b" /hi"


async def test_applications_are_mounted_next_to_services(folder: Path) -> None:
    report, bodies = await served(
        folder, "main:services", "--mount", "/old=main:plain", "--mount", "/hi=main:site"
    )
    assert bodies == {"/hi": b"/hi /hi", "/old/hi": b"/old /old/hi", "/arith/mul?a=6&b=7": b"42"}
    assert report["inferred"] == ["HTTP is on, as applications are mounted at /old, /hi"]


async def test_an_option_adds_to_the_mounts_of_a_file(folder: Path) -> None:
    _, bodies = await served(folder, "--config", "mounts.toml", "--mount", "/old=main:site")
    assert (bodies["/hi"], bodies["/old/hi"]) == (b" /hi", b"/old /old/hi")


async def test_a_file_of_mounts_alone_is_served(folder: Path) -> None:
    report, bodies = await served(folder, "--config", "mounts.toml")
    assert (report["services"], bodies["/hi"]) == ({}, b" /hi")


def test_the_development_server_prints_the_inferred_parts(folder: Path) -> None:
    with Program(["-m", "fastrpc", "dev", "main:plain", "-a", "tcp://127.0.0.1:0"], folder) as serving:
        assert serving.wait_output("plain is an ASGI application")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["main:services", "--mount", "old=main:plain"], "--mount is 'old=main:plain', it must be PREFIX="),
        (["main:services", "--mount", "/old"], "--mount is '/old', it must be PREFIX="),
        (["main:services", "--mount", "/a=main:plain", "--mount", "/a=main:site"], "--mount has '/a' twice"),
        (["main:services", "--mount", "/a=main"], "'main' is not an import string"),
        (["main:services", "--mount", "/a/=main:site"], "HTTP.mounts is"),
        ([], "nothing to serve"),
    ],
)
def test_mistakes_are_refused_before_anything_is_served(
    folder: Path, arguments: list[str], error: str
) -> None:
    done = run_program(["-m", "fastrpc", "run", *arguments, "-a", "tcp://127.0.0.1:0"], folder)
    assert (done.code, error in done.errors) == (2, True), done.errors
    assert "Traceback" not in done.errors


@pytest.mark.parametrize(
    ("arguments", "protocols", "error"),
    [
        (["main:plain", "--config", "mounts.toml"], "native,http", "two applications are at '/'"),
        (["main:services", "--mount", "/a=main:plain"], "native", "HTTP is not served"),
    ],
)
def test_settings_that_do_not_fit_the_program_are_refused(
    folder: Path, arguments: list[str], protocols: str, error: str
) -> None:
    whole = ["-m", "fastrpc", "run", *arguments, "-a", "tcp://127.0.0.1:0"]
    done = run_program(whole, folder, {"FASTRPC_PROTOCOLS": protocols})
    assert (done.code, error in done.errors) == (3, True), done.errors
    assert "Traceback" not in done.errors


UNTOLD = "Site is an ASGI application, which is not a source of services"


@pytest.mark.parametrize(
    ("source", "error", "hint"),
    [
        ("make_untold", UNTOLD, "annotate the result: `def make_untold() -> Site`"),
        ("make_unknown", UNTOLD, "annotate the result: `def make_unknown() -> Site`"),
        ("make_later_untold", UNTOLD, "annotate the result: `def make_later_untold() -> Site`"),
        ("Site", UNTOLD, "give it alone to `fastrpc run`"),
        ("make_plain", "plain is an ASGI application", "give it alone to `fastrpc run`"),
        ("beside", UNTOLD, "mount it with --mount"),
        ("make_later", "make_later returned a coroutine, it must return an ASGI application", "as `def`"),
    ],
)
def test_an_object_not_known_to_be_an_application_is_refused_with_a_remedy(
    folder: Path, source: str, error: str, hint: str
) -> None:
    whole = ["-m", "fastrpc", "run", f"main:{source}", "-a", "tcp://127.0.0.1:0"]
    done = run_program(whole, folder)
    assert (done.code, error in done.errors, hint in done.errors) == (3, True, True), done.errors
    assert "Traceback" not in done.errors
    assert "never awaited" not in done.errors
