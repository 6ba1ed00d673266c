"""What `request` returns."""

import copy
import pickle
from collections.abc import Callable

import pytest

from fastrpc._core.payload.metadata import Metadata
from fastrpc.endpoint import Endpoint
from fastrpc.rpc.reply import Reply


def reply() -> Reply[int]:
    metadata = Metadata({"cached": "yes"})
    return Reply(42, metadata=metadata, endpoint=Endpoint("tcp://127.0.0.1:1"), attempts=2, seconds=0.25)


def test_a_reply_holds_the_answer_and_the_facts_of_the_call() -> None:
    given = reply()
    assert (given.value, given.attempts, given.seconds) == (42, 2, 0.25)
    assert given.metadata["cached"] == "yes"
    assert str(given.endpoint) == "tcp://127.0.0.1:1"


def test_the_value_of_a_reply_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError):
        reply().value = 1  # type: ignore[misc]


def test_a_reply_has_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        reply().note = "x"  # type: ignore[attr-defined]


def test_a_reply_shows_all_it_holds() -> None:
    assert repr(reply()) == (
        "Reply(42, metadata={'cached': 'yes'}, endpoint='tcp://127.0.0.1:1', attempts=2, seconds=0.250000)"
    )


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_a_reply_can_be_copied_and_pickled(duplicate: Callable[[Reply[int]], Reply[int]]) -> None:
    assert repr(duplicate(reply())) == repr(reply())
    assert duplicate(reply()).endpoint == reply().endpoint
