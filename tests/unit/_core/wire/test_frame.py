"""Settings of a connection for its wire protocol: the longest frame, the required first frame, the owners of ids."""

import pytest

from fastrpc._core.wire.frame import WireProtocol
from fastrpc._core.wire.native import NativeProtocol
from fastrpc.errors import RemoteProtocolError
from tests.support.frame_factory import answer, header, request, settings
from tests.support.wire_frames import Ping, SettingsFrame
from tests.support.wire_layout import Kind


def protocol(*, peer_parity: int = 1, **options: int) -> NativeProtocol:
    made = NativeProtocol()
    made.peer_parity = peer_parity
    for name, value in options.items():
        setattr(made, name, value)
    return made


def test_a_new_protocol_takes_the_frames_of_the_default_settings() -> None:
    assert (WireProtocol().frame_limit, WireProtocol().needs_settings) == (262_144, False)
    assert isinstance(NativeProtocol(), WireProtocol)


def test_a_frame_may_be_as_long_as_the_limit() -> None:
    frame = request(payload=bytes(1_000))
    body = len(frame) - 16
    assert protocol(frame_limit=body).decode(frame)["payload"] == bytes(1_000)
    with pytest.raises(RemoteProtocolError, match=f"frame length {body}, allowed is {body - 1}"):
        protocol(frame_limit=body - 1).decode(frame)


def test_a_frame_over_the_limit_is_refused_from_its_header_alone() -> None:
    with pytest.raises(RemoteProtocolError, match="frame length 262145, allowed is 262144"):
        protocol().decode(header(Kind.REQUEST, 262_145, id=1))


@pytest.mark.parametrize("frame", [request(), Ping().encode(), SettingsFrame(ack=True).encode()])
def test_only_settings_may_come_first(frame: bytes) -> None:
    first = protocol(needs_settings=True)
    with pytest.raises(RemoteProtocolError, match="first frame is not SETTINGS"):
        first.decode(frame)
    assert first.decode(settings(False))["kind"] == Kind.SETTINGS
    assert protocol().decode(frame)["kind"] == frame[4]


@pytest.mark.parametrize("parity", [0, 1])
def test_calls_are_opened_by_the_side_whose_parity_their_ids_have(parity: int) -> None:
    one = protocol(peer_parity=parity)
    theirs, ours = 10 + parity, 11 - parity
    assert one.decode(request(theirs))["id"] == theirs
    assert one.decode(answer(ours))["id"] == ours
    for frame in (request(ours), answer(theirs)):
        with pytest.raises(RemoteProtocolError, match="call id"):
            one.decode(frame)
