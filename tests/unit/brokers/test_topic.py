"""Topics: their settings, and the texts of refusals."""

import pickle
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError, Topic
from fastrpc.brokers.base import TopicSettings


@dataclass
class Order:
    id: str


def test_topic_is_declared_with_its_settings() -> None:
    assert Topic("orders.new").settings == TopicSettings("orders.new")
    queue = Topic("jobs", keep_seconds=None, groups=["mail", "audit"], max_bytes=10**6, dedupe_seconds=5)
    assert queue.settings == TopicSettings("jobs", None, ("audit", "mail"), 10**6, 5.0)


def test_topic_is_a_value_that_is_hashed_and_compared_and_does_not_change() -> None:
    topic = Topic("orders.new", Order)
    assert {topic: 1}[Topic("orders.new", Order)] == 1
    assert topic != Topic("orders.new")
    assert topic != Topic("orders.new", Order, keep_seconds=60)
    assert pickle.loads(pickle.dumps(topic)) == topic
    with pytest.raises(FrozenInstanceError):
        topic.name = "other"  # type: ignore[misc]
    assert fastrpc.brokers.Topic is Topic
    assert Topic[Order]("orders.new", Order) == topic


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "orders..new"}, "'orders..new' is not a topic"),
        ({"name": "orders new"}, "is not a topic"),
        (
            {"keep_seconds": 0},
            "keep_seconds of the topic 'orders' is 0, it must be a number of seconds above 0 or None",
        ),
        ({"keep_seconds": float("nan")}, "keep_seconds"),
        ({"keep_seconds": True}, "keep_seconds"),
        ({"keep_seconds": 10**400}, "keep_seconds of the topic 'orders' is a number of 1329 bits"),
        ({"keep_seconds": -(10**5000)}, "keep_seconds of the topic 'orders' is a number of 16610 bits"),
        ({"dedupe_seconds": 10**400}, "dedupe_seconds of the topic 'orders' is a number of 1329 bits"),
        ({"max_bytes": -(10**5000)}, "max_bytes of the topic 'orders' is a number of 16610 bits"),
        ({"dedupe_seconds": -1}, "dedupe_seconds of the topic 'orders' is -1"),
        ({"dedupe_seconds": None}, "dedupe_seconds"),
        ({"max_bytes": 0}, "max_bytes of the topic 'orders' is 0, it must be a number of bytes from 1 to"),
        ({"max_bytes": 1.5}, "max_bytes"),
        ({"keep_seconds": None}, "the queue orders has no groups"),
        ({"groups": ("billing",)}, "is a log with groups, but only a queue declares groups"),
        ({"keep_seconds": None, "groups": "billing"}, "groups of the topic 'orders' is 'billing'"),
        ({"keep_seconds": None, "groups": ("a", "a")}, "the topic orders names a group twice"),
        ({"keep_seconds": None, "groups": ("a b",)}, "is not the name of a group"),
    ],
)
def test_wrong_topic_is_refused_by_its_option(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Topic(**{"name": "orders", **arguments})
    assert words in str(caught.value)
