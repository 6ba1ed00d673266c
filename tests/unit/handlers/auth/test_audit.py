"""Refusals in the audit log: all but refused reflection are warnings, and each is bounded."""

import logging

import pytest

from fastrpc.auth import Identity
from fastrpc.endpoint import Address
from fastrpc.handlers.auth import audit
from fastrpc.handlers.auth.audit import Audit
from fastrpc.peers.peer import Peer

METHOD = "fastrpc.reflection.services"
ONE, OTHER = (Peer(Address("tcp", host=f"10.0.0.{number}", port=4000)) for number in (1, 2))


def test_refused_reflection_is_reported_once_a_minute_for_each_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc.audit")
    now = [1_000.0]
    tested = Audit(lambda: now[0])
    told = []
    for second in range(125):
        now[0] = 1_000.0 + second
        for peer in (ONE, OTHER):
            for identity in (None, Identity("ada")):
                before = len(caplog.records)
                tested.refused_reflection(
                    "authorisation", METHOD, identity, peer, "the caller may not call it"
                )
                told += [second] * (len(caplog.records) - before)
    assert told == [0] * 4 + [60] * 4 + [120] * 4
    assert {one.levelname for one in caplog.records} == {"INFO"}
    assert "authorisation refused: ada of tcp://10.0.0.1:4000 called fastrpc.reflection" in caplog.text


def test_refused_reflection_takes_no_place_of_other_refusals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "fastrpc.audit")
    tested = Audit(lambda: 1_000.0)
    for _ in range(20):
        tested.refused_reflection("authentication", METHOD, None, ONE, "no identity")
    for _ in range(audit.MOST_RECORDS + 5):
        tested.refused("authentication", "shop.who", None, ONE, "no identity")
    levels = [one.levelname for one in caplog.records]
    assert levels == ["INFO"] + ["WARNING"] * audit.MOST_RECORDS


def test_callers_whose_reflection_is_refused_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_PEERS", 3)
    tested = Audit(lambda: 1_000.0)
    for number in range(10):
        tested.refused_reflection("authorisation", METHOD, Identity(f"caller{number}"), ONE, "no")
    assert len(tested._reflections) == 3
