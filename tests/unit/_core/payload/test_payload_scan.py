"""The checks of one part of a method's payloads before it is decoded."""

from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.hash_flood import untyped_guard
from fastrpc._core.payload.prescan_protobuf import MessageLayout

MSGPACK, JSON, PROTOBUF = 1, 2, 3


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("guard", [None, untyped_guard()])
def test_a_payload_may_lie_in_any_buffer(buffer: Any, guard: Any) -> None:
    payload = buffer(msgspec.msgpack.encode([1, {"a": [2]}]))
    assert PayloadScan(MSGPACK, guard=guard).scan(payload) == ("ok", len(payload) + 3 * 72)
    assert PayloadScan(MSGPACK, guard=guard).scan(payload, max_depth=2)[0] == "too deep"
    assert PayloadScan(MSGPACK, guard=guard).scan(payload, max_items=4)[0] == "too many items"


def test_protobuf_is_scanned_by_its_layout() -> None:
    scan = PayloadScan(PROTOBUF, layout=MessageLayout([{1 << 3 | 2: 0}]))
    assert scan.scan(b"\x0a\x00" * 3) == ("ok", 6 + 4 * 72)
    assert scan.scan(b"\x0a\x00" * 3, max_items=2)[0] == "too many items"
    assert scan.scan(b"\x0a\x02\x0a\x00", max_depth=2)[0] == "too deep"
    assert scan.scan(b"\x0a")[0] == "malformed"


def test_other_codecs_pass_unread() -> None:
    assert PayloadScan(99).scan(b"\xc1") == ("ok", 1)


def test_a_payload_that_is_refused_for_its_size_is_not_decoded_for_its_keys() -> None:
    payload = msgspec.msgpack.encode({number: [0] for number in range(100_000)})
    scan = PayloadScan(MSGPACK, guard=untyped_guard())
    assert scan.scan(payload, max_items=1_000)[0] == "too many items"
