"""A choice of the cases of overload that CI measures; `make promises` measures all of them."""

from pathlib import Path

import pytest

from tests.integration.faults.test_overload import FLOODS, LONGEST_P99, assert_goodput
from tests.support.measured_overload import HeldServer, beside_floods

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_keeps_its_goodput(loop: str, tmp_path: Path) -> None:
    with HeldServer(tmp_path, loop=loop) as server:
        assert_goodput(server, "middle", 1, (3.0,))


@pytest.mark.parametrize("kind", ["one_way", "expired"])
def test_a_good_client_goes_on_beside_work_without_an_answer(kind: str, tmp_path: Path) -> None:
    with HeldServer(tmp_path) as server:
        found = beside_floods(server.port, kind, 1)
    assert found["kept"] >= FLOODS[1], found
    assert found["p99"] <= LONGEST_P99, found
