"""The broker over NATS without a server: names, headers, versions, messages that a log dropped."""

import gc
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.client import Client, ServerVersion
from nats.aio.msg import Msg

from fastrpc.brokers.base import OutgoingMessage
from fastrpc.brokers.nats.groups import ConsumerGroup, Groups
from fastrpc.brokers.nats.held import Held
from fastrpc.brokers.nats.jetstream import JetStream
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.brokers.nats.messages import (
    DeliveryNumbers,
    dead_headers,
    delivery_in,
    headers_of,
    letter_in,
    replay_headers,
    unread_delivery_in,
)
from fastrpc.brokers.nats.missed import MissedMessages
from fastrpc.brokers.nats.names import SubjectNames, word_of
from fastrpc.brokers.nats.options import NatsOptions
from fastrpc.brokers.nats.publishing import ServerClock
from fastrpc.errors import BrokerError, ConfigError, DecodeError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.nats.connection import take_access

NAMES = SubjectNames("fastrpc")


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("orders.new", "fastrpc.topic.orders.new"),
        ("orders.*", "fastrpc.topic.orders.*"),
        ("orders.*.paid", "fastrpc.topic.orders.*.paid"),
        ("orders.**", "fastrpc.topic.orders.>"),
        ("*.**", "fastrpc.topic.*.>"),
        ("**", "fastrpc.topic.>"),
    ],
)
def test_a_pattern_is_a_subject_of_nats(pattern: str, subject: str) -> None:
    assert NAMES.subject(pattern) == subject


def test_different_names_are_different_words() -> None:
    long = ["a" * length for length in (99, 100, 101, 255)]
    names = ["a.b", "a-b", "a=b", "a_b", "a.*", "a.**", "é", "c3a9", "=c3a9=", "a.b.c", "a.b-c", *long]
    words = {word_of(name) for name in names}
    assert len(words) == len(names)
    # Streams are folders, and their names are words of subjects.
    assert all(word.isascii() and word.isprintable() and len(word) <= 100 for word in words)
    assert not any(set(word) & set(" .*>/\\") for word in words)


def message_of(subject: str, reply: str, headers: dict[str, str] | None = None) -> Msg:
    return Msg(_client=Client(), subject=subject, reply=reply, data=b"body", headers=headers)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.fastrpc+orders-new.a.2.7.9.1700000000000000000.3",
        "$JS.ACK.hub.hash.fastrpc+orders-new.a.2.7.9.1700000000000000000.3.token",
    ],
)
def test_a_delivery_is_read_from_the_subject_of_its_acknowledgement(reply: str) -> None:
    assert DeliveryNumbers.of(message_of("a", reply)) == DeliveryNumbers(2, 7, 9, 1_700_000_000_000_000_000)


@pytest.mark.parametrize("id", ["order-17", " ", "%20", "a\r\nb", "é", "x" * 512, None])
@pytest.mark.parametrize("name", ["tenant", "nats-msg-id", "Nats-Schedule", "frpc-id"])
def test_any_message_fits_into_headers_of_nats(id: str | None, name: str) -> None:
    message = OutgoingMessage("orders.new", b"body", " k ", id, headers={name: "acme"})
    headers = headers_of(message)
    for header, text in headers.items():
        assert text.strip() == text, header
        assert text.isprintable(), header
    reply = DeliveryNumbers(1, 7, 9, 0)
    found = delivery_in(message_of(NAMES.subject("orders.new"), "", headers), reply, NAMES, "run", None)
    assert (found.id, found.key, dict(found.headers)) == (id or "run-7", " k ", {name: "acme"})


def test_ids_that_need_quotes_differ_from_other_ids() -> None:
    ids = [" ", "%20", "%%20", "%2520", "a", "%a"]
    sent = {headers_of(OutgoingMessage("a", b"", id=id))["Nats-Msg-Id"] for id in ids}
    assert len(sent) == len(ids)


def link() -> JetStreamLink:
    return JetStreamLink(take_access(RegistryURL("nats://127.0.0.1:4222"), BrokerError), NatsOptions())


def server(version: str) -> Any:
    return SimpleNamespace(connected_server_version=ServerVersion(version), max_payload=1024)


