"""The connections that blocking clients share: failures that delay the dials of other clients."""

import time

import pytest

from fastrpc import Backoff, ClientConfig, ConnectError, Endpoint
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.client.services.blocking_sharing import SharedSessions

ENDPOINT = Endpoint("tcp://127.0.0.1:9")
CONFIG = ClientConfig(backoff=Backoff(first=20, longest=30))


def dials_of(cut: float | None) -> list[str]:
    """Return who dials, if the first of two clients fails with this cut."""
    shared, dials = SharedSessions(CONFIG), list[str]()

    def dial(name: str, cut: float | None) -> None:
        def make() -> BlockingSession:
            dials.append(name)
            raise ConnectError(f"no connection for {name}")

        subchannel = SyncSubchannel(ENDPOINT, CONFIG.backoff)
        with pytest.raises(ConnectError, match="no connection for"):
            shared.session(subchannel, make, None, lambda: None, cut)

    dial("first", cut)
    dial("second", None)
    return dials


def test_dial_that_its_own_call_cut_does_not_delay_other_dials() -> None:
    assert dials_of(time.monotonic()) == ["first", "second"]


@pytest.mark.parametrize("cut", [None, float("inf")])
def test_dial_that_the_address_failed_delays_other_dials(cut: float | None) -> None:
    assert dials_of(cut) == ["first"]
