"""Our client meets recorded servers of Go: it sends the frames of Go's client, and accepts the answers."""

import asyncio
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from fastrpc import CallError, Client, ClientConfig, Status
from tests.support.peer_writing import write_to
from tests.support.recorded_server import assert_sent, assert_taken, recorded_server
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_vectors import recorded, recordings
from tests.support.rpcx_wire import Frame

pytestmark = pytest.mark.one_loop

CODECS = ("raw", "json", "protobuf", "msgpack")

#: Recordings of calls that Go's client made.
CALLS = (
    *(
        "msgpack_mul",
        "msgpack_echo_string",
        "msgpack_echo_bytes",
        "json_mul",
        "json_echo_string",
        "protobuf_string",
    ),
    *("protobuf_empty", "raw_bytes", "raw_empty", "gzip_both", "gzip_request_only", "gzip_small_request"),
    *("gzip_small_request_large_reply", "gzip_threshold_1024", "gzip_threshold_1025", "gzip_reply_1024"),
    *("error_boom", "error_json", "error_unknown_service", "error_unknown_method", "error_function"),
    *("error_with_metadata", "oneway", "metadata_one", "metadata_seen", "metadata_not_echoed", "deadline"),
    *(
        "deadline_plain_client",
        "auth_good",
        "auth_bad",
        "types_msgpack_zero",
        "types_json_zero",
    ),
    *("widths_msgpack", "types_msgpack_derived", "panic", "reply_of_wrong_type"),
    *("error_bad_payload", "error_then_ok", "oneway_errors", "pipelined"),
)

#: Frames that Go's client sent and ours does not, with the reason; no client of Go sent hand-made frames.
EXCLUDED = {
    "thrift_mul": "Thrift is not offered",
    "types_msgpack": "a datetime has no nanoseconds",
    "metadata_many": "a metadata key is not empty",
    "deadline_passed": "its caller gives up by itself; test_calling.py has the late answer",
    "heartbeat": "each has the clock of its client; test_calling.py and the tests with Go have them",
    "push": "its pushes come by themselves: the last test here, and test_pushes.py",
    "file_upload": "ours sends the digest along; test_rpcx_files.py has it with Go",
    "file_download": "the address in the answer is that of another connection; test_rpcx_files.py has it with Go",
    "stream": "the stream service is not offered",
}


async def made(client: Client, frame: Frame, reply: Frame | None) -> Any:
    """Make the call of a recorded frame."""
    told = {key: value for key, value in frame.metadata.items() if not key.startswith("__")}
    has_deadline = "__ServerTimeout" in frame.metadata
    view = client.with_options(
        codec=CODECS[frame.serialize], metadata=told, timeout=3 if has_deadline else None
    )
    method: Any = f"{frame.path}.{frame.method}"
    value = frame.value()
    if frame.serialize == 2:
        method, value = Arith.EchoPB, StringValue.FromString(frame.inflated())
    if reply is None:
        return await view.notify(method, value)
    return await view.request(method, value)


@pytest.mark.parametrize("name", CALLS)
async def test_a_client_sends_the_frames_of_gos_client_and_accepts_the_answers(name: str) -> None:
    recording = recorded(name)
    expected = recording.requests
    replies = {frame.sequence: frame for frame in recording.answers}
    config = ClientConfig(wire_protocol="rpcx", compressor="gzip" if name.startswith("gzip") else None)
    token = expected[0].metadata.get("__AUTH")
    async with recorded_server(recording) as (target, replay):
        async with Client(target, config=config, credentials=token) as client:
            for frame in expected:
                reply = replies.get(frame.sequence)
                if reply is not None and reply.error is not None:
                    with pytest.raises(CallError) as caught:
                        await made(client, frame, reply)
                    assert caught.value.message == reply.error
                    is_unknown = reply.error.startswith("rpcx: can't find")
                    assert caught.value.status is (Status.UNIMPLEMENTED if is_unknown else Status.UNKNOWN)
                    continue
                answer = await made(client, frame, reply)
                if reply is not None:
                    assert_taken(answer, reply)
            for sent, frame in zip(replay.received, expected, strict=True):
                assert_sent(sent, frame)


def test_every_recording_is_replayed_or_excluded_with_its_reason() -> None:
    by_hand = {name for name, one in recordings().items() if one.is_by_hand}
    assert {*CALLS} | EXCLUDED.keys() | by_hand == recordings().keys()
    assert len(CALLS) + len(EXCLUDED) + len(by_hand) == len(recordings())


async def test_pushes_and_answers_that_nobody_waits_for_are_dropped() -> None:
    recording = recorded("push")
    async with recorded_server(recording) as (target, replay):
        replay.recording = recording
        async with Client(target, config=ClientConfig(wire_protocol="rpcx")) as client:
            push = next(frame for frame in recording.answers if frame.one_way)
            answers = [frame for frame in recording.answers if not frame.one_way]
            serve = replay.serve

            async def serve_with_pushes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                write_to(writer, push.encode() + answers[1].encode())
                await serve(reader, writer)

            replay.serve = serve_with_pushes  # type: ignore[method-assign]
            assert await client.with_options(timeout=None).call("Arith.Push", 2) == 2
            assert await client.with_options(timeout=None).call("Arith.Length", "abc") == 3
