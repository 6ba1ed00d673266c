"""The output of a connection: its order, copies, and counts."""

import pytest

from fastrpc._core.base.output_buffer import OutputBuffer
from fastrpc_harness import buffers

# A part of the given number of bytes is kept, shorter ones are copied.
UNCOPIED = 16_384
SIZES = (3, UNCOPIED - 1, UNCOPIED, 1, UNCOPIED + 1, 0, 70_000, 70_000, 5)


def payload_of(number: int, size: int) -> bytes:
    return bytes([number]) * size


def filled() -> tuple[OutputBuffer, bytes]:
    """Return output of heads and payloads, short and long ones, and its bytes."""
    output, written = OutputBuffer(), b""
    for number, size in enumerate(SIZES):
        head, payload = b"head %d " % number, payload_of(number, size)
        buffers.write_output(output, head)
        buffers.put(output, payload, 0, size)
        written += head + payload
    return output, written


def test_short_parts_lie_in_one_piece() -> None:
    output = OutputBuffer()
    buffers.write_output(output, b"head ")
    buffers.put(output, b"a payload", 2, 7)
    buffers.put(output, b"", 0, 0)
    assert buffers.plain_output(output) == b"head payload"
    assert buffers.output_size(output) == 12
    assert buffers.take_output(output) == b"head payload"


def test_a_long_part_is_the_payload_itself_and_never_a_copy() -> None:
    output, payload = OutputBuffer(), bytes(UNCOPIED)
    buffers.write_output(output, b"head")
    buffers.put(output, payload, 0, UNCOPIED)
    buffers.write_output(output, b"tail")
    assert buffers.plain_output(output) is None
    before, kept, after = buffers.take_output(output)
    assert kept is payload
    assert (before, after) == (b"head", b"tail")


def test_a_long_part_of_a_payload_is_a_view_of_it() -> None:
    output, payload = OutputBuffer(), bytes(range(256)) * 100
    buffers.put(output, payload, 1_000, UNCOPIED)
    (part,) = buffers.take_output(output)
    assert isinstance(part, memoryview)
    assert part.obj is payload
    assert part == payload[1_000 : 1_000 + UNCOPIED]


def test_one_byte_less_is_copied() -> None:
    output = OutputBuffer()
    buffers.put(output, bytes(UNCOPIED - 1), 0, UNCOPIED - 1)
    assert buffers.plain_output(output) == bytes(UNCOPIED - 1)


def test_all_parts_are_sent_in_the_order_in_which_they_were_written() -> None:
    output, written = filled()
    assert b"".join(buffers.take_output(output)) == written


def test_every_byte_counts_until_it_is_taken() -> None:
    output = OutputBuffer()
    written = 0
    for number, size in enumerate(SIZES):
        buffers.write_output(output, b"head")
        buffers.put(output, payload_of(number, size), 0, size)
        written += 4 + size
        assert buffers.output_size(output) == written
    assert sum(map(len, buffers.take_output(output))) == written
    assert buffers.output_size(output) == 0


def test_output_is_taken_once() -> None:
    output, _ = filled()
    buffers.take_output(output)
    assert buffers.take_output(output) == b""
    assert buffers.plain_output(output) is None


def test_plain_output_that_was_written_is_skipped() -> None:
    output = OutputBuffer()
    buffers.write_output(output, b"written by other means")
    buffers.skip_output(output)
    assert buffers.output_size(output) == 0
    buffers.write_output(output, b"next")
    assert buffers.take_output(output) == b"next"


@pytest.mark.parametrize("size", [20, UNCOPIED])
def test_output_that_is_dropped_keeps_no_memory(size: int) -> None:
    output = OutputBuffer()
    buffers.write_output(output, b"head")
    buffers.put(output, bytes(size), 0, size)
    buffers.write_output(output, b"tail")
    buffers.drop_output(output)
    assert buffers.output_size(output) == 0
    assert buffers.output_capacity(output) == 0
    assert buffers.take_output(output) == b""


def test_output_has_no_memory_before_its_first_byte() -> None:
    assert buffers.output_capacity(OutputBuffer()) == 0
