"""Tracebacks without our own frames."""

import traceback

import pytest

import fastrpc
from fastrpc.tracebacks import OWN, of_program, shortened


def failed(error: Exception | None = None) -> ValueError:
    """Return an error that a function of ours passed on, with a cause."""
    try:
        try:
            fastrpc.Address.parse("nonsense")
        except Exception as cause:
            raise ValueError("outer") from (error or cause)
    except ValueError as raised:
        return raised
    raise AssertionError("nothing was raised")


def names(error: BaseException | None) -> list[str]:
    assert error is not None
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_own_frames_leave_an_error_and_its_causes() -> None:
    error = failed()
    assert error.__cause__ is not None
    assert len(names(error.__cause__)) > 1
    assert shortened(error) is error
    assert (names(error), names(error.__cause__)) == (["failed"], ["failed"])


def test_a_chain_that_leads_back_to_its_start_ends() -> None:
    error = failed()
    assert error.__cause__ is not None
    error.__cause__.__cause__ = error
    shortened(error)
    assert names(error) == ["failed"]


def test_errors_without_a_traceback_are_unchanged() -> None:
    error = ValueError()
    assert shortened(error).__traceback__ is None


def test_a_variable_keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRPC_TRACEBACKS", "full")
    error = failed()
    assert error.__cause__ is not None
    assert names(shortened(error).__cause__) == names(error.__cause__)
    assert len(names(error.__cause__)) > 1


def test_the_first_frame_may_stay() -> None:
    with pytest.raises(fastrpc.FastRPCError) as refused:
        fastrpc.Address.parse("nonsense")
    inner = refused.value.__traceback__
    assert inner is not None
    below = inner.tb_next
    found = of_program(below, OWN, keeps_first=True)
    assert found is not None
    assert (found.tb_frame, found.tb_next) == (below and below.tb_frame, None)
