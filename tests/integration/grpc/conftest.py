"""Tests of generated code run over each protocol that carries it."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from tests.support.orders import WIRES


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Iterator[str]:
    """The protocol, which channels and servers of `fastrpc.grpc` speak in this test."""
    with patch("fastrpc.grpc.options.WIRE", request.param):
        yield request.param
