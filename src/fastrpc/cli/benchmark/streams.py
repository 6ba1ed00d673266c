"""`fastrpc bench` of methods that stream: each caller keeps one stream open."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastrpc.cli.benchmark.latency import Latencies
from fastrpc.cli.benchmark.run import BenchmarkRun
from fastrpc.cli.calling.grpc_methods import KnownGrpcMethod
from fastrpc.cli.calling.method_kinds import KnownMethod
from fastrpc.errors import StreamEndedError
from fastrpc.time_limit import time_limit

__all__ = ["StreamBenchmark"]

#: Messages that a caller sends before it yields to other callers and to answers.
SENT_AT_ONCE = 256

#: Seconds for which a silent stream is kept after the end of a run.
MARGIN_SECONDS = 0.005


class StreamBenchmark(BenchmarkRun):
    """One run of streams: each caller begins the next one when its stream ends.

    Args:
        messages: the messages for the stream parameter; callers send them again and again until the time is over.
    """

    def __init__(
        self,
        clients: list[Any],
        known: KnownMethod | KnownGrpcMethod,
        args: list[Any],
        kwargs: dict[str, Any],
        messages: Sequence[Any],
        *,
        callers: int,
    ) -> None:
        super().__init__(clients, known, callers=callers)
        self.kind = known.kind
        self.streams = 0
        self.sent = 0
        self.received = 0
        #: Times from the start of a stream to its first message.
        self.first = Latencies()
        #: Times from the last message sent to the single answer.
        self.answers = Latencies()
        #: Times between two deliveries of messages; messages that arrive together are one delivery.
        self.gaps = Latencies()
        self._args = args
        self._kwargs = kwargs
        self._messages = messages
        self._takes_stream = known.takes_stream
        self._gives_stream = known.gives_stream

    async def try_once(self, client: Any) -> None:
        """Check that the method works at all: send each given message once, and await the first answer."""
        args = self._with_input(_once(self._messages))
        if not self._gives_stream:
            await client.call(self.target, *args, **self._kwargs)
            return
        async with client.stream(self.target, *args, **self._kwargs) as stream:
            try:
                await stream.receive_many()
            except StreamEndedError:
                return

    async def once(self, client: Any, end_ns: int) -> None:
        """Run one stream, until it ends or the time is over."""
        args = self._with_input(self._until(end_ns))
        if self._gives_stream:
            began = time.perf_counter_ns()
            async with client.stream(self.target, *args, **self._kwargs) as stream:
                await self._read(stream, began, end_ns)
        else:
            await client.call(self.target, *args, **self._kwargs)
            self.answers.add(max(0, time.perf_counter_ns() - end_ns))
        self.streams += 1

    async def _read(self, stream: Any, began: int, end_ns: int) -> None:
        clock, latencies, last = time.perf_counter_ns, self.first, began
        try:
            async with time_limit((end_ns - began) / 1e9 + MARGIN_SECONDS):
                while last < end_ns:
                    messages = await stream.receive_many()
                    now = clock()
                    latencies.add(now - last)
                    latencies, last = self.gaps, now
                    self.received += len(messages)
        except (StreamEndedError, TimeoutError):
            # The stream ended, or was silent when the time was over.
            return

    def _with_input(self, messages: AsyncIterator[Any]) -> list[Any]:
        return [messages, *self._args] if self._takes_stream else self._args

    async def _until(self, end_ns: int) -> AsyncIterator[Any]:
        while self._messages and time.perf_counter_ns() < end_ns:
            for _ in range(max(1, SENT_AT_ONCE // len(self._messages))):
                for message in self._messages:
                    self.sent += 1
                    yield message
            # `send` does not suspend while the stream's window has room, so yield to other tasks here.
            await asyncio.sleep(0)

    def report(self) -> dict[str, Any]:
        """Return the results as plain data; durations in seconds."""
        count = self.received if self._gives_stream else self.sent
        return {
            **self.frame(),
            "kind": self.kind,
            "streams": self.streams,
            "messages": count,
            "sent": self.sent,
            "rate": count / self.seconds if self.seconds else 0.0,
            "first": self.first.report(),
            "gap": self.gaps.report(),
            "answer": self.answers.report(),
            "errors": dict(self.errors),
        }


async def _once(messages: Sequence[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message
