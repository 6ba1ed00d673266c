"""The JSON of our messages against protobuf's own mapping, in both directions."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.errors import DecodeError, EncodeError
from tests.support.schema_oracle import Echo, echo_of
from tests.support.schema_types import CLASSES, ENUMS, SCALARS, Kind, classes

#: CPython 3.15 warns of URL-safe base64 that protobuf reads.
pytestmark = pytest.mark.filterwarnings("ignore:invalid character:FutureWarning")


def same(ours: Any, theirs: Any) -> bool:
    """Return whether two values of JSON are equal; a number is one, with or without a point."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float | int):
        return math.isclose(ours, theirs, rel_tol=1e-6)
    return bool(ours == theirs)


def check(echo: Echo, value: Any) -> None:
    message = echo.oracle.FromString(echo.encode(value))
    try:
        theirs = json_format.MessageToDict(message)
    except (ValueError, json_format.SerializeToJsonError):
        # Infinity as a google.protobuf.Value.
        with pytest.raises(EncodeError, match="NaN and infinity"):
            echo.json.encode_result(value)
        return
    text = echo.json.encode_result(value)
    assert json_format.Parse(text, echo.oracle()) == message
    assert same(json.loads(text), theirs)
    assert echo.json.decode_result(text) == value
    assert echo.json.decode_result(json_format.MessageToJson(message).encode()) == value
    by_name = json_format.MessageToJson(message, preserving_proto_field_name=True)
    assert echo.json.decode_result(by_name.encode()) == value


@given(classes())
def test_protobuf_and_our_coders_agree(made: tuple[Any, list[Any]]) -> None:
    cls, values = made
    echo = Echo(cls)
    for value in values:
        check(echo, value)


@pytest.mark.parametrize("kind", [*SCALARS, *ENUMS, *CLASSES], ids=lambda kind: str(kind.annotation))
@given(data=st.data())
def test_every_kind_of_value_comes_back(kind: Kind, data: st.DataObject) -> None:
    check(echo_of(kind.annotation), data.draw(kind.values))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["value", "next", "byName", "name", "age", "x"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_is_a_value_or_an_error(value: Any) -> None:
    text = json.dumps({"value": value}).encode()
    for echo in ECHOES:
        for payload in (text, json.dumps(value).encode(), text[:-1]):
            try:
                echo.json.decode_result(payload)
            except DecodeError as error:
                assert error.message  # noqa: PT017 (many are values)


ECHOES = [echo_of(kind.annotation) for kind in (*CLASSES, *SCALARS)]
