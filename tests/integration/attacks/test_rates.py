"""Attacks by HTTP/1.1, WebSocket, the native protocol and rpcx; honest callers keep their rates meanwhile.

Attacks by HTTP/2 are in `tests/integration/grpc/test_attacks.py`.
"""

import http.client
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fastrpc import ClientConfig, SyncClient
from tests.conftest import SCALE
from tests.support.attacking import Attacked, serving
from tests.support.attacks import ATTACKS, CODE, GUARDED, STRANGERS, TOKEN

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

MODULE = "tests.support.attacks"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with serving(CODE, tmp_path_factory.mktemp("attacked"), MODULE) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with serving(GUARDED, tmp_path_factory.mktemp("guarded"), MODULE) as found:
        yield found


@contextmanager
def honest(port: int, way: str, token: str | None) -> Iterator[Callable[[], Any]]:
    """Yield a call by a protocol that checks its answer."""
    with ExitStack() as stack:
        if way == "http":
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            stack.callback(connection.close)
            fields = {"Content-Type": "application/json"}
            fields |= {} if token is None else {"Authorization": f"Bearer {token}"}

            def call() -> None:
                connection.request("POST", "/shop/count", b'{"text": "hello"}', fields)
                assert json.loads(connection.getresponse().read()) == 5

        else:
            config = ClientConfig(wire_protocol=way)
            client = stack.enter_context(
                SyncClient(f"tcp://127.0.0.1:{port}", config=config, credentials=token)
            )

            def call() -> None:
                assert client.call("shop.count", "hello") == 5

        yield call


def ways(names: Iterable[str]) -> pytest.MarkDecorator:
    """Try each attack while an honest caller uses one of the protocols."""
    cases = [(name, ("native", "http", "rpcx")[number % 3]) for number, name in enumerate(names)]
    return pytest.mark.parametrize(("name", "way"), cases)


@ways(ATTACKS)
def test_an_honest_caller_keeps_its_rate_during_an_attack(server: Attacked, name: str, way: str) -> None:
    with honest(server.port, way, None) as call:
        server.check(call, name, scale=SCALE)


@ways(STRANGERS)
def test_an_honest_caller_keeps_its_rate_while_strangers_call(guarded: Attacked, name: str, way: str) -> None:
    with honest(guarded.port, way, TOKEN) as call:
        guarded.check(call, name, scale=SCALE)
