"""A page of the tutorial, and the common parts of its questions."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import FastAPI

from tests.support.http_talk import HttpClient, Response

__all__ = ["FORM", "MULTIPART", "Page", "asked_until", "multipart", "sent"]

FORM = {"Content_Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content_Type": "multipart/form-data; boundary=X"}


class Page(NamedTuple):
    """One page.

    Attributes:
        application: makes its application.
        ask: asks the application at a path all that the page shows.
    """

    application: Callable[[], FastAPI]
    ask: Callable[[HttpClient, str], Awaitable[None]]


async def sent(client: HttpClient, method: str, target: str, value: Any) -> Response:
    """Send a value in JSON by another verb than POST."""
    content = json.dumps(value).encode()
    fields = {"Content_Type": "application/json", "Content_Length": str(len(content))}
    return await client.ask(method, target, content, **fields)


async def asked_until(client: HttpClient, target: str, value: Any) -> None:
    """Ask until the answer is this one; the guard of the test run ends a test that hangs."""
    while (await client.get(target)).value != value:
        pass


def multipart(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Return a form whose boundary is X: names, the names of files, and contents."""
    found = []
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: text/plain'
        found.append(f'--X\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content)
    return b"\r\n".join([*found, b"--X--\r\n"])
