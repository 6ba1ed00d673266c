"""The types of libraries travel by the codec of another package, in the plain form that such a codec knows."""

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pydantic
import pytest

import fastrpc
from fastrpc import CallError, Client, ServerConfig
from tests.support.own_package import forget_tables, write_package
from tests.support.served import served

pytestmark = pytest.mark.one_loop


class User(pydantic.BaseModel):
    name: str
    home: Path


@dataclass
class Host:
    addresses: deque[IPv4Address]
    paths: dict[Path, int]


@fastrpc.service("own")
class Own:
    @fastrpc.method
    async def host(self, host: Host, user: User | None = None) -> tuple[Host, User | None]:
        return host, user


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_package(tmp_path, "own_values")
    monkeypatch.syspath_prepend(tmp_path)
    forget_tables()
    yield
    sys.modules.pop("own_values", None)
    forget_tables()


async def test_they_come_back_as_they_were(package: None) -> None:
    host = Host(deque([IPv4Address("10.0.0.1")]), {Path("a"): 1})
    user = User(name="x", home=Path("/x"))
    config = ServerConfig(codecs=("msgpack", "reversed"))
    async with served(Own, config=config) as address, Client(address) as plain:
        client = plain.with_options(codec="reversed")
        assert await client.call(Own.host, host) == (host, None)
        assert await client.call(Own.host, host, user=user) == (host, user)
        with pytest.raises(CallError, match=r"host\.addresses\[0\]: expected `IPv4Address`"):
            await client.call("own.host", {"addresses": ["x"], "paths": {}})
        with pytest.raises(CallError, match=r"user\.name: field required"):
            await client.call("own.host", {"addresses": [], "paths": {}}, user={"home": ""})
