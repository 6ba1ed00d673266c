"""Metadata with requests and answers: text and bytes, both ways, within limits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, EncodeError, Limits, ServerConfig, Status, current_call
from fastrpc.testing import connected
from tests.support.served import SCHEMES, served

pytestmark = pytest.mark.one_loop

EVERY_KEY = "abcdefghijklmnopqrstuvwxyz0123456789._-"


@fastrpc.service("mirror")
class Mirror:
    @fastrpc.method
    async def reflect(self) -> int:
        call = current_call()
        call.reply_metadata.update(call.metadata)
        call.reply_metadata.binary.update(call.metadata.binary)
        return len(call.metadata)

    @fastrpc.method
    def reflect_in_thread(self) -> int:
        call = current_call()
        call.reply_metadata.update(call.metadata)
        call.reply_metadata.binary.update(call.metadata.binary)
        return len(call.metadata)

    @fastrpc.method
    async def much(self, size: int, entries: int = 1) -> int:
        for number in range(entries):
            current_call().reply_metadata[f"key{number}"] = "x" * size
        return size

    @fastrpc.method
    async def change(self, key: str, value: Any) -> None:
        try:
            current_call().reply_metadata[key] = value
        except (TypeError, ValueError) as error:
            raise CallError(Status.ABORTED, str(error)) from None

    @fastrpc.method
    async def nothing(self) -> int:
        return 0

    @fastrpc.method
    async def names(self) -> list[str]:
        return sorted(current_call().metadata)


@pytest.fixture(params=SCHEMES)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with served(Mirror, scheme=request.param) as target, Client(target) as client:
        yield client


@pytest.mark.parametrize("method", [Mirror.reflect, Mirror.reflect_in_thread])
async def test_text_and_bytes_travel_both_ways(client: Client, method: Any) -> None:
    sent: dict[str, str | bytes] = {
        "tenant": "acme",
        "empty": "",
        "text": "grüße \N{SNOWMAN} \n\t",
        EVERY_KEY: "every character a key may have",
        "k" * 255: "a long key",
        "trace-bin": bytes(range(256)),
        "none-bin": b"",
    }
    reply = await client.with_options(metadata=sent).request(method)
    assert reply.value == 5
    assert {**reply.metadata, **reply.metadata.binary} == sent


async def test_without_metadata_both_sides_find_an_empty_mapping(client: Client) -> None:
    reply = await client.request(Mirror.reflect)
    assert reply.value == 0
    assert dict(reply.metadata) == {}
    assert dict(reply.metadata.binary) == {}


async def test_views_copy_the_metadata_they_are_given(client: Client) -> None:
    given = {"a": "1"}
    view = client.with_options(metadata=given)
    given["a"] = "2"
    assert dict((await view.request(Mirror.reflect)).metadata) == {"a": "1"}


async def test_bytes_like_values_are_taken(client: Client) -> None:
    for value in (bytearray(b"\x01\x02"), memoryview(b"\x01\x02")):
        reply = await client.with_options(metadata={"x-bin": value}).request(Mirror.reflect)  # type: ignore[dict-item]
        assert reply.metadata.binary["x-bin"] == b"\x01\x02"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"Tenant": "x"}, "Tenant"),
        ({"with space": "x"}, "with space"),
        ({"grüße": "x"}, "grüße"),
        ({"": "x"}, "1 to 255"),
        ({"k" * 256: "x"}, "1 to 255"),
        ({"frpc-own": "x"}, "reserved"),
        ({"key": b"x"}, "end the key in -bin"),
        ({"key-bin": "x"}, "takes bytes"),
        ({"key": 5}, "takes str"),
        ({5: "x"}, "a metadata key is a str"),
        ({"key": "x" * 70_000}, "65,535"),
    ],
)
async def test_metadata_that_cannot_be_sent_is_refused_when_it_is_given(metadata: Any, message: str) -> None:
    async with Client("memory://never-dialed") as client:
        with pytest.raises((TypeError, ValueError), match=message):
            client.with_options(metadata=metadata)


async def test_a_handler_hears_of_a_wrong_entry_when_it_sets_it(client: Client) -> None:
    for key, value in (("Upper", "x"), ("key", 5), ("x-bin", "text"), ("frpc-x", "y")):
        with pytest.raises(CallError, match=r"metadata") as refused:
            await client.call(Mirror.change, key, value)
        assert refused.value.status is Status.ABORTED


async def test_over_the_servers_limit_the_call_fails_here_and_others_continue(client: Client) -> None:
    await client.ready()
    fits = client.with_options(metadata={"key": "x" * (8_192 - 3 - 32)})
    over = client.with_options(metadata={"key": "x" * (8_192 - 3 - 32 + 1)})
    many = client.with_options(metadata={f"k{n}": "" for n in range(300)})
    for _ in range(3):
        assert await fits.call(Mirror.nothing) == 0
        for view in (over, many):
            with pytest.raises(EncodeError, match=r"mirror\.nothing.*8192.*Limits\.metadata_bytes") as failed:
                await view.call(Mirror.nothing)
            assert failed.value.status is Status.RESOURCE_EXHAUSTED
            assert failed.value.processed == "no"


async def test_the_servers_limit_counts_not_ours() -> None:
    config = ServerConfig(limits=Limits(metadata_bytes=40_000))
    async with served(Mirror, config=config) as target, Client(target) as client:
        await client.ready()
        view = client.with_options(metadata={"key": "x" * 30_000})
        assert await view.call(Mirror.nothing) == 0


async def test_an_answer_over_our_limit_fails_that_call_alone(client: Client) -> None:
    for size, entries in ((9_000, 1), (70_000, 1), (40_000, 4), (10, 500)):
        assert await client.call(Mirror.much, 100) == 100
        with pytest.raises(CallError) as failed:
            await client.call(Mirror.much, size, entries)
        assert failed.value.processed == "yes"
        assert failed.value.status in (Status.RESOURCE_EXHAUSTED, Status.INTERNAL)
    assert await client.call(Mirror.nothing) == 0


async def test_an_answers_metadata_may_be_as_large_as_we_say() -> None:
    config = ClientConfig(limits=Limits(metadata_bytes=65_535))
    async with connected(Mirror, client_config=config) as client:
        reply = await client.request(Mirror.much, 60_000)
        assert len(reply.metadata["key0"]) == 60_000
        with pytest.raises(CallError, match=r"65535.*Limits\.metadata_bytes"):
            await client.call(Mirror.much, 60_000, 2)


async def test_metadata_that_appears_with_an_error_travels_too() -> None:
    @fastrpc.service("failing")
    class Failing:
        @fastrpc.method
        async def fail(self, much: bool) -> None:
            current_call().reply_metadata["reason"] = "x" * (9_000 if much else 5)
            raise CallError(Status.DATA_LOSS, "gone")

    async with connected(Failing) as client:
        for much in (False, True):
            with pytest.raises(CallError, match="gone") as failed:
                await client.call(Failing.fail, much)
            assert failed.value.status is Status.DATA_LOSS


async def test_metadata_of_a_notification_arrives() -> None:
    seen: list[dict[str, str]] = []

    @fastrpc.service("noting")
    class Noting:
        @fastrpc.method
        async def note(self) -> None:
            seen.append(dict(current_call().metadata))

    async with connected(Noting) as client:
        await client.with_options(metadata={"a": "1"}).notify(Noting.note)
        await client.call(Noting.note)
    assert seen == [{"a": "1"}, {}]


async def test_metadata_is_not_passed_on_to_the_handlers_own_calls() -> None:
    @fastrpc.service("chain")
    class Chain:
        @fastrpc.method
        async def outer(self) -> dict[str, str]:
            return await inner.call(Chain.inner)

        @fastrpc.method
        async def inner(self) -> dict[str, str]:
            return dict(current_call().metadata)

    async with served(Chain) as target, Client(target) as inner, Client(target) as client:
        assert await client.with_options(metadata={"secret": "x"}).call(Chain.outer) == {}


@fastrpc.service("answering")
class Answering:
    @fastrpc.method
    async def update(self) -> None:
        current_call().reply_metadata.update({"text": "yes", "raw-bin": b"\0\xff"})

    @fastrpc.method
    async def replace(self) -> None:
        current_call().reply_metadata["other"] = "no"
        current_call().reply_metadata = {"text": "yes", "raw-bin": b"\0\xff"}

    @fastrpc.method
    async def forward(self) -> None:
        current_call().reply_metadata = current_call().metadata


@pytest.mark.parametrize("method", [Answering.update, Answering.replace])
async def test_reply_metadata_takes_both_kinds_in_a_plain_mapping(method: Any) -> None:
    async with connected(Answering()) as client:
        reply = await client.request(method)
        assert dict(reply.metadata) == {"text": "yes"}
        assert dict(reply.metadata.binary) == {"raw-bin": b"\0\xff"}


async def test_metadata_that_came_can_be_passed_on_whole() -> None:
    given = fastrpc.Metadata({"text": "yes"})
    given.binary["raw-bin"] = b"\0\xff"
    only_binary = fastrpc.Metadata({"raw-bin": b"\0\xff"})
    async with connected(Answering()) as client:
        for metadata in (given, fastrpc.Metadata(given), only_binary):
            reply = await client.with_options(metadata=metadata).request(Answering.forward)
            assert dict(reply.metadata) == dict(metadata)
            assert dict(reply.metadata.binary) == {"raw-bin": b"\0\xff"}


def test_an_update_that_cannot_travel_changes_nothing() -> None:
    metadata = fastrpc.Metadata({"text": "yes"})
    for bad in (
        {"text": "no", "raw-bin": "text"},
        {"text": "no", "UPPER": "x"},
        {"text": "no", "other": b"x"},
    ):
        with pytest.raises((TypeError, ValueError)):
            metadata.update(bad)
    assert metadata.entries == {"text": "yes"}


async def test_a_call_sees_no_metadata_of_the_calls_before(client: Client) -> None:
    told, other = (
        client.with_options(metadata={"tenant": "blue"}),
        client.with_options(metadata={"zone": "b"}),
    )
    for _ in range(3):
        assert await told.call(Mirror.names) == ["tenant"]
        assert await client.call(Mirror.names) == []
        assert await told.call(Mirror.nothing) == 0
        assert await client.call(Mirror.names) == []
        assert await other.call(Mirror.names) == ["zone"]
