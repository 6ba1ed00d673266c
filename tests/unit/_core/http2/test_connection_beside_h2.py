"""Conversations with python `h2`, which keeps the rules of RFC 9113 by itself: all bytes arrive, no rule is broken."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from tests.conftest import Scale
from tests.support.http2_talk import HEAD_FIELDS, REQUEST_FIELDS, Talk, client, server, taken, with_h2

CANCEL = 8

FIELDS = [
    (b"grpc-timeout", b"1S"),
    (b"grpc-timeout", b"250m"),
    (b"x-tenant", b"acme"),
    (b"authorization", b"bearer secret"),
    (b"key-bin", b"AAEC"),
    (b"user-agent", b"one"),
    (b"user-agent", b"another"),
]


class Conversation:
    """Messages in both directions, until each stream has ended or was reset."""

    def __init__(self, random: Random, *, is_client: bool) -> None:
        self.random = random
        self.is_client = is_client
        window = random.choice([65_535, 1_000_000])
        side = client(window_bytes=window) if is_client else server(window_bytes=window)
        self.talk: Talk = with_h2(side)
        self.streams: list[int] = []
        self.next_id = 1
        self.window = 65_535
        #: The bytes that each side has sent on a stream, and that the other one has received.
        self.sent: dict[tuple[str, int], bytes] = {}
        self.heard: dict[tuple[str, int], bytes] = {}
        self.ended: dict[str, set[int]] = {"ours": set(), "theirs": set()}
        self.begun: dict[str, set[int]] = {"ours": set(), "theirs": set()}
        self.waiting: dict[int, bytes] = {}
        self.was_reset: set[int] = set()
        #: The streams whose head has arrived.
        self.arrived: set[int] = set()

    @property
    def h2(self) -> H2Connection:
        return self.talk.h2

    def exchange(self) -> None:
        """Let all that may leave arrive."""
        for event in self.talk.talk():
            self._hear(event)
        for kind, *rest in taken(self.talk.side):
            assert kind not in ("violation", "stream violation", "closed"), (kind, rest)
            if kind == "data":
                id, data, _ = rest
                self.heard["theirs", id] = self.heard.get(("theirs", id), b"") + data
                if id not in self.ended["theirs"] and id not in self.was_reset:
                    self.talk.side.take_bytes(id, len(data))
            elif kind == "reset":
                self.was_reset.add(rest[0])
        self.arrived.update(self.streams)

    def _hear(self, event: Any) -> None:
        if isinstance(event, DataReceived):
            key = ("ours", event.stream_id)
            self.heard[key] = self.heard.get(key, b"") + event.data
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            # A server resets the remainder of a stream that it has ended.
            if event.error_code:
                self.was_reset.add(event.stream_id)
            self.waiting.pop(event.stream_id, None)
        else:
            assert isinstance(
                event, RequestReceived | ResponseReceived | TrailersReceived | StreamEnded
            ) or not hasattr(event, "error_code"), event

    def open(self) -> None:
        """Let the client open a stream."""
        fields = [*REQUEST_FIELDS, *self.random.sample(FIELDS, self.random.randrange(4))]
        if self.is_client:
            id = self.talk.side.open_one()
            if id == 0:
                return
            self.talk.side.head(id, fields)
            self.begun["ours"].add(id)
        else:
            id, self.next_id = self.next_id, self.next_id + 2
            self.h2.send_headers(id, fields)
            self.begun["theirs"].add(id)
        self.streams.append(id)

    def speak(self) -> None:
        """Let a side send bytes on a stream that it has not ended."""
        id = self._any("ours")
        if id is not None and id in self.begun["ours"]:
            data = bytes(self.random.randrange(self.random.choice([10, 2_000, 90_000])))
            self.talk.side.data(id, data)
            self.sent["ours", id] = self.sent.get(("ours", id), b"") + data
        id = self._any("theirs")
        if id is not None and id in self.begun["theirs"]:
            data = bytes(self.random.randrange(self.random.choice([10, 2_000, 90_000])))
            self.waiting[id] = self.waiting.get(id, b"") + data
            self.sent["theirs", id] = self.sent.get(("theirs", id), b"") + data

    def answer(self) -> None:
        """Let the server begin its answer."""
        role = "theirs" if self.is_client else "ours"
        id = self._any(role)
        if id is None or id in self.begun[role] or id not in self.arrived:
            return
        self.begun[role].add(id)
        if self.is_client:
            self.h2.send_headers(id, HEAD_FIELDS)
        else:
            self.talk.side.head(id, HEAD_FIELDS)

    def push_waiting(self) -> None:
        """Send the bytes of `h2` that its windows allow."""
        for id, data in list(self.waiting.items()):
            room = min(self.h2.local_flow_control_window(id), self.h2.max_outbound_frame_size, len(data))
            if room > 0:
                padding = self.random.choice([None, None, None, 0, 9])
                if padding is not None and room > padding + 1:
                    self.h2.send_data(id, data[: room - padding - 1], pad_length=padding)
                    self.waiting[id] = data[room - padding - 1 :]
                else:
                    self.h2.send_data(id, data[:room])
                    self.waiting[id] = data[room:]
            if not self.waiting[id]:
                del self.waiting[id]

    def end(self) -> None:
        """Let a side end a stream, or reset it."""
        role = self.random.choice(["ours", "theirs"])
        id = self._any(role)
        if id is None or id not in self.begun[role] or (role == "theirs" and id in self.waiting):
            return
        # A server that ends first takes no more of the stream: here it waits for its client.
        is_server = (role == "theirs") == self.is_client
        if is_server and id not in self.ended["theirs" if role == "ours" else "ours"]:
            return
        if self.random.random() < 0.1:
            self.was_reset.add(id)
            if role == "ours":
                self.talk.side.reset_stream(id, CANCEL)
            else:
                self.h2.reset_stream(id, CANCEL)
            return
        self.ended[role].add(id)
        if role == "ours" and self.is_client:
            self.talk.side.data(id, b"", ends=True)
        elif role == "ours":
            self.talk.side.trailers(id, [(b"grpc-status", b"0")])
        elif is_server:
            self.h2.send_headers(id, [(b"grpc-status", b"0")], end_stream=True)
        else:
            self.h2.end_stream(id)

    def change_settings(self) -> None:
        """Let `h2` change its settings; it refuses an end without bytes at a window below 0, which the RFC allows.

        It takes an acknowledgment for one of all settings that it has sent, so that one after the other has to arrive.
        """
        self.window += self.random.randrange(10_000)
        self.h2.update_settings(
            self.random.choice(
                [
                    {SettingCodes.INITIAL_WINDOW_SIZE: self.window},
                    {SettingCodes.HEADER_TABLE_SIZE: self.random.choice([0, 100, 4_096])},
                    {SettingCodes.MAX_FRAME_SIZE: self.random.choice([16_384, 100_000])},
                ]
            )
        )
        self.exchange()

    def _any(self, role: str) -> int | None:
        """Return a stream that a side has not ended."""
        open_ones = [id for id in self.streams if id not in self.ended[role] and id not in self.was_reset]
        return self.random.choice(open_ones) if open_ones else None


@pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])
def test_all_sent_data_is_received(is_client: bool, scale: Scale) -> None:
    for seed in scale.seeds(15):
        random = Random(seed)
        conversation = Conversation(random, is_client=is_client)
        settings = 0
        for _ in range(200):
            step = random.randrange(20)
            if step < 3:
                conversation.open()
            elif step < 9:
                conversation.speak()
            elif step < 13:
                conversation.answer()
            elif step < 16:
                conversation.end()
            elif step == 16 and settings < 20:
                settings += 1
                conversation.change_settings()
            conversation.push_waiting()
            if random.random() < 0.7:
                conversation.exchange()
        for _ in range(400):
            conversation.push_waiting()
            conversation.exchange()
        assert not conversation.talk.side.is_closed
        for (role, id), data in conversation.sent.items():
            if id not in conversation.was_reset:
                assert conversation.heard.get((role, id), b"") == data, (seed, role, id)
        assert len(conversation.streams) > 10