def test_a_server_before_2_11_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nats://.* is 2\.10\.29.*, 2\.11 is needed.*broker://"):
        link()._check(server("2.10.29"))


@pytest.mark.parametrize(("version", "has_delay"), [("2.11.3", False), ("2.12.0", True), ("2.15.1", True)])
def test_delays_need_a_server_of_2_12(version: str, has_delay: bool) -> None:
    made = link()
    made._check(server(version))
    assert made.limits.has_delay is has_delay


@pytest.mark.one_loop
async def test_the_time_of_the_server_is_known_although_the_clock_here_jumps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def server_time(stream: str) -> datetime:
        return datetime.now(UTC)

    here = timedelta(0)
    jumping = SimpleNamespace(now=lambda zone: datetime.now(zone) + here)
    monkeypatch.setattr("fastrpc.brokers.nats.publishing.datetime", jumping)
    clock = ServerClock(cast(Any, SimpleNamespace(server_time=server_time)))
    for days in (0, -1, 1):
        here = timedelta(days=days)
        assert abs(await clock.now("orders") - datetime.now(UTC)) < timedelta(hours=1)


@pytest.mark.one_loop
async def test_the_time_of_the_server_is_right_although_the_clock_here_jumps_during_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = datetime(2026, 1, 2, tzinfo=UTC)
    days = iter([0, 1])
    jumping = SimpleNamespace(
        now=lambda zone: datetime.now(zone) + timedelta(days=next(days)), fromisoformat=datetime.fromisoformat
    )
    monkeypatch.setattr("fastrpc.brokers.nats.link.datetime", jumping)

    async def api(verb: str) -> dict[str, Any]:
        return {"ts": told.isoformat()}

    one = link()
    monkeypatch.setattr(one, "api", api)
    assert abs(await one.server_time("orders") - told) < timedelta(hours=1)


@pytest.mark.one_loop
async def test_requests_that_a_silent_server_leaves_open_end_together() -> None:
    async def publish(*words: Any) -> None: ...

    client = SimpleNamespace(new_inbox=lambda: "inbox", publish=publish, is_closed=False)
    stream = JetStream(cast(Any, client), lambda silent: silent.fail(ConnectionError()))
    asked = [await stream.send("a") for _ in range(3)]
    sent_at = stream._now()
    stream._now = lambda: sent_at + 60
    stream._look()
    assert [type(one.exception()) for one in asked] == [TimeoutError, ConnectionError, ConnectionError]


def noted(missed: MissedMessages, number: int, sequence: int, *, was_delayed: bool = False) -> None:
    missed.note(DeliveryNumbers(1, sequence, number, 0), was_delayed=was_delayed)


@pytest.fixture
def missed() -> MissedMessages:
    """Of a group that has had the message 5 as its delivery 3."""
    made = MissedMessages()
    made.restart({"delivered": {"consumer_seq": 3, "stream_seq": 5}})
    return made


