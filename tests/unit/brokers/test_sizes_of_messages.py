"""The sizes of messages that are published in one call: each as if it were published alone."""

from itertools import product
from types import MappingProxyType
from typing import Any

import pytest

from fastrpc import BrokerError
from fastrpc.brokers.base import MESSAGE_BYTES, OutgoingMessage
from fastrpc.brokers.base.checks import check_outgoing, sizes_of

SHARED = MappingProxyType({"content-type": "application/json"})


def test_messages_have_the_sizes_that_they_have_alone() -> None:
    kinds = product(
        (b"", b"value"), (SHARED, {}, {"name": "ü" * 20}), (None, "key"), (None, "publisher"), (0.0, 1.5)
    )
    messages = [
        OutgoingMessage("a", body, key, delay=delay, headers=headers, publisher=publisher)
        for body, headers, key, publisher, delay in kinds
    ]
    # Each next to each other one, so that every pair of neighbours occurs.
    for one, other in product(messages, repeat=2):
        assert sizes_of((one, other, one)) == [check_outgoing(message) for message in (one, other, one)]


@pytest.mark.parametrize(
    "fault",
    [
        {"body": bytes(MESSAGE_BYTES + 1)},
        {"delay": -1.0},
        {"key": "k" * 1_000},
        {"headers": {"name": "n" * 10_000}},
        {"publisher": "\ud800"},
    ],
)
def test_a_faulty_message_after_others_is_refused(fault: dict[str, Any]) -> None:
    good = OutgoingMessage("a", b"value", headers=SHARED)
    faulty = OutgoingMessage(**{"topic": "a", "body": b"value", "headers": SHARED} | fault)
    for messages in ((faulty,), (good, faulty), (good, good, faulty, good)):
        with pytest.raises(BrokerError):
            sizes_of(messages)
