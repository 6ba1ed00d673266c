"""Two connections without sockets and a stream between them, for tests of both sides' events."""

import asyncio

from fastrpc._core.wire.settings import WireSettings, usual_settings
from fastrpc_harness.recorded_stream import RecordedStream
from fastrpc_harness.recording import RecordingConnection
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT

__all__ = ["LinkedStreams"]

BOTH_WAYS = FLAG_STREAM_IN | FLAG_STREAM_OUT


class LinkedStreams:
    """A client and a server that carry bytes to each other when `carry` is called.

    Args:
        window: bytes that either side may send of a stream before the other takes a message.
        pool: bytes that messages larger than their window may borrow.
        calls: how many the server takes at a time.
    """

    def __init__(self, *, window: int = 65_536, pool: int = 33_554_432, calls: int = 10_000) -> None:
        ours, theirs = _settings(False, window), _settings(True, window)
        theirs.max_calls = calls
        self.client = RecordingConnection(is_client=True, settings=ours, stream_pool=pool)
        self.server = RecordingConnection(is_client=False, settings=theirs, stream_pool=pool)
        self.carry()

    def open(
        self, flags: int = BOTH_WAYS, *, idle_ns: int = 0, with_loop: bool = True
    ) -> tuple[RecordedStream, RecordedStream]:
        """Open a call; return its stream as the caller and as the callee have it."""
        loop = asyncio.get_running_loop() if with_loop else None
        ours = self.client.open_call(b"chat.join", flags=flags)
        near = RecordedStream(self.client, ours, loop=loop, idle_ns=idle_ns)
        self.carry()
        theirs = self.server.find_call(ours.id)
        assert theirs is not None
        return near, RecordedStream(self.server, theirs, loop=loop, idle_ns=idle_ns)

    def carry(self) -> None:
        """Carry the bytes of both sides, until neither has any."""
        while True:
            to_server, to_client = self.client.data_to_send(), self.server.data_to_send()
            if not to_server and not to_client:
                return
            self.server.receive_data(to_server)
            self.client.receive_data(to_client)


def _settings(is_server: bool, window: int) -> WireSettings:
    settings = usual_settings(is_server)
    settings.stream_window = window
    return settings