def test_messages_that_a_log_dropped_are_counted(
    missed: MissedMessages, caplog: pytest.LogCaptureFixture
) -> None:
    noted(missed, 4, 10)
    assert missed.has_gaps
    missed.explain("a", 10)
    assert (missed.count, missed.has_gaps) == (4, False)
    (told,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "dropped 4 messages" in told.getMessage()


def test_messages_of_other_groups_are_not_counted(missed: MissedMessages) -> None:
    # The stream has them still.
    noted(missed, 4, 10)
    missed.explain("a", 3)
    assert missed.count == 0


def test_schedules_of_delayed_messages_are_not_counted(missed: MissedMessages) -> None:
    # Of the messages 6 to 9 two were schedules, whose messages are 10 and 11.
    noted(missed, 4, 10, was_delayed=True)
    noted(missed, 5, 11, was_delayed=True)
    missed.explain("a", 10)
    assert missed.count == 2
    noted(missed, 6, 20)
    missed.explain("a", 20)
    assert missed.count == 2 + 8


def test_delayed_messages_without_a_gap_hide_no_loss_that_follows(missed: MissedMessages) -> None:
    for number in range(4, 10):
        noted(missed, number, number + 2, was_delayed=True)
    noted(missed, 10, 21)
    missed.explain("a", 21)
    assert missed.count == 9


def test_deliveries_to_other_processes_are_not_counted(missed: MissedMessages) -> None:
    noted(missed, 6, 10)
    assert not missed.has_gaps


def test_retries_are_not_counted(missed: MissedMessages) -> None:
    noted(missed, 4, 2)
    noted(missed, 5, 6)
    assert not missed.has_gaps


def test_messages_of_a_queue_are_not_counted_as_it_drops_none() -> None:
    groups, group = Groups(link()), ConsumerGroup(link(), "billing", "jobs", "jobs")
    assert groups.missed(group, {"config": {"inactive_threshold": 10**9}}) is not None
    assert groups.missed(group, {"config": {}}) is None


def test_a_group_that_is_sought_counts_from_its_place(missed: MissedMessages) -> None:
    missed.restart({"delivered": {"consumer_seq": 0, "stream_seq": 0}})
    noted(missed, 1, 1)
    assert not missed.has_gaps


# Headers that another program has written


MALFORMED = [
    {"frpc-rest": "x"},
    {"frpc-rest": "[]"},
    {"frpc-rest": "{}"},
    {"frpc-rest": '{"id": 1, "key": null, "publisher": null, "headers": {}}'},
    {"frpc-rest": '{"id": "1", "key": null, "publisher": null, "headers": {"a": 1}}'},
    {"frpc-rest": '{"id": "\\ud800", "key": null, "publisher": null, "headers": {}}'},
    {"frpc-again": "x"},
    {"frpc-again": '{"topic": "a", "sequence": 1}'},
    {"frpc-again": '{"topic": "a", "sequence": 1, "at": 1e99}'},
    {"frpc-again": f'{{"topic": "a", "sequence": 1, "at": {2**63}}}'},
    {"frpc-id": "x" * 513},
    {"Nats-Msg-Id": "x" * 8_000},
]


@pytest.mark.parametrize("headers", MALFORMED, ids=str)
def test_a_malformed_header_is_a_decode_error_and_its_message_can_still_be_a_dead_letter(
    headers: dict[str, str],
) -> None:
    reply = "$JS.ACK.fastrpc+orders-new.a.2.7.9.1700000000000000000.3"
    message = message_of(NAMES.subject("orders.new"), reply, {**headers, "tenant": "acme"})
    parts = message, DeliveryNumbers.of(message), NAMES, "run", None
    with pytest.raises(DecodeError):
        delivery_in(*parts)
    delivery = unread_delivery_in(*parts)
    assert (delivery.topic, delivery.body, delivery.id) == ("orders.new", b"body", "run-7")
    # Its letter is read, and so is the message of a replay.
    dead = message_of("", "", dead_headers(message, delivery, "why \ud800", "bad \ud800"))
    letter = letter_in(dead, delivery.published_at)
    assert (letter.id, dict(letter.headers), letter.reason) == ("run-7", {"tenant": "acme"}, "why ?")
    again = message_of("", reply, replay_headers(dead, letter, "replay"))
    found = delivery_in(again, DeliveryNumbers(1, 8, 10, 0), NAMES, "run", None)
    assert (found.id, found.topic, found.sequence) == ("run-7", "orders.new", 7)


@pytest.mark.parametrize("headers", [None, {}, {"frpc-dead": "x"}, {"frpc-dead": "{}"}], ids=str)
def test_a_message_of_another_program_is_no_dead_letter(headers: dict[str, str] | None) -> None:
    with pytest.raises(DecodeError):
        letter_in(message_of("", "", headers), datetime.now(UTC))


def test_a_held_message_is_freed_together_with_its_delivery() -> None:
    message = message_of(
        NAMES.subject("orders.new"), "$JS.ACK.fastrpc+orders-new.a.2.7.9.1700000000000000000.3"
    )
    held = Held(message, None, 0.0)
    held.delivery = delivery_in(message, DeliveryNumbers.of(message), NAMES, "run", held)
    del held
    gc.collect()
    assert not any(type(one) is Held for one in gc.get_objects())
