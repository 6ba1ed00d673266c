"""What a history takes from the changes that the store has kept."""

import socket
from typing import Any

import pytest

import fastrpc
from fastrpc import StoreError
from fastrpc.coordination import open_store
from tests.support import histories
from tests.support.histories import History


def put(value: int, call: int, back: int, **told: Any) -> dict[str, Any]:
    """Return a write of the first key."""
    place = {"client": 0, "call": call, "return": back, "kind": "put"}
    return place | {"do": [{"key": 0, "value": value}], "outcome": "unknown"} | told


def get(revision: int, call: int, back: int) -> dict[str, Any]:
    """Return a read of the first key."""
    items = [{"value": 1, "revision": revision, "created": 1}]
    place = {"client": 1, "call": call, "return": back, "kind": "get"}
    return place | {"read": [0], "items": items, "outcome": "done"}


def test_write_without_an_answer_returns_with_the_first_answer_that_reports_it_or_a_later_one() -> None:
    later = put(2, 70, 80, outcome="done", revision=6)
    history = History(operations=[put(1, 10, 0), get(4, 20, 30), get(5, 60, 90), later])
    history.resolve({5: {0: 1}, 6: {0: 2}})
    written = history.operations[0]
    assert (written["outcome"], written["return"]) == ("done", 80)


def test_answer_before_the_call_of_a_write_does_not_report_it() -> None:
    history = History(operations=[get(7, 1, 5), put(1, 10, 0)])
    history.resolve({5: {0: 1}})
    assert history.operations[1]["return"] == 0


def test_revisions_are_numbered_without_the_gap_of_a_killed_store_and_a_lost_one_has_no_number() -> None:
    writes = [
        put(value, value, value + 1, outcome="done", revision=at) for value, at in ((1, 5), (2, 6), (3, 900))
    ]
    lost = put(4, 8, 9, outcome="done", revision=901)
    history = History(operations=[*writes, lost, get(900, 10, 11)])
    history.resolve({5: {0: 1}, 6: {0: 2}, 900: {0: 3}})
    assert [one.get("revision") for one in history.operations] == [1, 2, 3, -1, None]
    assert history.operations[-1]["items"][0]["revision"] == 3


def test_write_that_the_store_has_not_kept_is_left_out() -> None:
    history = History(operations=[put(1, 10, 0)])
    history.resolve({})
    assert (history.operations, history.unknown) == ([], 1)


@pytest.mark.one_loop
async def test_history_whose_end_cannot_be_written_fails_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(histories, "END_SECONDS", 0.0)
    with socket.socket() as refusing:
        # It is bound and does not listen.
        refusing.bind(("127.0.0.1", 0))
        host, port = refusing.getsockname()
        async with open_store(f"store://{host}:{port}") as store:
            with fastrpc.timeout(0.2), pytest.raises(StoreError, match=f"h/end.*{port}"):
                await histories._end(store)
