"""The gauges of a relay, which monitors read in any thread."""

from typing import cast

import pytest

from fastrpc.relay.front import Front, RelayLimits, _Joined
from fastrpc.relay.splicing import SplicedPair


class Pair:
    """Belongs to the loop."""

    @property
    def received_bytes(self) -> tuple[int, int]:
        raise AssertionError("its bytes are read outside the loop")


class Labels:
    """Lets a pair arrive while labels are chosen, as the loop may do while the thread of a monitor runs."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def label(self, name: str) -> str:
        self._front._take(f"{name}-later", b"caller")
        return name


async def test_pairs_may_come_while_another_thread_reads_the_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    front = Front("localhost", RelayLimits())
    front._pairs[cast(SplicedPair, Pair())] = _Joined("edge-7", b"caller", 0.0)
    front._take("edge-7", b"caller")
    monkeypatch.setattr(front, "_labels", Labels(front))
    assert list(front.gauges()) == [
        ("fastrpc_relay_open_pairs", ("edge-7",), 1),
        ("fastrpc_relay_names", (), 0),
    ]
