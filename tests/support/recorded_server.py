"""A recorded server of Go, and its answers as our client reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from tests.support.peer_writing import write_to
from tests.support.rpcx_vectors import Recorded
from tests.support.rpcx_wire import Frame, RpcxParser

__all__ = ["RecordedServer", "assert_sent", "assert_taken", "recorded_server"]


class RecordedServer:
    """Answers each frame of a client as it was answered then."""

    def __init__(self, recording: Recorded) -> None:
        self.recording = recording
        self.received: list[Frame] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = RpcxParser(None)
        answers = self.recording.answers_by_sequence()
        while data := await reader.read(65_536):
            for frame in parser.feed(data):
                self.received.append(frame)
                write_to(writer, answers.get(frame.sequence, b""))
        writer.close()


@asynccontextmanager
async def recorded_server(recording: Recorded) -> AsyncIterator[tuple[str, RecordedServer]]:
    replay = RecordedServer(recording)
    server = await asyncio.start_server(replay.serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"tcp://{host}:{port}", replay
    finally:
        server.close()


def assert_taken(answer: Any, reply: Frame, *, error_key: str = "__rpcx_error__") -> None:
    """Compare the result of a client with the answer."""
    value = answer.value.SerializeToString() if isinstance(answer.value, StringValue) else answer.value
    assert value == reply.value()
    # The text of an error under another status is no error.
    assert dict(answer.metadata) == {key: text for key, text in reply.metadata.items() if key != error_key}


def assert_sent(sent: Frame, frame: Frame) -> None:
    """Compare the frames of a client with the recorded request."""
    for part in (
        "path",
        "method",
        "sequence",
        "serialize",
        "compress",
        "one_way",
        "heartbeat",
        "version",
        "status",
    ):
        assert getattr(sent, part) == getattr(frame, part), part
    assert sent.value() == frame.value()
    limit = sent.metadata.pop("__ServerTimeout", None)
    assert sent.metadata == {key: value for key, value in frame.metadata.items() if key != "__ServerTimeout"}
    # Rounded down, of a time that has begun to run.
    assert ("__ServerTimeout" in frame.metadata) == (limit is not None)
    assert limit is None or 2_900 <= int(limit) <= 2_999
