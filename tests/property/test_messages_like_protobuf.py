"""Messages of our codec against protobuf's own classes, made from our descriptors, in both directions."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.errors import CallError, DecodeError
from tests.support.schema_oracle import Echo, echo_of
from tests.support.schema_types import CLASSES, ENUMS, SCALARS, Kind, Node, classes


@given(classes())
def test_protobuf_and_our_coders_agree(made: tuple[Any, list[Any]]) -> None:
    cls, values = made
    echo = Echo(cls)
    for value in values:
        payload = echo.encode(value)
        message = echo.oracle.FromString(payload)
        message.DiscardUnknownFields()
        again = message.SerializeToString()
        assert len(again) == len(payload)
        assert echo.decode(payload) == value
        assert echo.decode(again) == value


@pytest.mark.parametrize("kind", [*SCALARS, *ENUMS, *CLASSES], ids=lambda kind: str(kind.annotation))
@given(data=st.data())
def test_every_kind_of_value_comes_back(kind: Kind, data: st.DataObject) -> None:
    echo = echo_of(kind.annotation)
    value = data.draw(kind.values)
    payload = echo.encode(value)
    again = echo.oracle.FromString(payload).SerializeToString()
    assert echo.decode(payload) == echo.decode(again) == value


@given(classes(), st.data())
def test_malformed_messages_are_refused_and_valid_ones_read_as_protobuf_does(
    made: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    cls, values = made
    echo = Echo(cls)
    mutated = bytearray(echo.encode(values[0]))
    for place in data.draw(st.lists(st.integers(0, max(len(mutated) - 1, 0)), max_size=4)):
        mutated[place : place + 1] = data.draw(st.binary(max_size=2))
    payload = bytes(mutated)
    message = None
    with contextlib.suppress(Exception):
        message = echo.oracle.FromString(payload)
    try:
        value = echo.decode(payload)
    except DecodeError:
        # It may be a message, and yet no value of the class: one without a required field, or a text that is no date.
        return
    assert message is not None
    message.DiscardUnknownFields()
    again = echo.oracle.FromString(echo.encode(value))
    assert _is_same(*(echo.decode(one.SerializeToString(deterministic=True)) for one in (message, again)))


def _is_same(first: Any, second: Any) -> bool:
    """Tell whether two values are equal where a NaN, which equals nothing, is at the same place in both."""
    return bool(first == second) or repr(first) == repr(second)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(payload: bytes) -> None:
    for echo in ECHOES:
        with contextlib.suppress(DecodeError):
            echo.decode(payload)
        with contextlib.suppress(CallError):
            echo.marshal.decode_arguments(payload)


ECHOES = [echo_of(Node), *(echo_of(kind.annotation) for kind in CLASSES)]
