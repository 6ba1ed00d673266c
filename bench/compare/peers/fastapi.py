"""FastAPI under uvicorn with httptools and uvloop, and in a server of ours.

Bytes are raw bodies, typed calls have models of pydantic.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httptools  # noqa: F401  (uvicorn would do without, and much slower)
import pydantic
from fastapi import FastAPI, Request, Response

import fastrpc
from bench.compare.http_client import HttpClient
from bench.compare.http_load import HELLO, HELLO_PATH, RECORD_PATH
from bench.compare.peers.base import Peer
from bench.compare.uvicorn_server import UvicornServer
from bench.compare.workloads import Workload


class Factors(pydantic.BaseModel):
    """The arguments of `mul`."""

    a: int
    b: int


class Product(pydantic.BaseModel):
    """The result of `mul`."""

    value: int


class Record(pydantic.BaseModel):
    """The typed record of the workloads."""

    id: int
    name: str
    score: float
    tags: list[str]


def build_application() -> FastAPI:
    """Return the application that is served."""
    application = FastAPI()

    @application.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    @application.post("/mul")
    async def mul(factors: Factors) -> Product:
        return Product(value=factors.a * factors.b)

    @application.post("/record")
    @application.post(RECORD_PATH)
    async def record(record: Record) -> Record:
        return record

    @application.get(HELLO_PATH)
    async def hello() -> str:
        return HELLO

    return application


class FastApi(UvicornServer, HttpClient):
    """FastAPI in one uvicorn worker."""

    def application(self) -> FastAPI:
        return build_application()


class MountedFastApi(FastApi):
    """The same application, mounted in a server of ours."""

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = fastrpc.ServerConfig(
            protocols=("http",), http=fastrpc.HTTP(mounts={"/": build_application()})
        )
        async with fastrpc.Server(config=config) as server:
            address = str(await server.listen("tcp://127.0.0.1:0"))
            yield f"http://{address.removeprefix('tcp://')}"


PEERS: tuple[Peer, ...] = (
    FastApi("fastapi", "FastAPI, uvicorn, uvloop", family="FastAPI"),
    MountedFastApi(
        "fastapi_mounted", "FastAPI, mounted in fastrpc", family="FastAPI in fastrpc", by_default=False
    ),
)
