"""The wire format, frame by frame: written frames are read back, and invalid ones are refused."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.wire.native import NativeProtocol
from fastrpc.errors import RemoteProtocolError
from fastrpc_harness import hot_loops
from tests.support.frame_factory import answer, header, piece, request
from tests.support.wire_frames import Cancel, Credit, Data, End, Goaway, Ping, Skipped
from tests.support.wire_layout import FLAG_MORE, FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_SUM, Kind
from tests.support.wire_reference import encode_metadata

HIGHEST_ID = 2**63 - 1


def protocol(*, peer_parity: int = 1) -> NativeProtocol:
    made = NativeProtocol()
    made.peer_parity = peer_parity
    return made


#: Names of methods, and metadata as the reference writes it.
methods = st.binary(min_size=1, max_size=20).map(lambda raw: b"m." + raw.hex().encode())
blocks = st.dictionaries(
    st.binary(min_size=1, max_size=4).map(lambda raw: raw.hex().encode()), st.just(b"v")
).map(lambda entries: encode_metadata(list(entries.items())))

requests = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.REQUEST),
        "id": st.integers(0, 2**62 - 1).map(lambda number: 2 * number + 1),
        "flags": st.sampled_from([0, 16, 32, 48, 64, 128, 144]),
        "codec": st.integers(0, 255),
        "compressor": st.integers(0, 255),
        "attempt": st.integers(0, 255),
        "timeout_us": st.integers(0, 2**64 - 1),
        "names": st.integers(0, 2**64 - 1),
        "method": methods,
        "metadata": blocks,
        "payload": st.binary(max_size=100),
    }
)
responses = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.RESPONSE),
        "id": st.integers(1, 2**62 - 1).map(lambda number: 2 * number),
        "codec": st.integers(0, 255),
        "compressor": st.integers(0, 255),
        "outcome": st.integers(0, 2),
        "status": st.integers(1, 16),
        "pushback_ms": st.integers(0, 2**32 - 1),
        "elapsed_us": st.integers(0, 2**32 - 1),
        "text": st.text(max_size=50).map(str.encode),
        "metadata": blocks,
        "payload": st.binary(max_size=100),
    }
)


@given(requests | responses)
def test_the_fields_of_a_frame_come_back(fields: dict[str, object]) -> None:
    found = protocol().decode(NativeProtocol().encode(fields))
    assert {name: found[name] for name in fields} == fields


@given(st.binary(max_size=80), st.integers(0, 1))
def test_any_bytes_are_a_frame_or_raise_our_error(data: bytes, parity: int) -> None:
    with contextlib.suppress(RemoteProtocolError):
        found = protocol(peer_parity=parity).decode(data)
        assert protocol().encode(found)[4:16] == data[4:16]


@given(
    st.sampled_from(sorted(Kind)),
    st.integers(0, 255),
    st.integers(0, 40),
    st.randoms(use_true_random=False),
)
def test_any_body_of_a_known_kind_is_a_frame_or_raises_our_error(
    kind: Kind, flags: int, size: int, source: random.Random
) -> None:
    frame = header(kind, size, flags=flags, id=source.choice((0, 1, 2))) + source.randbytes(size)
    with contextlib.suppress(RemoteProtocolError):
        assert protocol().decode(frame)["kind"] == kind


@pytest.mark.parametrize("frame", [request(payload=b"abc"), Ping().encode(), Credit(1, 5).encode()])
def test_part_of_a_frame_is_no_frame(frame: bytes) -> None:
    for size in range(len(frame)):
        with pytest.raises(RemoteProtocolError, match=f"{size} bytes are not one whole frame"):
            protocol().decode(frame[:size])
    with pytest.raises(RemoteProtocolError, match="not one whole frame"):
        protocol().decode(frame + b"\0")


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (request(flags=FLAG_ONE_WAY | FLAG_STREAM_IN), "ONE_WAY with a stream"),
        (header(Kind.REQUEST, 16, flags=FLAG_SUM, id=1), "undefined flags of REQUEST"),
        (header(Kind.CREDIT, 4, flags=1), "undefined flags of CREDIT"),
        (header(Kind.CREDIT, 5), "length"),
        (header(Kind.CANCEL, 4, flags=1, id=1), "undefined flags of HEAD, END or CANCEL"),
        (header(Kind.PING, 7), "length"),
        (header(Kind.PING, 8, id=1), "id"),
        (header(Kind.REQUEST, 16, id=0), "call id"),
        (header(Kind.REQUEST, 16, id=2**63 + 1), "call id"),
        (header(Kind.SETTINGS, 4_097), "length"),
        (header(Kind.GOAWAY, 15), "length"),
        (header(0x90, 0), "unknown critical frame kind"),
    ],
    ids=str,
)
def test_a_broken_header_is_refused_with_the_broken_field(frame: bytes, problem: str) -> None:
    with pytest.raises(RemoteProtocolError, match=problem):
        protocol().decode(frame[:16])


def test_kinds_of_a_later_version_may_be_skipped() -> None:
    assert protocol().decode(Skipped(0x20, b"later").encode())["payload"] == b"later"


@pytest.mark.parametrize(
    "frame",
    [
        request(HIGHEST_ID),
        Data(1, b"x" * 16_384).encode(),
        piece(1, b"more", more=True),
        End(1).encode(),
        Cancel(1, 2).encode(),
        Goaway(7, 3, final=True, text=b"bye").encode(),
    ],
    ids=["REQUEST", "DATA", "piece", "END", "CANCEL", "GOAWAY"],
)
def test_a_frame_that_was_read_is_written_back_unchanged(frame: bytes) -> None:
    assert protocol().encode(protocol().decode(frame)) == frame


def test_the_first_piece_of_a_message_states_its_whole_size() -> None:
    fields = {"kind": Kind.DATA, "id": 1, "flags": FLAG_MORE, "total": 100_000, "payload": bytes(20)}
    found = protocol().decode(protocol().encode(fields))
    assert (found["total"], found["payload"]) == (100_000, bytes(20))
    assert "total" not in protocol().decode(piece(1, b"x"))


def test_a_large_payload_is_read_as_soon_as_its_head_has_arrived() -> None:
    frame = request(payload=bytes(100_000))
    head = len(frame) - 100_000
    assert hot_loops.parse_frames(protocol(), 1, frame[:head]) == head
    assert hot_loops.parse_frames(protocol(), 1, frame[: head + 5]) == head + 5
    small = request(payload=bytes(10_000))
    assert hot_loops.parse_frames(protocol(), 1, small[:-1]) == 0
    assert hot_loops.parse_frames(protocol(), 1, small + b"behind") == len(small)


def test_an_answer_and_its_error_differ_in_their_heads_alone() -> None:
    good, bad = answer(2, b"\x2a"), answer(2, b"", status=5, message=b"no such customer")
    assert protocol().decode(good)["status"] == 0
    found = protocol().decode(bad)
    assert (found["status"], found["text"]) == (5, b"no such customer")
