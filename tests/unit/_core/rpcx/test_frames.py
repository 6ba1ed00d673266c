"""Frames of rpcx at their bounds, and the protocols that have them."""

import re
import tracemalloc

import pytest

from fastrpc._core.rpcx.frames import PHOBOS, RPCX, Profile
from fastrpc.errors import RemoteProtocolError
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import TranslatedRpcx, served_rpcx
from tests.support.rpcx_wire import RAW, Frame, WireError, call, frames_in

BEAT = Frame(path="p", method="m", heartbeat=True, sequence=2**64 - 1, payload=b"now")
HEADER_BYTES = 16


def with_rest(rest: int) -> bytes:
    """Return a header that announces the given number of bytes."""
    return BEAT.encode()[:12] + rest.to_bytes(4, "big")


@pytest.mark.parametrize("first", [0x00, 0x07, 0x09, 0x42, 0xFF])
def test_the_first_byte_is_enough_to_refuse_another_magic(first: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"begins with 0x{first:02x}, the magic is 0x08"):
        TranslatedRpcx().hear(bytes([first]))


@pytest.mark.parametrize("rest", [0, 1, 15])
def test_a_length_that_leaves_no_room_for_the_four_lengths_is_refused(rest: int) -> None:
    with pytest.raises(
        RemoteProtocolError, match=f"announces {rest} bytes, fewer than the 16 of its lengths"
    ):
        TranslatedRpcx().hear(with_rest(rest))


@pytest.mark.parametrize("rest", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_of_gigabytes_is_refused_by_its_header_without_memory(rest: int) -> None:
    client = TranslatedRpcx()
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match=f"announces {rest + HEADER_BYTES} bytes, the limit is"):
            client.hear(with_rest(rest))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_a_header_that_is_not_whole_is_waited_for(size: int) -> None:
    client = TranslatedRpcx()
    assert client.hear(with_rest(2**32 - 1)[:size]) == []
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        client.hear(with_rest(2**32 - 1)[size:])


def test_a_length_over_the_limit_is_refused_after_a_good_frame_too() -> None:
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        TranslatedRpcx().hear(Frame(response=True), with_rest(2**31))


@pytest.mark.parametrize(("at", "name"), list(enumerate(["path", "method", "metadata", "payload"])))
@pytest.mark.parametrize("more", [1, 2**31, 2**32 - 100])
def test_a_part_that_runs_past_its_frame_is_named(at: int, name: str, more: int) -> None:
    data = bytearray(Frame(response=True).encode())
    place = HEADER_BYTES + 4 * at
    left = len(data) - place - 4
    data[place : place + 4] = (left + more).to_bytes(4, "big")
    text = f"the {name} of a frame announces {left + more} bytes, {left} are left of the frame"
    with pytest.raises(RemoteProtocolError, match=re.escape(text)):
        TranslatedRpcx().hear(bytes(data))


@pytest.mark.parametrize(("taken", "name"), [(12, "method"), (8, "metadata"), (4, "payload")])
def test_a_part_that_leaves_no_room_for_the_next_length_is_refused(taken: int, name: str) -> None:
    # Twelve bytes of the lengths that should follow belong to the part before them.
    data = bytearray(Frame(response=True).encode())
    place = len(data) - taken - 4
    data[place : place + 4] = taken.to_bytes(4, "big")
    with pytest.raises(RemoteProtocolError, match=f"has 0 bytes left, too few for the length of its {name}"):
        TranslatedRpcx().hear(bytes(data))


def test_bytes_after_the_payload_are_refused() -> None:
    data = Frame(response=True).encode()
    data = data[:12] + (17).to_bytes(4, "big") + data[16:] + b"!"
    with pytest.raises(WireError, match="behind the payload"):
        frames_in(data)
    with pytest.raises(RemoteProtocolError, match="1 bytes after its payload"):
        TranslatedRpcx().hear(data)


@pytest.mark.parametrize("version", [0, 1, 255])
@pytest.mark.parametrize("low_nibble", [0, 15])
async def test_version_and_low_nibble_are_not_looked_at(version: int, low_nibble: int) -> None:
    request = call("Arith", "EchoBytes", b"x", serialize=RAW, version=version, low_nibble=low_nibble)
    async with served_rpcx(Arith()) as talk:
        answer = await talk.ask(request)
        assert (answer.payload, answer.version, answer.low_nibble) == (b"x", version, low_nibble)


@pytest.mark.parametrize("sequence", [0, 1, 2**31, 2**32, 2**63, 2**64 - 1])
async def test_a_sequence_has_64_bits(sequence: int) -> None:
    async with served_rpcx(Arith()) as talk:
        answer = await talk.ask(call("Arith", "EchoBytes", b"x", serialize=RAW, sequence=sequence))
        assert (answer.sequence, answer.payload) == (sequence, b"x")


FLAGS = dict.fromkeys(
    ("closes_on_refusal", "compresses", "states_deadlines", "proves_heartbeats", "is_loose"), True
)


def test_rpcx_closes_on_a_refused_token_and_compresses() -> None:
    assert (RPCX.name, RPCX.magic, RPCX.error_key) == ("rpcx", 0x08, b"__rpcx_error__")
    assert RPCX.unknown_names == (b"rpcx: can't find service ", b"rpcx: can't find method ")
    assert RPCX.closes_on_refusal
    assert RPCX.compresses
    assert RPCX.states_deadlines
    assert not RPCX.proves_heartbeats


def test_phobos_has_its_own_magic_and_texts_and_none_of_these_extensions() -> None:
    assert (PHOBOS.name, PHOBOS.magic, PHOBOS.error_key) == ("phobos", 0x42, b"__phobos_error__")
    assert PHOBOS.unknown_names == (b"phobos: can't find service ", b"phobos: can't find method ")
    assert not PHOBOS.closes_on_refusal
    assert not PHOBOS.compresses
    assert not PHOBOS.states_deadlines
    assert PHOBOS.proves_heartbeats


def test_only_a_protocol_whose_peers_set_bits_without_care_takes_any_magic() -> None:
    assert (RPCX.is_loose, RPCX.checked_magic) == (False, 0x08)
    assert (PHOBOS.is_loose, PHOBOS.checked_magic) == (True, -1)


def test_a_profile_does_not_change() -> None:
    with pytest.raises(AttributeError):
        RPCX.magic = 0x42  # type: ignore[misc]


def test_a_profile_needs_a_name_and_every_flag() -> None:
    with pytest.raises(TypeError):
        Profile(None, 1, **FLAGS)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Profile("other", 1)  # type: ignore[call-arg]
