"""The errors that a call of ours ends with."""

import msgspec
import pytest

from fastrpc._core.client.call_errors import OUTCOMES, decode_details

DETAILS = {"field": "price", "limits": [1, 2]}


@pytest.mark.parametrize("codec", [1, 2])
def test_details_are_decoded_as_the_call_is(codec: int) -> None:
    encode = msgspec.json.encode if codec == 2 else msgspec.msgpack.encode
    assert decode_details(encode(DETAILS), codec) == DETAILS


@pytest.mark.parametrize("payload", [b"\xc1", b"{", b"[" * 100_000])
@pytest.mark.parametrize("codec", [1, 2])
def test_details_that_cannot_be_decoded_stay_bytes(payload: bytes, codec: int) -> None:
    try:
        readable = msgspec.msgpack.decode(payload) if codec == 1 else None
    except (msgspec.DecodeError, RecursionError):
        readable = None
    assert decode_details(payload, codec) == (payload if readable is None else readable)


def test_an_outcome_has_a_name_for_each_number_of_the_wire() -> None:
    assert OUTCOMES == ("yes", "no", "unknown")
