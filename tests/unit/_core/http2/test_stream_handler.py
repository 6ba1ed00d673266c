"""The hooks of a side of HTTP/2: a side implements some of them, the other ones have a default."""

import pytest

from fastrpc._core.http2.stream_handler import StreamHandler
from fastrpc_harness.recording_http2 import attempt_hook
from tests.support import widths

#: The hooks of every side.
REQUIRED = (
    "on_head",
    "on_data",
    "on_placed",
    "on_trailers",
    "on_reset",
    "on_stream_violation",
    "on_over",
    "on_sendable",
    "on_closed",
)
#: The hooks of one side, and of sides that receive long messages in place.
OPTIONAL = (
    "sink_for",
    "on_refused",
    "may_lend",
    "grant_rest",
    "on_settings",
    "on_goaway",
    "on_violation",
)


@pytest.mark.parametrize("hook", REQUIRED)
def test_a_hook_that_is_left_out_raises(hook: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^StreamHandler does not implement {hook}\(\)$"):
        attempt_hook(StreamHandler(), hook)


@pytest.mark.parametrize("hook", OPTIONAL)
def test_an_optional_hook_has_a_default(hook: str) -> None:
    attempt_hook(StreamHandler(), hook)


def test_each_hook_is_listed() -> None:
    # A function that makes its connection is no hook.
    assert widths.own_methods()["StreamHandler"] - {"new_http2"} == {*REQUIRED, *OPTIONAL}
