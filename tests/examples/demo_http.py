"""The demonstration's methods by HTTP: by curl, or by urllib where there is no curl."""

import asyncio
import json
import shutil
import subprocess
import urllib.request

from demo_process import check, say
from demo_service import Demo

import fastrpc

__all__ = ["show_http"]


async def show_http() -> None:
    """Call the methods of a server by HTTP and natively, on one port."""
    say('The same methods by HTTP, on the same port: ServerConfig(protocols=("native", "http"))')
    async with fastrpc.Server(Demo, config=fastrpc.ServerConfig(protocols=("native", "http"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        url = f"http://127.0.0.1:{address.port}/demo"
        product = await asyncio.to_thread(posted, f"{url}/mul", {"a": 6, "b": 7})
        check(json.loads(product) == 42, "POST /demo/mul gives 42")
        lines = await asyncio.to_thread(posted, f"{url}/numbers", {"limit": 3})
        check(lines.splitlines()[0] == b'{"value":0}', "a stream comes as lines of JSON")
        async with fastrpc.Client(str(address)) as client:
            check(await client.call(Demo.mul, 6, 7) == 42, "fastrpc.Client calls the same port")


def posted(url: str, arguments: dict[str, int]) -> bytes:
    """Return the body of the answer."""
    body = json.dumps(arguments)
    if shutil.which("curl"):
        say(f"      $ curl -H 'Content-Type: application/json' -d '{body}' {url}")
        options = ["--silent", "--fail", "-H", "Content-Type: application/json", "-d", body]
        return subprocess.run(["curl", *options, url], check=True, capture_output=True).stdout
    say(f"      POST {url} {body}")
    asked = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        content: bytes = answer.read()
    return content
