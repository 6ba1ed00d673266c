"""The heads of calls: received ones, and heads of requests that are sent."""

import asyncio
from typing import Any

import h2.events
import pytest

from fastrpc import Status
from fastrpc._core.grpc.grpc_call import GrpcHead
from fastrpc._core.http2.hpack import HpackDecoder, HpackEncoder
from fastrpc._core.payload.metadata import decode_metadata
from fastrpc.compressors.base import compressor_named
from fastrpc_harness.grpc_parts import read_head
from fastrpc_harness.http2_blocks import decode_block, encode_block
from tests.support.grpc_link import GrpcLink, Head, message

ECHO = b"/test.v1.Raw/echo"
NONE = 2**64 - 1


def head(
    *fields: tuple[bytes, bytes],
    path: bytes = ECHO,
    method: bytes = b"POST",
    kind: bytes | None = b"application/grpc",
    limit: int = 8_192,
) -> GrpcHead:
    """Return the head that a request has."""
    pairs = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    if kind is not None:
        pairs.append((b"content-type", kind))
    block = decode_block(HpackDecoder(4_096, limit), encode_block(HpackEncoder(), [*pairs, *fields]))
    return read_head(block, limit)


def test_heads_that_differ_only_in_their_timeout_share_all_other_parts() -> None:
    encoder, decoder = HpackEncoder(), HpackDecoder()
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", ECHO),
        (b"content-type", b"application/grpc"),
    ]
    heads = []
    for timeout in (b"1S", b"250m", b"never", b"2S"):
        pairs = [*fields, (b"grpc-timeout", timeout), (b"grpc-encoding", b"gzip"), (b"key", b"value")]
        heads.append(read_head(decode_block(decoder, encode_block(encoder, pairs)), 8_192))
    assert [head.timeout_us for head in heads] == [1_000_000, 250_000, NONE, 2_000_000]
    assert [head.status for head in heads] == [0, 0, Status.INTERNAL, 0]
    assert {(head.name, head.compressor, head.metadata) for head in heads} == {
        (b"test.v1.Raw.echo", heads[0].compressor, heads[0].metadata)
    }
    assert heads[0].metadata is heads[3].metadata is not None


def test_a_faulty_head_is_no_model_for_the_next_one() -> None:
    encoder, decoder = HpackEncoder(), HpackDecoder()
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", ECHO),
        (b"content-type", b"application/grpc"),
    ]
    found = []
    for timeout in (b"never", b"1S", b"2S"):
        block = decode_block(decoder, encode_block(encoder, [*fields, (b"grpc-timeout", timeout)]))
        found.append(read_head(block, 8_192).status)
    assert found == [Status.INTERNAL, 0, 0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (ECHO, b"test.v1.Raw.echo"),
        (b"/a/b", b"a.b"),
        (b"/" + b"a" * 200 + b"/b", b"a" * 200 + b".b"),
    ],
)
def test_a_path_is_the_name_of_a_method(path: bytes, name: bytes) -> None:
    assert head(path=path).name == name


@pytest.mark.parametrize(
    "path", [b"/", b"/a", b"/a/", b"//b", b"/a/b/c", b"/a/b.c", b"/a/b/", b"/" + b"a" * 300 + b"/b"]
)
def test_a_path_of_another_form_is_no_name(path: bytes) -> None:
    assert head(path=path).name == path


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"method": b"GET"}, 405),
        ({"kind": None}, 415),
        ({"kind": b"application/grpcx"}, 415),
        ({"kind": b"application/json"}, 415),
    ],
)
def test_a_request_of_another_kind_has_a_status_of_http(fields: dict[str, bytes], status: int) -> None:
    assert head(**fields).http_status == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "microseconds", "is_late"),
    [
        (b"1S", 1_000_000, False),
        (b"1n", 1, False),
        (b"0m", 1, True),
        (b"99999999H", 999_997_200_000_000, False),
        (b"250m", 250_000, False),
    ],
)
def test_a_timeout_is_stated_in_microseconds(value: bytes, microseconds: int, is_late: bool) -> None:
    found = head((b"grpc-timeout", value))
    assert (found.timeout_us, found.is_late, found.status) == (microseconds, is_late, 0)


def test_a_missing_timeout_is_none() -> None:
    assert head().timeout_us == NONE


def test_a_malformed_timeout_is_a_fault() -> None:
    found = head((b"grpc-timeout", b"1 S"))
    assert (found.status, "grpc-timeout is '1 S'" in (found.fault or "")) == (Status.INTERNAL, True)


@pytest.mark.parametrize(
    ("encoding", "accepted", "number", "bits", "name"),
    [
        (b"identity", b"identity", 0, 1, None),
        (b"gzip", b"identity, deflate,gzip", 1, 0b10011, None),
        (b"deflate", b"gzip", 4, 0b10, None),
        (b"snappy", b"snappy", 255, 1, "snappy"),
    ],
)
def test_encodings_are_numbers_of_compressors(
    encoding: bytes, accepted: bytes, number: int, bits: int, name: str | None
) -> None:
    found = head((b"grpc-encoding", encoding), (b"grpc-accept-encoding", accepted))
    assert (found.compressor, found.accepted, found.encoding) == (number, bits, name)


