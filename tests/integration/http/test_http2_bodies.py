"""Bodies by HTTP/2: their length, their time, 100-continue, refusals before their end; the same by HTTP/1.1."""

import asyncio
import json
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, WindowUpdated

from fastrpc import HTTPLimits, Identity, Limits, Timeouts
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.every_way import FORM, LINES, MESSAGE_BYTES, every_way, form_of
from tests.support.grpc_peer import GrpcClient
from tests.support.http2_client import Http2Client, http2_client
from tests.support.http_talk import HttpClient, Response, request
from tests.support.http_versions import VERSIONS, compared, http_client
from tests.support.peer_writing import write_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ECHO = "/ways/echo"


async def in_parts(client: HttpClient | Http2Client, path: str, *parts: bytes, **fields: Any) -> Response:
    """Send a body in parts whose length is not stated, and its end unless the answer comes before."""
    if isinstance(client, Http2Client):
        stream = client.begin("POST", path, Content_Length=None, **fields)
        for part in parts:
            await client.peer.send_all(stream, part)
        if not client.peer.answers[stream].is_over:
            client.send(stream, b"", ends=True)
        return await client.end(stream)
    client.send(request("POST", path, Content_Length=None, Transfer_Encoding="chunked", **fields))
    for part in parts:
        client.send(b"%x\r\n%b\r\n" % (len(part), part))
    client.send(b"0\r\n\r\n")
    return await client.response()


async def by_both(*arguments: Any, options: dict[str, Any] | None = None, **fields: Any) -> Response:
    """Return the answer by both versions, which say the same."""
    async with every_way(options=options) as served:
        answers = []
        for version in VERSIONS:
            async with http_client(version, served.address) as client:
                answers.append(await in_parts(client, *arguments, **fields))
    assert compared(answers[1]) == compared(answers[0])
    return answers[1]


async def test_a_body_may_come_in_parts_without_its_length() -> None:
    body = json.dumps({"text": "x" * 50_000}).encode()
    answer = await by_both(ECHO, *(body[at : at + 7_777] for at in range(0, len(body), 7_777)))
    assert (answer.status, len(answer.value)) == (200, 50_000)


