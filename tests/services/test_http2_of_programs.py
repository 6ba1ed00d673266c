"""Pages by HTTP/2 as curl and httpx2 ask for them: by prior knowledge, and by ALPN."""

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.every_way import FORM, REQUESTS, EveryWay, every_way, form_of

httpx2 = pytest.importorskip("httpx2", reason="httpx2 is not installed")

pytestmark = pytest.mark.one_loop


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", *arguments, stdout=asyncio.subprocess.PIPE
    )
    found, _ = await process.communicate()
    assert process.returncode == 0, found
    return found.decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("protocols", [("http",), ("native", "http", "grpc")], ids="+".join)
async def test_curl_speaks_http2_by_prior_knowledge(protocols: tuple[str, ...]) -> None:
    async with every_way(protocols) as served:
        url = f"http://127.0.0.1:{served.address.port}"
        for options, version in (([], "1.1"), (["--http2-prior-knowledge"], "2")):
            found = await curl(*options, "-w", " %{http_version} %{http_code}", f"{url}/ways/echo?text=a")
            assert found == f'"a" {version} 200'
        lines = await curl("--http2-prior-knowledge", f"{url}/ways/count", "--json", '{"to": 2}')
        assert [json.loads(line) for line in lines.splitlines()][:2] == [{"value": 0}, {"value": 1}]


@pytest.mark.parametrize(("http2", "version"), [(True, "2"), (False, "1.1")])
async def test_curl_gets_the_version_that_the_server_prefers(
    authority: Authority, http2: bool, version: str
) -> None:
    settings: dict[str, Any] = {"tls": authority.certificate().tls(), "address": "tls://127.0.0.1:0"}
    async with every_way(http={"http2": http2}, **settings) as served:
        url = f"https://localhost:{served.address.port}/items/tea"
        found = await curl("--cacert", str(authority.cert_file), "--http2", "-w", " %{http_version}", url)
        assert found == f'{{"name":"tea","size":1}} {version}'


async def test_curl_asks_many_things_at_once_on_one_connection(authority: Authority) -> None:
    """By TLS: with prior knowledge curl 7.88 fails when it uses a connection again."""
    settings: dict[str, Any] = {"tls": authority.certificate().tls(), "address": "tls://127.0.0.1:0"}
    async with every_way(**settings) as served:
        url = f"https://localhost:{served.address.port}/items/tea?size=[1-100]"
        found = await curl(
            *("--cacert", str(authority.cert_file), "--http2", "--parallel"),
            *("-w", " connected %{num_connects} by %{http_version}\n", url),
        )
    assert sorted(map(int, re.findall(r'"size":(\d+)', found))) == list(range(1, 101))
    connected = re.findall(r"connected (\d) by (\S+)", found)
    assert sorted(connected) == [("0", "2")] * 99 + [("1", "2")]


async def answered(client: Any, served: EveryWay, name: str) -> int:
    asking = REQUESTS[name]
    content = asking.body if isinstance(asking.body, bytes) else json.dumps(asking.body).encode()
    fields = {"Content-Type": "application/json"} if asking.method == "POST" else {}
    for field, value in asking.fields.items():
        fields.pop(field.replace("_", "-"), None)
        if value is not None:
            fields[field.replace("_", "-")] = value
    url = f"http://127.0.0.1:{served.address.port}{asking.target}"
    answer = await client.request(asking.method, url, content=content or None, headers=fields)
    assert answer.http_version == "HTTP/2"
    return answer.status_code


async def test_httpx_asks_every_way_at_once() -> None:
    async with every_way() as served, httpx2.AsyncClient(http1=False, http2=True, timeout=30) as client:
        statuses = await asyncio.gather(*(answered(client, served, name) for name in REQUESTS))
    assert dict(zip(REQUESTS, statuses, strict=True)) == {
        name: asking.status for name, asking in REQUESTS.items()
    }


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/ways/echo", {}, 413),
        ("/ways/Echo", {"Connect-Protocol-Version": "1"}, 429),
        ("/ways/Echo", {"Content-Type": "application/proto"}, 429),
        ("/ways/Echo", {"Content-Type": "application/grpc-web+proto"}, 200),
        ("/ways/Nothing", {"Connect-Protocol-Version": "1"}, 404),
    ],
)
async def test_httpx_reads_the_answer_to_an_upload_that_is_refused_early(
    path: str, fields: dict[str, str], status: int
) -> None:
    async with every_way() as served, httpx2.AsyncClient(http1=False, http2=True, timeout=30) as client:
        url = f"http://127.0.0.1:{served.address.port}{path}"
        headers = {"Content-Type": "application/json", **fields}
        answer = await client.post(url, headers=headers, content=b"\0\x7f\xff\xff\xff" + bytes(3_000_000))
        assert (answer.http_version, answer.status_code) == ("HTTP/2", status)


async def test_httpx_uploads_and_follows_a_stream(authority: Authority) -> None:
    settings: dict[str, Any] = {"tls": authority.certificate().tls(), "address": "tls://127.0.0.1:0"}
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    async with every_way(**settings) as served:
        url = f"https://localhost:{served.address.port}"
        async with httpx2.AsyncClient(http2=True, verify=context, timeout=30) as client:
            answer = await client.post(
                f"{url}/photos/sea", content=form_of(bytes(3_000_000)), headers={"Content-Type": FORM}
            )
            assert (answer.http_version, answer.json()[-1]) == ("HTTP/2", 3_000_000)
            async with client.stream("POST", f"{url}/ways/ticks", json={"size": 1_000}) as stream:
                async for line in stream.aiter_lines():
                    assert len(json.loads(line)["value"]) == 1_000
                    break
            answer = await client.post(f"{url}/ways/echo", json={"text": "a"})
            assert answer.json() == "a"
