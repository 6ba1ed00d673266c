"""Messages in DATA: any cut of the bytes gives the same ones, and a bad prefix ends the reading."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.grpc.fields import MessageReader
from fastrpc_harness.grpc_parts import encode_prefix, place_message, read_messages, state_of

LIMIT = 1_000_000

Message = tuple[bytes, bool]

messages = st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=8)


def framed(*messages: Message) -> bytes:
    return b"".join(
        struct.pack(">BI", is_compressed, len(content)) + content for content, is_compressed in messages
    )


@given(messages, st.data())
def test_any_cut_of_the_bytes_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    raw = framed(*messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    reader = MessageReader(LIMIT)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += read_messages(reader, raw[start:end])
    assert found == messages
    assert state_of(reader) == (False, 0)


def test_messages_come_byte_by_byte() -> None:
    reader = MessageReader(LIMIT)
    raw = framed((b"one", False), (b"", True), (b"three", True))
    found = [read_messages(reader, raw[at : at + 1]) for at in range(len(raw))]
    assert [message for part in found for message in part] == [(b"one", False), (b"", True), (b"three", True)]


@pytest.mark.parametrize(
    ("size", "missing"), [(0, 0), (1, 0), (4, 0), (5, 10), (6, 9), (14, 1), (15, 0), (16, 0)]
)
def test_the_end_inside_a_message_is_seen(size: int, missing: int) -> None:
    reader = MessageReader(LIMIT)
    read_messages(reader, framed((b"0123456789", False), (b"", False))[:size])
    assert state_of(reader) == (size not in (0, 15), missing)


def test_a_long_message_is_received_in_parts() -> None:
    content = bytes(range(256)) * 2_000
    reader = MessageReader(LIMIT)
    raw = framed((content, False), (b"next", False))
    found = [
        message
        for at in range(0, len(raw), 16_384)
        for message in read_messages(reader, raw[at : at + 16_384])
    ]
    assert found == [(content, False), (b"next", False)]


def test_the_remainder_of_a_message_is_placed_at_its_final_address() -> None:
    content = bytes(range(256)) * 2_000
    for came in (0, 1, 100_000):
        reader = MessageReader(LIMIT)
        assert read_messages(reader, framed((content, True))[: 5 + came]) == []
        assert place_message(reader, content[came:], 300_000) == content
        assert reader.is_compressed
        assert state_of(reader) == (False, 0)
        assert read_messages(reader, framed((b"next", False))) == [(b"next", False)]


def test_memory_grows_with_the_bytes_that_came() -> None:
    reader = MessageReader(2**31)
    read_messages(reader, struct.pack(">BI", 0, 2**31 - 1) + b"x")
    assert reader.assembly is not None
    assert reader.assembly.filled == 1
    assert reader.total == 2**31 - 1


@pytest.mark.parametrize("flags", [2, 3, 0x80, 0xFF])
def test_other_flags_are_a_problem(flags: int) -> None:
    reader = MessageReader(LIMIT)
    assert read_messages(
        reader, framed((b"fine", False)) + bytes((flags, 0, 0, 0, 0)) + framed((b"late", False))
    ) == [(b"fine", False)]
    assert reader.problem == 1


def test_a_message_above_the_limit_is_a_problem_before_it_comes() -> None:
    reader = MessageReader(10)
    assert read_messages(reader, framed((b"0123456789", False))) == [(b"0123456789", False)]
    assert read_messages(reader, encode_prefix(11)) == []
    assert reader.problem == 2


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 70_000, 2**32 - 1])
def test_a_prefix_has_the_flag_and_the_length(size: int, is_compressed: bool) -> None:
    assert encode_prefix(size, is_compressed) == struct.pack(">BI", is_compressed, size)
