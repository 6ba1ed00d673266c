"""Forms with a file as curl and a real browser send them; a page of a foreign origin sends no form."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, Server, ServerConfig, Upload
from tests.support.browsing import browsing
from tests.support.mounted import answering

pytestmark = pytest.mark.one_loop

HTML = [(b"content-type", b"text/html; charset=utf-8")]
FORM = """<form method=post enctype=multipart/form-data action="{url}">
<input name=album value='é "a"'><input type=checkbox name=tags value=x checked><input name=tags value=y>
<textarea name=text>two
lines</textarea><input type=file name=photo><button>send</button></form>"""

#: A script sends the same by itself.
SCRIPT = """async url => {
  const form = new FormData();
  form.append("album", "a");
  form.append("photo", new Blob(["abc"]), "b.txt");
  const answer = await fetch(url, {method: "POST", body: form, mode: "no-cors"});
  return answer.status;
}"""


@fastrpc.service("photos")
class Photos:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    @fastrpc.method(http="POST /photos")
    async def put(self, photo: Upload, album: str, text: str = "", tags: tuple[str, ...] = ()) -> str:
        self.sizes.append(sum([len(piece) async for piece in photo]))
        return f"{album}|{text}|{','.join(tags)}|{photo.filename}|{photo.content_type}|{self.sizes[-1]}"


@contextlib.asynccontextmanager
async def serving(photos: Photos, page: str = "") -> AsyncIterator[Address]:
    http = HTTP(mounts={"/page": answering(page.encode(), headers=HTML)})
    async with Server(photos, config=ServerConfig(protocols=("http",), http=http)) as server:
        yield await server.listen("tcp://127.0.0.1:0")


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", *arguments, stdout=asyncio.subprocess.PIPE
    )
    found, _ = await process.communicate()
    return found.decode()


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
@pytest.mark.parametrize(
    "options",
    [[], ["-H", "Transfer-Encoding: chunked"], ["--http2-prior-knowledge"]],
    ids=["", "chunked", "http2"],
)
async def test_forms_of_curl_are_read(tmp_path: Path, size: int, options: list[str]) -> None:
    file = tmp_path / 'a "b";c.bin'
    file.write_bytes(b"\r\n--" * (size // 4) + b"x" * (size % 4))
    quoted = str(file).replace('"', '\\"')
    async with serving(Photos()) as address:
        # Above a megabyte curl waits for `100 Continue`.
        answer = await curl(
            *options,
            *("-F", "album=é", "-F", "tags=x", "-F", "tags=y", "-F", f'photo=@"{quoted}"'),
            f"http://127.0.0.1:{address.port}/photos",
        )
    assert answer == f'"é||x,y|a \\"b\\";c.bin|application/octet-stream|{size}"'


async def sent(page: Any, file: Path) -> tuple[int, str]:
    """Send the form of a page; return status and body of the answer."""
    await page.set_input_files("input[type=file]", str(file))
    async with page.expect_navigation() as navigation:
        await page.click("button")
    answer = await navigation.value
    return answer.status, await answer.text()


async def test_the_form_of_an_own_page_is_read(chromium: str, tmp_path: Path) -> None:
    file = tmp_path / 'é "a".txt'
    file.write_bytes(b"abc\r\n" * 100_000)
    photos = Photos()
    async with serving(photos, FORM.format(url="/photos")) as address:
        url = f"http://127.0.0.1:{address.port}/page"
        async with browsing(chromium, url) as page:
            text = 'é \\"a\\"|two\\r\\nlines|x,y|é \\"a\\".txt|text/plain|500000'
            assert await sent(page, file) == (200, f'"{text}"')
            await page.goto(url)
            assert await page.evaluate(SCRIPT, "/photos") == 200
    assert photos.sizes == [500_000, 3]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_page_of_a_foreign_origin_sends_no_form(chromium: str, tmp_path: Path, host: str) -> None:
    """The page at 127.0.0.1 is of the same site, another port, that at localhost of another site."""
    file = tmp_path / "a.txt"
    file.write_bytes(b"abc")
    photos, others = Photos(), Photos()
    async with serving(photos) as address:
        target = f"http://127.0.0.1:{address.port}/photos"
        async with serving(others, FORM.format(url=target)) as foreign:
            async with browsing(chromium, f"http://{host}:{foreign.port}/page") as page:
                # Its answer is opaque, it was sent all the same.
                assert await page.evaluate(SCRIPT, target) == 0
                status, text = await sent(page, file)
                assert status == 403
                assert "origin" in text
    assert photos.sizes == []
