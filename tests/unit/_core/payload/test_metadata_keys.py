"""One key twice is found wherever the two lie, in metadata of any length."""

import pytest

from fastrpc._core.framing.native import NativeProtocol
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import engine_settings
from tests.support.frame_factory import opening
from tests.support.wire_layout import Kind
from tests.support.wire_settings import Setting


def entries(count: int) -> list[bytes]:
    keys = [b"%05d" % number for number in range(count)]
    return [bytes((len(key), 0, 0, 0)) + key for key in keys]


def is_taken(metadata: bytes) -> bool:
    """Whether a server takes a request with this metadata; else it is refused as malformed."""
    settings = engine_settings(True, {Setting.MAX_METADATA: 65_535})
    connection = RecordingConnection(is_client=False, settings=settings)
    connection.receive_data(opening(False))
    fields = {"kind": Kind.REQUEST, "id": 1, "method": b"arith.mul", "metadata": metadata}
    [event] = connection.receive_data(NativeProtocol().encode(fields))
    assert event[0] == "request" or event == ("refused", 1, 3)
    return bool(event[0] == "request")


@pytest.mark.parametrize("count", [1, 2, 28, 29, 300, 1_771])
def test_different_keys_are_taken(count: int) -> None:
    assert is_taken(b"".join(entries(count)))


@pytest.mark.parametrize("count", [2, 28, 29, 300, 1_770])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_key_twice_is_refused(count: int, place: float) -> None:
    block = entries(count)
    block.append(block[int(place * (count - 1))])

    assert not is_taken(b"".join(block))
