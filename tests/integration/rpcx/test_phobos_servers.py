"""Our client meets recorded servers of Phobos: it sends the frames of their client, and accepts their answers."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from fastrpc import CallError, ClientConfig, DecodeError, Status, UnavailableError
from tests.support.either_client import CLIENTS, connected
from tests.support.recorded_server import assert_sent, assert_taken, recorded_server
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_vectors import Recorded, recordings
from tests.support.rpcx_wire import Frame

pytestmark = pytest.mark.one_loop

CODECS = ("raw", "json", "protobuf", "msgpack")

#: Frames that a client of Phobos sent and ours does not, with the reason; no client of Phobos sent hand-made frames.
EXCLUDED = {
    **dict.fromkeys(
        ("gzip_request", "gzip_json", "gzip_threshold_1025", "gzip_error_then_ok"),
        "no request goes compressed to a server that does not inflate it",
    ),
    **dict.fromkeys(("gzip_raw_echo", "gzip_raw_cut"), "the same: they would not be what was answered"),
    "types_msgpack": "a datetime has no nanoseconds",
    "metadata_many": "a metadata key is not empty",
    "unicode_names": "a name of ours is ASCII",
    "breaker": "errors of a server that answers do not open ours",
    **dict.fromkeys(
        ("oneway", "oneway_errors"), "raw messages have numbers of their own; test_phobos.py has one-way"
    ),
    "deadline_passed": "its caller gives up by itself; test_phobos.py has the late answer",
    "heartbeat": "its heartbeats come by the clock; test_phobos.py has them",
    "heartbeat_auth": "ours have the token; test_phobos.py has them",
    "heartbeat_auth_breaker": "the same",
    "push": "its pushes come by themselves; test_phobos.py has them",
    "push_at_once": "the same",
    "push_unheard": "the same",
    "read_timeout": "a timeout of the client of Phobos alone",
}

#: Answers that fail the call here, with the error.
FAILING = {
    "answer_status_no_text": (Status.UNKNOWN, ""),
    "answer_error_of_rpcx": (Status.UNKNOWN, ""),
    "answer_codec_unknown": (Status.INTERNAL, "serialize type 9"),
}

#: Answers that end the connection.
BREAKING = {"answer_bad_metadata", "answer_bad_length", "answer_short"}

#: Answers that a client of Phobos takes and ours does not: the answer has the codec of the call, and a value.
UNREADABLE = {"answer_codec", "answer_empty"}

#: Answers that our client accepts and a client of Phobos does not: a flag for gzip over other data is ignored.
TAKEN_HERE = {"answer_gzip_bad": {"C": 6}}

CALLS = sorted(
    name for name, one in recordings("phobos").items() if not one.is_by_hand and name not in EXCLUDED
)


def config(**options: Any) -> ClientConfig:
    return ClientConfig(wire_protocol="phobos", **options)


async def made(client: Any, frame: Frame, reply: Frame | None) -> Any:
    """Make the call of a recorded frame."""
    told = {key: value for key, value in frame.metadata.items() if not key.startswith("__")}
    # A deadline is not sent to the server.
    view = client.with_options(codec=CODECS[frame.serialize], metadata=told, timeout=30)
    method: Any = f"{frame.path}.{frame.method}"
    value = frame.value() if frame.payload else None
    if frame.serialize == 0:
        value = frame.payload
    if frame.serialize == 2:
        method, value = Arith.EchoPB, StringValue.FromString(frame.inflated())
    if reply is None:
        return await view.notify(method, value)
    return await view.request(method, value)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("name", CALLS)
async def test_a_client_sends_the_frames_of_the_client_of_phobos_and_accepts_the_answers(
    name: str, kind: str
) -> None:
    recording = recordings("phobos")[name]
    requests = recording.requests
    token = requests[0].metadata.get("__AUTH")
    async with recorded_server(recording) as (target, replay):
        options = config(compressor="gzip" if name.startswith("gzip") else None)
        async with connected(kind, target, config=options, credentials=token) as client:
            for frame in requests:
                await meet(client, frame, recording)
            sent = [frame for frame in replay.received if not frame.heartbeat]
            for one, frame in zip(sent, requests, strict=True):
                assert one.magic == 0x42
                if token is not None:
                    # Each call of one client has its token.
                    frame.metadata["__AUTH"] = token
                assert_sent(one, frame)


async def meet(client: Any, frame: Frame, recording: Recorded) -> None:
    """Make a recorded call, and compare its outcome."""
    name = recording.name
    if name in BREAKING:
        with pytest.raises(UnavailableError):
            await made(client, frame, frame)
        return
    replies = {one.sequence: one for one in recording.answers if not one.one_way or one.response}
    reply = replies.get(frame.sequence)
    if name in FAILING:
        with pytest.raises(CallError) as caught:
            await made(client, frame, reply)
        status, text = FAILING[name]
        assert (caught.value.status, text in caught.value.message) == (status, True)
    elif reply is not None and reply.error is not None:
        with pytest.raises(CallError) as caught:
            await made(client, frame, reply)
        assert caught.value.message == reply.error
        is_unknown = reply.error.startswith("phobos: can't find")
        assert caught.value.status is (Status.UNIMPLEMENTED if is_unknown else Status.UNKNOWN)
    elif name in UNREADABLE:
        with pytest.raises(DecodeError):
            await made(client, frame, reply)
    elif name in TAKEN_HERE:
        assert (await made(client, frame, reply)).value == TAKEN_HERE[name]
    else:
        answer = await made(client, frame, reply)
        if reply is not None:
            assert_taken(answer, reply, error_key="__phobos_error__")


def test_every_recording_is_replayed_or_excluded_with_its_reason() -> None:
    by_hand = {name for name, one in recordings("phobos").items() if one.is_by_hand}
    assert {*CALLS} | EXCLUDED.keys() | by_hand == recordings("phobos").keys()
    assert len(CALLS) + len(EXCLUDED) + len(by_hand) == len(recordings("phobos"))
