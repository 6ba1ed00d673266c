"""The table of a message."""

import gc

import pytest

from fastrpc._core.protobuf.message import MessageSchema
from fastrpc.rpc.protobuf.messages import ProtoMessage
from tests.support.tables import decoded, encoded, field, message


@pytest.mark.parametrize("number", [1, 15, 16, 63, 64, 2_047, 2_048, 18_999, 20_000, 536_870_911])
def test_a_field_has_any_number(number: int) -> None:
    table = message(field("first", 5, "int64"), field("other", number if number != 5 else 6, "string"))
    payload = encoded(table, {"first": 3, "other": "x"})
    assert decoded(table, payload) == {"first": 3, "other": "x"}


def test_fields_with_high_numbers_are_found_in_any_order() -> None:
    numbers = [70, 9_000, 100, 65, 30_000]
    table = message(*(field(f"f{number}", number, "int64") for number in numbers))
    backwards = b"".join(
        encoded(message(field("one", number, "int64")), {"one": number}) for number in reversed(numbers)
    )
    assert decoded(table, backwards) == {f"f{number}": number for number in numbers}


def test_more_fields_than_a_byte_counts_are_found() -> None:
    table = message(*(field(f"f{number}", number, "int64") for number in range(1, 400)))
    values = {f"f{number}": number for number in range(1, 400)}
    assert decoded(table, encoded(table, values)) == values


def test_fields_are_set_once() -> None:
    table = message(field("first", 1, "int64"))
    with pytest.raises(ValueError, match="Sample has its fields already"):
        table.define([])


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(KeyError):
        MessageSchema("Sample", "other")


def test_a_message_that_holds_itself_is_freed() -> None:
    found = ProtoMessage("Node", "map")
    found.fields = [field("next", 1, "message", message=found, absent=None)]
    table = found.compiled()
    assert decoded(table, b"\x0a\x02\x0a\x00") == {"next": {"next": {}}}
    del found, table
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, MessageSchema) and one.name == "Node"]