async def test_a_body_without_its_length_is_refused_above_the_limit() -> None:
    answer = await by_both(ECHO, *[b'{"text":"', *[b"x" * 10_000] * (MESSAGE_BYTES // 10_000 + 2)])
    assert answer.status == 413


async def test_a_form_may_be_longer_than_a_message() -> None:
    body = form_of(bytes(3 * MESSAGE_BYTES))
    answer = await by_both(
        "/photos/sea", *(body[at : at + 20_000] for at in range(0, len(body), 20_000)), Content_Type=FORM
    )
    assert answer.value[-1] == 3 * MESSAGE_BYTES


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("length", ["1000", None])
@pytest.mark.parametrize("path", [ECHO, "/photos/sea"])
async def test_a_request_whose_rest_does_not_come_in_a_drain_is_unavailable(
    version: str, length: str | None, path: str
) -> None:
    fields = {"Content_Type": FORM if path != ECHO else "application/json", "Content_Length": length}
    part = form_of(bytes(900))[:700]
    before = bytes_held()
    async with every_way(timeouts=Timeouts(drain=0.1)) as served:
        async with http_client(version, served.address) as client:
            if isinstance(client, Http2Client):
                stream = client.begin("POST", path, **fields)
                client.send(stream, part)
            elif length is None:
                client.send(request("POST", path, Transfer_Encoding="chunked", **fields))
                client.send(b"%x\r\n%b\r\n" % (len(part), part))
            else:
                client.send(request("POST", path, **fields) + part)
            await eventually(lambda: bytes_held() != before)
            draining = asyncio.ensure_future(served.server.drain())
            answer = await (client.end(stream) if isinstance(client, Http2Client) else client.response())
            assert answer.status == 503
            assert answer.value["code"] == "UNAVAILABLE"
            # The handler of a form begins before its files have come.
            assert path != ECHO or answer.value["processed"] == "no"
            assert not await draining
    await eventually(lambda: bytes_held() == before)


async def test_a_connection_survives_a_body_that_is_too_long() -> None:
    before = bytes_held()
    timeouts = Timeouts(linger=0.05)
    async with every_way(timeouts=timeouts) as served, http2_client(served.address) as client:
        for _ in range(20):
            stream = client.begin("POST", ECHO, Content_Length=str(1_000 * MESSAGE_BYTES))
            client.send(stream, b"x" * 10_000)
            assert (await client.end(stream)).status == 413
            # The rest need not be sent (RFC 9113, section 8.1).
            await eventually(lambda stream=stream: client.peer.answers[stream].reset is not None)
            assert client.peer.answers[stream].reset == ErrorCodes.NO_ERROR
        assert (await client.post(ECHO, {"text": "a"})).value == "a"
    await eventually(lambda: bytes_held() == before)


async def test_the_unread_part_of_a_body_is_dropped_after_its_answer() -> None:
    before = bytes_held()
    size = 3 * MESSAGE_BYTES
    async with every_way() as served, http2_client(served.address) as client:
        streams = [client.begin("POST", ECHO, Content_Length=str(size)) for _ in range(10)]
        for stream in streams:
            assert (await client.end(stream)).status == 413
        for stream in streams:
            await client.peer.send_all(stream, bytes(size), ends=True)
        assert (await client.post(ECHO, {"text": "a"})).value == "a"
        assert {client.peer.answers[stream].reset for stream in streams} == {None}
        assert client.peer.goaways == []
    await eventually(lambda: bytes_held() == before)


@pytest.mark.parametrize("length", ["1000000", "100000000", None])
@pytest.mark.parametrize("version", [None, "1"])
async def test_the_window_for_the_rest_of_a_body_comes_before_its_answer(
    length: str | None, version: str | None
) -> None:
    async with every_way() as served, http2_client(served.address) as client:
        fields = {"Content_Length": length, "Connect_Protocol_Version": version}
        stream = client.begin("POST", "/ways/nothing", **fields)
        client.send(stream, bytes(10_000))
        assert (await client.head(stream)).status == 404
        window = client.peer.h2.remote_settings.initial_window_size
        for event in client.peer.events:
            if isinstance(event, ResponseReceived):
                break
            if isinstance(event, WindowUpdated) and event.stream_id == stream:
                window += event.delta
        assert window >= 1_000_000


async def test_the_window_for_the_rest_of_a_body_fits_the_largest_window_of_our_settings() -> None:
    async with every_way(limits=Limits(stream_window_bytes=2**31 - 1)) as served:
        reader, writer = await asyncio.open_connection(served.address.host, served.address.port)
        client = GrpcClient()
        client.h2.initiate_connection()
        # It has not acknowledged our settings.
        stream = client.open("/ways/nothing", kind=None)
        client.send(stream, bytes(1_000))
        write_to(writer, client.h2.data_to_send())
        while not client.answers[stream].is_over:
            client.hear(await reader.read(65_536))
        assert client.answers[stream].reset is None
        assert client.answers[stream].head[":status"] == "404"
        writer.close()


async def test_a_stream_with_an_unread_body_is_reset_after_the_linger_time() -> None:
    timeouts = Timeouts(linger=0.1, call=60.0)
    async with every_way(timeouts=timeouts) as served, http2_client(served.address) as client:
        stream = client.begin("POST", ECHO, Content_Length=str(3 * MESSAGE_BYTES))
        assert (await client.end(stream)).status == 413
        await eventually(lambda: client.peer.answers[stream].reset is not None)
        assert client.peer.answers[stream].reset == ErrorCodes.NO_ERROR


async def test_a_body_that_is_stated_as_empty_is_awaited_to_its_end() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        stream = client.begin("POST", "/ways/wait", Content_Length="0")
        client.send(stream, b"{}", ends=True)
        answer = await client.peer.end(stream)
        assert (answer.reset, answer.head) == (ErrorCodes.PROTOCOL_ERROR, {})
        assert served.ways.started == 0
        stream = client.begin("GET", f"{ECHO}?text=a", Content_Length="0")
        client.send(stream, b"", ends=True)
        assert (await client.end(stream)).value == "a"


async def test_a_body_of_another_length_than_stated_is_malformed() -> None:
    """RFC 9113, section 8.1.1."""
    async with every_way() as served, http2_client(served.address) as client:
        for stated, body in (("5", b"{}"), ("1", b"{}")):
            stream = client.begin("POST", ECHO, Content_Length=stated)
            client.send(stream, body, ends=True)
            answer = await client.peer.end(stream)
            assert (answer.reset, answer.head) == (ErrorCodes.PROTOCOL_ERROR, {}), stated
        assert (await client.post(ECHO, {"text": "a"})).value == "a"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_late_body_has_an_answer(version: str) -> None:
    limits = HTTPLimits(body_idle_seconds=0.1)
    async with every_way(http={"limits": limits}) as served, http_client(version, served.address) as client:
        if isinstance(client, Http2Client):
            stream = client.begin("POST", ECHO, Content_Length="100")
            client.send(stream, b"{")
            answer = await client.end(stream)
            # Other requests are not late.
            assert (await client.post(ECHO, {"text": "a"})).value == "a"
        else:
            client.send(request("POST", ECHO, b"{", Content_Length="100"))
            answer = await client.response()
        assert answer.status == 408
        assert answer["content-type"] == "application/problem+json"


async def test_a_body_whose_handler_waits_is_not_late() -> None:
    limits = HTTPLimits(body_idle_seconds=0.1)
    async with every_way(http={"limits": limits}, holds=True) as served:
        async with http2_client(served.address) as client:
            late = client.begin("POST", ECHO, Content_Length="100")
            stream = await client.start("POST", "/ways/wait", {})
            # Its time has passed.
            assert (await client.end(late)).status == 408
            served.ways.may_go_on.set()
            assert (await client.end(stream)).value == "waited"


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        body = form_of(b"x" * 1_000)
        stream = client.begin(
            "POST", "/photos/sea", Content_Type=FORM, Content_Length=None, Expect="100-continue"
        )
        await eventually(lambda: client.peer.answers[stream].interim == [100])
        client.send(stream, body, ends=True)
        assert (await client.end(stream)).value[-1] == 1_000


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
async def test_an_unknown_sender_is_refused_before_a_long_body(authorization: str | None) -> None:
    before = bytes_held()
    tokens = StaticTokens({"secret": Identity("ada")})
    async with every_way(options={"authenticate": tokens}) as served, http2_client(served.address) as client:
        stream = client.begin(
            "POST", ECHO, Content_Length="90000", Expect="100-continue", Authorization=authorization
        )
        assert (await client.end(stream)).status == 401
        assert client.peer.answers[stream].interim == []
        assert served.ways.started == 0
        answer = await client.post(ECHO, {"text": "a"}, Authorization="Bearer secret")
        assert answer.value == "a"
    await eventually(lambda: bytes_held() == before)


async def test_incomplete_requests_hold_only_their_received_bytes() -> None:
    before = bytes_held()
    async with every_way() as served, http2_client(served.address) as client:
        streams = [client.begin("POST", ECHO, Content_Length="90000") for _ in range(3)]
        for stream in streams:
            client.send(stream, b'{"text": "' + b"x" * 10_000)
        await eventually(lambda: bytes_held() >= before + 30_000)
        for stream in streams:
            client.peer.reset(stream)
        # A connection holds its table of fields.
        await eventually(lambda: bytes_held() < before + 4_096)
    await eventually(lambda: bytes_held() == before)


async def test_a_deadline_ends_the_call_of_its_stream_alone() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        other = await client.start("POST", "/ways/wait", {})
        answer = await client.post("/ways/wait", {}, Timeout_Ms="50")
        assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
        assert served.ways.cancelled == 1
        served.ways.may_go_on.set()
        assert (await client.end(other)).value == "waited"


@pytest.mark.parametrize("kind", [LINES, FORM])
async def test_a_deadline_ends_a_body_that_still_comes(kind: str) -> None:
    path = "/ways/total" if kind == LINES else "/photos/sea"
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        stream = client.begin("POST", path, Content_Type=kind, Content_Length=None, Timeout_Ms="50")
        client.send(stream, b'{"value":1}\n' if kind == LINES else form_of(b"abc")[:-20])
        assert (await client.end(stream)).status == 504
        assert (await client.post(ECHO, {"text": "a"})).value == "a"


async def test_a_head_that_is_too_long_is_refused() -> None:
    http = {"limits": HTTPLimits(header_bytes=1_024, target_bytes=128, headers=10)}
    async with every_way(http=http) as served:
        for fields, target in (
            ({"X_Long": "x" * 2_000}, ECHO),
            ({f"X_{number}": "x" for number in range(20)}, ECHO),
            ({}, f"{ECHO}?text={'x' * 200}"),
        ):
            statuses = []
            for version in VERSIONS:
                async with http_client(version, served.address) as client:
                    statuses.append((await client.get(target, **fields)).status)
            assert statuses in ([431, 431], [414, 414]), fields
