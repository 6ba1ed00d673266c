"""Attacks by HTTP/2; an honest client on another connection keeps its rate and loses no call."""

from collections import Counter
from collections.abc import Iterator

import pytest

from fastrpc import SyncClient
from tests.conftest import SCALE
from tests.support.attacking import Attacked, serving
from tests.support.http2_attacker import ATTACKS

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

CODE = """
import fastrpc

@fastrpc.service("test.v1.Raw")
class Raw:
    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method(codec="raw")
    async def give(self, data: bytes) -> bytes:
        return bytes(250_000)

app = fastrpc.App([Raw], config=fastrpc.ServerConfig(protocols=("native", "grpc")))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with serving(CODE, tmp_path_factory.mktemp("attacked"), "tests.support.http2_attacker") as found:
        yield found


def check_honest_client(server: Attacked, *names: str) -> Counter[str]:
    with SyncClient(f"grpc://127.0.0.1:{server.port}") as client:

        def call() -> None:
            assert client.call("test.v1.Raw.echo", b"hello") == b"hello"

        return server.check(call, *names, scale=SCALE)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_honest_client_keeps_its_rate_during_an_attack(server: Attacked, name: str) -> None:
    check_honest_client(server, name)


def test_an_honest_client_keeps_its_rate_during_all_attacks_at_once(server: Attacked) -> None:
    begun = check_honest_client(server, *ATTACKS)
    # The server ends most of them; some it can take for mistakes, or for callers that are slow.
    assert sum(count > 1 for count in begun.values()) > len(ATTACKS) // 2
