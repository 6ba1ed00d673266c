"""Protobuf payloads are held to the limits of every other codec before any object of them exists."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, DecodeError, Limits, Memory, ServerConfig, Status, SyncClient
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.service import method_definition
from fastrpc.testing import connected
from tests.support.people import nested_people, person_class
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

Person = person_class()
MANY = 1_000_001


@fastrpc.service("people")
class People:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def name(self, person: Person) -> Person:  # type: ignore[valid-type]
        self.ran += 1
        return Person(name=person.name)  # type: ignore[attr-defined]

    @fastrpc.method
    def echo(self, person: Person) -> Person:  # type: ignore[valid-type]
        self.ran += 1
        return person

    @fastrpc.method
    async def crowd(self, person: Person) -> Person:  # type: ignore[valid-type]
        found = Person()
        found.MergeFromString(b"\x22\x00" * 2_000_000)
        return found  # type: ignore[no-any-return]


@fastrpc.service("crowds")
class Crowds:
    @fastrpc.method
    async def send(self, people: AsyncIterator[Person]) -> None: ...  # type: ignore[valid-type]


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


#: Messages that make a million objects or numbers out of some megabytes, and the same one level down.
BOMBS = {
    "empty messages": b"\x22\x00" * MANY,
    "entries of a map": b"\x2a\x00" * MANY,
    "texts": b"\x82\x7d\x00" * MANY,
    "numbers": b"\x10\x01" * MANY,
    "packed numbers": field(b"\x12", b"\x01" * MANY),
    "packed numbers in pieces": field(b"\x12", b"\x01" * 1_000) * 1_000,
    "unknown numbers": b"\xa0\x06\x01" * MANY,
    "unknown groups": b"\xa3\x06\xa4\x06" * MANY,
    "one message again and again": b"\x1a\x00" * MANY,
    "a message within": field(b"\x1a", b"\x22\x00" * MANY),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_too_many_items_are_refused(bomb: str) -> None:
    payload = BOMBS[bomb]
    for method in (People.name, People.echo):
        marshal = marshal_for(method_definition(method), "protobuf", depth=100, items=1_000_000)
        with pytest.raises(CallError, match="more than 1000000 items") as refused:
            marshal.decode_arguments(payload)
        assert (refused.value.status, refused.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
        with pytest.raises(DecodeError, match="more than 1000000 items"):
            marshal.decode_result(payload)
    messages = marshal_for(method_definition(Crowds.send), "protobuf", depth=100, items=1_000_000)
    with pytest.raises(CallError, match="the message: more than 1000000 items"):
        messages.decode_message(payload)


def test_depth_is_limited_as_everywhere() -> None:
    marshal = marshal_for(method_definition(People.name), "protobuf", depth=20, items=1_000_000)
    assert marshal.decode_arguments(nested_people(19)) == (Person.FromString(nested_people(19)),)
    for payload in (nested_people(20), b"\xa3\x06" * 20 + b"\xa4\x06" * 20):
        with pytest.raises(CallError, match="nested deeper than 20 levels") as refused:
            marshal.decode_arguments(payload)
        assert refused.value.status is Status.INVALID_ARGUMENT
        with pytest.raises(DecodeError, match="nested deeper than 20 levels"):
            marshal.decode_result(payload)


def test_malformed_payload_is_an_invalid_argument() -> None:
    marshal = marshal_for(method_definition(People.name), "protobuf", depth=20, items=100)
    with pytest.raises(CallError, match="malformed protobuf") as refused:
        marshal.decode_arguments(b"\x0a\x05abc")
    assert refused.value.status is Status.INVALID_ARGUMENT


def test_each_message_is_charged_for() -> None:
    marshal = marshal_for(method_definition(People.name), "protobuf", depth=20, items=1_000)
    payload = b"\x22\x00" * 100
    marshal.decode_arguments(payload)
    assert marshal.charge == 200 + 101 * 72
    marshal.decode_arguments(b"")
    assert marshal.charge == 72


def test_honest_messages_pass() -> None:
    person = Person(
        name="ada",
        scores=range(200_000),
        friend=Person(name="bob"),
        tags=[{"text": b"x" * 100}] * 1_000,
        named={str(number): {"text": b"x"} for number in range(1_000)},
        lines=["a line"] * 10_000,
    )
    marshal = marshal_for(method_definition(People.name), "protobuf", depth=100, items=1_000_000)
    assert marshal.decode_arguments(person.SerializeToString()) == (person,)
    assert marshal.decode_result(person.SerializeToString()) == person


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_bomb_is_not_started_and_the_connection_lives(scheme: str) -> None:
    people = People()
    bomb = Person.FromString(b"\x22\x00" * 2_000)
    config = ServerConfig(memory=Memory(items=1_000), limits=Limits(depth=10))
    async with served(people, scheme=scheme, config=config) as target, Client(target) as client:
        for method in (People.name, People.echo):
            with pytest.raises(CallError, match="more than 1000 items") as refused:
                await client.call(method, bomb)
            assert (refused.value.status, refused.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
            assert not refused.value.retryable
            with pytest.raises(CallError, match="nested deeper than 10 levels"):
                await client.call(method, Person.FromString(nested_people(20)))
            assert (await client.call(method, Person(name="ada"))).name == "ada"
        assert people.ran == 2


async def test_a_result_is_held_to_the_clients_limits() -> None:
    async with connected(People) as client:
        with pytest.raises(DecodeError, match="more than 1000000 items"):
            await client.call(People.crowd, Person())


def test_a_blocking_client_holds_results_to_its_limits() -> None:
    with ThreadedServer(People) as server, SyncClient(server.address) as client:
        with pytest.raises(DecodeError, match="more than 1000000 items"):
            client.call(People.crowd, Person())
        answer: Any = client.call(People.name, Person(name="ada"))
        assert answer.name == "ada"
