"""Protobuf payloads that the pre-scan accepts and refuses."""

import threading
import tracemalloc
from typing import Any

import pytest

from fastrpc._core.payload.prescan_protobuf import MessageLayout
from fastrpc.codecs.protobuf import PACKED_EIGHT_BYTES, PACKED_FOUR_BYTES, PACKED_VARINTS, message_layout
from tests.support.people import nested_people, person_class
from tests.support.stopwatch import fastest

CONTAINER = 72
MIB = 1024 * 1024

#: Two messages: the first holds itself in field 1 and in group 2, and the second in field 3.
LAYOUT = MessageLayout([{1 << 3 | 2: 0, 2 << 3 | 3: 0, 3 << 3 | 2: 1}, {}])


def result(payload: bytes, **limits: int) -> str:
    return LAYOUT.prescan_payload(payload, **limits)[0]


@pytest.mark.parametrize(
    ("payload", "items", "containers"),
    [
        (b"", 0, 1),
        (b"\x20\x05", 1, 1),  # a number
        (b"\x21" + bytes(8) + b"\x25" + bytes(4), 2, 1),  # eight bytes, four bytes
        (b"\x22\x03abc", 1, 1),  # text
        (b"\x22\x04\x08\x01\x08\x01", 1, 1),  # numbers, or a message, that the layout does not know
        (b"\x0a\x00", 1, 2),  # an empty message
        (b"\x0a\x02\x0a\x00\x0a\x00", 3, 4),
        (b"\x13\x20\x05\x14", 2, 2),  # a group with a number
        (b"\x13\x13\x14\x14", 2, 3),
        (b"\x1a\x02\x0a\x00", 2, 2),  # field 1 of the second message is text
        (b"\x23\x2a\x02\x0a\x00\x24", 2, 2),  # a group nobody knows, with text
    ],
)
def test_fields_are_items_and_messages_are_containers(payload: bytes, items: int, containers: int) -> None:
    whole = ("ok", len(payload) + CONTAINER * containers)
    assert LAYOUT.prescan_payload(payload, max_items=items) == whole
    if items:
        assert result(payload, max_items=items - 1) == "too many items"


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80",
        b"\x00\x01",  # field 0
        b"\x02\x00",
        b"\x0e",  # wire types 6 and 7
        b"\x0f",
        b"\x20",
        b"\x20\x80",
        b"\x20" + b"\x80" * 10 + b"\x01",
        b"\x80\x80\x80\x80\x10\x01",  # a tag of 33 bits
        b"\x80\x80\x80\x80\x80\x01\x01",  # a tag of six bytes
        b"\x21" + bytes(7),
        b"\x25" + bytes(3),
        b"\x0a",
        b"\x0a\x01",
        b"\x0a\x02\x20",
        b"\x0a\x01\x20\x05",  # the number ends after its message
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x13",
        b"\x14",
        b"\x13\x24",
        b"\x0a\x01\x13\x14",  # the group ends after its message
        b"\x13\x0a\x01\x14\x14",
    ],
)
def test_payload_against_the_rules_is_malformed(payload: bytes) -> None:
    assert result(payload) == "malformed"


def test_depth_at_the_limit_passes_and_one_more_does_not() -> None:
    layout = MessageLayout([{3 << 3 | 2: 0}])
    assert layout.prescan_payload(nested_people(99), max_depth=100)[0] == "ok"
    assert layout.prescan_payload(nested_people(100), max_depth=100)[0] == "too deep"
    assert layout.prescan_payload(nested_people(1023), max_depth=2**31 - 1)[0] == "ok"
    assert layout.prescan_payload(nested_people(1024), max_depth=2**31 - 1)[0] == "too deep"
    assert layout.prescan_payload(b"", max_depth=0)[0] == "too deep"


def test_unknown_groups_are_levels_too() -> None:
    assert result(b"\x23" * 99 + b"\x24" * 99) == "ok"
    assert result(b"\x23" * 100 + b"\x24" * 100) == "too deep"


@pytest.mark.parametrize(
    ("held", "numbers", "count"),
    [
        (PACKED_VARINTS, b"", 0),
        (PACKED_VARINTS, b"\x01" * 7, 7),
        (PACKED_VARINTS, b"\x01" * 8 + b"\x80\x01" * 9, 17),
        (PACKED_VARINTS, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 5 + b"\x00", 6),
        (PACKED_FOUR_BYTES, bytes(4 * 9), 9),
        (PACKED_EIGHT_BYTES, bytes(8 * 9), 9),
    ],
)
def test_each_packed_number_is_an_item_in_addition_to_its_field(
    held: int, numbers: bytes, count: int
) -> None:
    layout = MessageLayout([{1 << 3 | 2: held}])
    payload = b"\x0a" + bytes([len(numbers)]) + numbers
    assert layout.prescan_payload(payload, max_items=count + 1) == ("ok", len(payload) + CONTAINER)
    assert layout.prescan_payload(payload, max_items=count)[0] == "too many items"


@pytest.mark.parametrize("messages", [[], [{10: 1}], [{10: -1}], [{10: -5}]])
def test_layout_that_leads_nowhere_is_refused(messages: Any) -> None:
    with pytest.raises(ValueError, match=r"needs at least one message|tag 10 refers to message"):
        MessageLayout(messages)


@pytest.mark.parametrize("messages", [None, 5, [None], [{"a": 0}], [{10: "a"}]])
def test_foreign_layout_is_refused(messages: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        MessageLayout(messages)


def test_layout_follows_a_message_class() -> None:
    person, named_entry, tag = 0, 2, 1
    assert message_layout(person_class()) == [
        {2 << 3 | 2: PACKED_VARINTS, 3 << 3 | 2: person, 4 << 3 | 2: tag, 5 << 3 | 2: named_entry},
        {},
        {2 << 3 | 2: tag},
    ]


def test_class_that_does_not_tell_has_no_layout() -> None:
    assert message_layout(int) is None


def test_proto2_groups_and_extensions_are_in_the_layout() -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="old.proto", package="old", syntax="proto2")
    message = file.message_type.add(name="Old")
    message.nested_type.add(name="Part")
    message.extension_range.add(start=100, end=200)
    for owner, name, number, field_type in (
        (message.field, "part", 1, kind.TYPE_GROUP),
        (file.extension, "later", 100, kind.TYPE_MESSAGE),
    ):
        field = owner.add(name=name, number=number, type=field_type, label=1, type_name=".old.Old.Part")
        if owner is file.extension:
            field.extendee = ".old.Old"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    old = message_factory.GetMessageClass(pool.FindMessageTypeByName("old.Old"))
    assert message_layout(old) == [{1 << 3 | 3: 1, 100 << 3 | 2: 1}, {}]


@pytest.mark.measures
def test_nesting_a_million_deep_is_refused_at_once_on_a_small_stack() -> None:
    layout = MessageLayout([{3 << 3 | 2: 0}])
    payload = nested_people(1_000_000)
    results: list[str] = []
    seconds: list[float] = []

    def scan() -> None:
        results.append(layout.prescan_payload(payload)[0])
        results.append(layout.prescan_payload(payload, max_depth=1024)[0])
        seconds.append(fastest(lambda: layout.prescan_payload(payload)))

    before = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=scan)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert results == ["too deep", "too deep"]
    assert seconds[0] <= 0.005


@pytest.mark.measures
def test_16_mib_of_empty_messages_are_refused_without_the_memory() -> None:
    payload = b"\x0a\x00" * (8 * MIB)
    tracemalloc.start()
    try:
        assert result(payload) == "too many items"
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert fastest(lambda: LAYOUT.prescan_payload(payload)) <= 0.05
