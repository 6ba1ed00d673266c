"""HAProxy, nginx or Envoy in front of a server that listens at a unix socket; all clients share a connection to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 20s
    timeout http-request 20s
    timeout client 20s
    timeout server 20s
frontend clients
    bind {front}
    {rule}
    default_backend servers
backend servers
    http-reuse always
    server one unix@{back} {options}
"""


#: nginx in one process that keeps its files in a folder, around its sites.
NGINX_FRAME = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
{site}
}}
"""

SITE = """
    upstream servers {{
        server unix:{back};
        keepalive 1;
    }}
    server {{
        listen {front};
        location / {{
            {passes}
            {rule}
        }}
    }}
"""

#: How nginx passes requests on: by HTTP/1.1, and by HTTP/2, which its clients then speak with `http2` after the port.
BY_HTTP1 = """
            proxy_pass http://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
"""
BY_GRPC = """
            grpc_pass grpc://servers;
            client_max_body_size 0;
"""


@asynccontextmanager
async def haproxy(
    program: str,
    settings: Path,
    *,
    front: str,
    back: Path,
    rule: str,
    is_reached: Callable[[], Awaitable[bool]],
    options: str = "",
) -> AsyncIterator[None]:
    """Run HAProxy at `front` with one more line for its clients, once `is_reached` says that it listens."""
    settings.write_text(HAPROXY.format(front=front, back=back, rule=rule, options=options))
    async with running([program, "-db", "-f", str(settings)], is_reached):
        yield


@asynccontextmanager
async def nginx(
    program: str,
    settings: Path,
    *,
    front: str,
    back: Path,
    rule: str,
    is_reached: Callable[[], Awaitable[bool]],
    passes: str = BY_HTTP1,
) -> AsyncIterator[None]:
    """Run nginx at `front` with one more line for its forwarded requests, once `is_reached` says that it listens."""
    folder = settings.parent
    site = SITE.format(front=front, back=back, rule=rule, passes=passes)
    settings.write_text(NGINX_FRAME.format(folder=folder, site=site))
    async with running([program, "-e", "stderr", "-p", str(folder), "-c", str(settings)], is_reached):
        yield


@asynccontextmanager
async def envoy(program: str, settings: Path, *, port: int, back: Path) -> AsyncIterator[None]:
    """Run Envoy at a port, which speaks HTTP/2 with the server and appends the addresses of its clients."""
    settings.write_text(json.dumps({"static_resources": envoy_resources(port, str(back))}))
    # The first instance on a machine would keep memory that other instances share with it.
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    async with running([program, "-c", str(settings), *options], lambda: reached(port)):
        yield


def envoy_resources(port: int, back: str) -> object:
    kinds = "type.googleapis.com/envoy.extensions"
    upstream = f"{kinds}.upstreams.http.v3.HttpProtocolOptions"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "servers", "timeout": "0s"}}
    manager = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": {"pipe": {"path": back}}}}
    cluster = {
        "name": "servers",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": upstream,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "servers", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }
    return {"listeners": [listener], "clusters": [cluster]}


@asynccontextmanager
async def running(command: list[str], is_reached: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Run a proxy, once `is_reached` says that it listens."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(20):
            while not await is_reached():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def reached(port: int) -> bool:
    """Return whether a port of this machine is listened at."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True
