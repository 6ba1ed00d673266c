"""What the address of an endpoint says about its connections."""

import pytest

from fastrpc import Endpoint
from fastrpc.client.wire import early_bytes_on


@pytest.mark.parametrize(
    ("wire", "address", "leaves_early"),
    [
        ("native", "tcp://127.0.0.1:1", True),
        # Each write would be a TLS record of its own.
        ("native", "tls://127.0.0.1:1", False),
        ("rpcx", "tls://127.0.0.1:1", True),
    ],
)
def test_requests_over_tls_leave_together(wire: str, address: str, leaves_early: bool) -> None:
    assert (early_bytes_on(wire, Endpoint(address)) > 0) is leaves_early
