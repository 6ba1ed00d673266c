"""The pre-scan of protobuf payloads against protobuf's own decoder."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.payload.prescan_protobuf import MessageLayout
from fastrpc.codecs.protobuf import message_layout
from tests.support.people import person_class

Person = person_class()
LAYOUT_OF_PERSON = MessageLayout(message_layout(Person) or [])
UNLIMITED = 2**62

numbers = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5)
tags = st.binary(max_size=5).map(lambda text: {"text": text})
fields = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5),
        "scores": numbers,
        "tags": st.lists(tags, max_size=3),
        "named": st.dictionaries(st.text(max_size=3), tags, max_size=3),
        "lines": st.lists(st.text(max_size=5), max_size=5),
    }
)
people: st.SearchStrategy[dict[str, Any]] = st.recursive(
    fields, lambda friend: st.builds(lambda person, friend: {**person, "friend": friend}, fields, friend)
)


def measure(value: dict[str, Any]) -> tuple[int, int, int]:
    """Return depth, items and containers of a person's payload."""
    depth, items, containers = 1, 0, 1
    # Numbers are packed into one field, which counts as well.
    items += bool(value["name"]) + bool(value["scores"]) + len(value["scores"]) + len(value["lines"])
    for tag in value["tags"]:
        items += 1 + bool(tag["text"])
        containers += 1
        depth = max(depth, 2)
    for tag in value["named"].values():
        # An entry is a message of key and value, which are both always written.
        items += 3 + bool(tag["text"])
        containers += 2
        depth = max(depth, 3)
    if "friend" in value:
        inner_depth, inner_items, inner_containers = measure(value["friend"])
        depth = max(depth, 1 + inner_depth)
        items += 1 + inner_items
        containers += inner_containers
    return depth, items, containers


@given(people)
def test_counts_belong_to_the_message(value: dict[str, Any]) -> None:
    payload = Person(**value).SerializeToString()
    depth, items, containers = measure(value)
    scan = LAYOUT_OF_PERSON.prescan_payload
    assert scan(payload, max_depth=depth, max_items=items) == ("ok", len(payload) + 72 * containers)
    assert scan(payload, max_depth=depth - 1, max_items=items)[0] == "too deep"
    if items:
        assert scan(payload, max_depth=depth, max_items=items - 1)[0] == "too many items"


@given(st.binary(max_size=500) | people.map(lambda value: Person(**value).SerializeToString()), st.data())
def test_payload_that_the_decoder_takes_is_never_malformed(payload: bytes, data: st.DataObject) -> None:
    mutated = bytearray(payload)
    for place in data.draw(st.lists(st.integers(0, max(len(payload) - 1, 0)), max_size=4)):
        mutated[place : place + 1] = data.draw(st.binary(max_size=2))
    found, _ = LAYOUT_OF_PERSON.prescan_payload(mutated, max_depth=1024, max_items=UNLIMITED)
    try:
        decoded = Person.FromString(bytes(mutated))
    except Exception:
        return
    size = decoded.ByteSize()
    decoded.DiscardUnknownFields()
    # The decoder skims through groups that it does not know, and so misses a field number of 0 there.
    assert found == "ok" or decoded.ByteSize() < size