@pytest.mark.parametrize(("value", "attempt"), [(b"3", 3), (b"x", 0), (b"-1", 0), (b"123", 0)])
def test_previous_attempts_are_a_small_number(value: bytes, attempt: int) -> None:
    assert head((b"grpc-previous-rpc-attempts", value)).attempt == attempt


def test_metadata_holds_every_field_outside_of_the_protocol() -> None:
    found = head((b"key", b"value"), (b"te", b"trailers"), (b"frpc-made-up", b"1"), (b"user-agent", b"x"))
    assert decode_metadata(found.metadata or b"") == {"key": "value", "user-agent": "x"}
    assert head().metadata is None


@pytest.mark.parametrize("size", [600, 3_000])
def test_metadata_over_the_limit_is_a_fault(size: int) -> None:
    found = head((b"key", b"x" * size), limit=600)
    assert (found.status, found.http_status) == (Status.RESOURCE_EXHAUSTED, 0)


def test_equal_blocks_have_one_head() -> None:
    decoder, encoder = HpackDecoder(4_096, 8_192), HpackEncoder()
    pairs = [(b":method", b"POST"), (b":path", ECHO), (b"content-type", b"application/grpc")]
    blocks = [decode_block(decoder, encode_block(encoder, pairs)) for _ in range(4)]
    assert read_head(blocks[2], 8_192) is read_head(blocks[3], 8_192)


async def sent_head(link: GrpcLink) -> dict[str, str]:
    """Return the fields of the one request that the server got."""
    [event] = await link.heard(Head)
    return dict(event.headers)


async def test_a_request_has_the_fields_of_grpc() -> None:
    link = GrpcLink()
    call = await link.call(b"x", link.view(timeout=5.0))
    head = await sent_head(link)
    time_left = head.pop("grpc-timeout")
    assert time_left.endswith("u")
    assert 4_000_000 < int(time_left[:-1]) <= 5_000_000
    assert head.pop("user-agent").startswith("fastrpc/")
    assert head == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "here:1",
        ":path": "/shop.Desk/Get",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-accept-encoding": "identity,gzip,deflate",
    }
    link.answer(1, message(b"y"))
    assert await call == b"y"


async def test_a_message_has_a_prefix_and_ends_the_stream() -> None:
    link = GrpcLink()
    await link.call(b"hello")
    events = list(await link.heard(h2.events.Event))
    [data] = [event.data for event in events if isinstance(event, h2.events.DataReceived)]
    assert data == message(b"hello")
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)


async def test_a_call_without_a_deadline_states_no_timeout() -> None:
    link = GrpcLink()
    await link.call(b"", link.view(timeout=None))
    assert "grpc-timeout" not in await sent_head(link)


async def test_a_credential_goes_with_each_call() -> None:
    link = GrpcLink(credential=b"token")
    await link.call()
    await link.call()
    heads = [dict(event.headers) for event in await link.heard(Head)]
    assert [head["authorization"] for head in heads] == ["Bearer token"] * 2
    link.engine.present(b"other")
    await link.call()
    assert (await sent_head(link))["authorization"] == "Bearer other"


async def test_metadata_of_a_call_replaces_the_credential_alone() -> None:
    link = GrpcLink(credential=b"token")
    await link.call(b"", link.view(metadata={"authorization": "Basic x"}))
    await link.call(b"", link.view(metadata={"user-agent": "shop"}))
    first, second = [event.headers for event in await link.heard(Head)]
    assert [value for name, value in first if name == "authorization"] == ["Basic x"]
    assert [value for name, value in second if name == "authorization"] == ["Bearer token"]
    assert [value for name, value in second if name == "user-agent"] == ["shop"]


async def test_further_attempts_are_counted() -> None:
    link = GrpcLink()
    made = link.caller.call("shop.Desk.Get", b"")
    attempt = asyncio.ensure_future(made._attempt_on(link.engine, 2))
    await asyncio.sleep(0)
    assert (await sent_head(link))["grpc-previous-rpc-attempts"] == "2"
    made.close()
    attempt.cancel()


async def test_a_compressed_request_says_so() -> None:
    link = GrpcLink()
    await link.call(b"a" * 10_000, link.view(compressor=compressor_named("gzip")))
    events = await link.heard(h2.events.Event)
    [headers] = [event.headers for event in events if isinstance(event, Head)]
    head: dict[Any, Any] = dict(headers)
    data = b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
    assert head["grpc-encoding"] == "gzip"
    assert data[:1] == b"\x01"
    assert compressor_named("gzip").decompress(data[5:], 10_000) == b"a" * 10_000


async def test_equal_heads_are_short() -> None:
    link = GrpcLink()
    sizes = []
    for _ in range(3):
        await link.call(b"", link.view(timeout=None))
        await asyncio.sleep(0)
        sizes.append(len(link.transport.written))
        await link.heard(Head)
    # A frame of 8 indexed fields, and one of an empty message.
    assert sizes[0] > 100
    assert sizes[1] == sizes[2] == (9 + 8) + (9 + 5)
