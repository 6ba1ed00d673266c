"""The answer to a call that failed."""

import pytest

from fastrpc._core.link.failure import Failure


def test_a_failure_has_run_unless_it_says_otherwise() -> None:
    failure = Failure(5, "no such item")
    assert (failure.status, failure.text, failure.details) == (5, "no such item", b"")
    assert (failure.pushback_ms, failure.has_run, failure.goes_on) == (0, True, False)


def test_its_text_can_be_written_by_every_protocol() -> None:
    assert Failure(2, "a\udc80b").text == "a?b"


@pytest.mark.parametrize("arguments", [(1, None), (1, "text", None)])
def test_text_and_details_are_never_none(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        Failure(*arguments)  # type: ignore[arg-type]
