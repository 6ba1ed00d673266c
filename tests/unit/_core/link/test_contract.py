"""The interfaces of a protocol: a method that an author leaves out raises, and does not answer 0."""

import pytest

from fastrpc._core.link.contract import (
    Assembling,
    Backlog,
    Dialect,
    Flow,
    Forms,
    Goodbye,
    Handling,
    Placing,
    Pushing,
    Wire,
)
from fastrpc_harness.line_wire import LineWire, attempt
from tests.support import widths

METHODS = {
    Wire: ("join", "lost", "take", "answer", "fail", "refuse", "tell", "check", "forgive"),
    Placing: ("place", "placed", "owner", "completes"),
    Dialect: (
        "unknown_method",
        "unknown_codec",
        "unknown_compressor",
        "corrupt_status",
        "details",
        "compressor",
    ),
    Forms: ("protocol", "peer", "marshal", "check_sent", "note_answer"),
    Handling: ("form_of", "note_mistakes", "hold", "leave_handler"),
    Assembling: ("count", "judged", "end"),
    Pushing: ("push",),
    Flow: ("head", "message", "await_turn", "room", "taken", "reader", "end_early"),
    Goodbye: ("drain", "is_told", "say"),
    Backlog: ("pump", "turn_over", "queued", "passed", "credit"),
}
#: The methods that cannot raise: a stream whose flow lacks one waits, and asks for its turn; a flush that asks a
#: backlog pumps no second time; a peer accepts no metadata.
SILENT = {Flow: ("is_full",), Backlog: ("rest",), Forms: ("most_metadata",)}

#: The most methods of one interface.
METHODS_OF_A_WIRE = 16


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind, methods in METHODS.items() for method in methods]
)
def test_a_method_that_is_left_out_raises(kind: type, method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^{kind.__name__} does not implement {method}\(\)$"):
        attempt(kind(), method)


def test_an_author_meets_few_methods() -> None:
    for kind, methods in METHODS.items():
        assert widths.own_methods()[kind.__name__] == {*methods, *SILENT.get(kind, ())}
        assert len(methods) <= METHODS_OF_A_WIRE


def test_a_protocol_has_only_the_parts_that_it_needs() -> None:
    wire = LineWire()
    assert (wire.protocol, wire.takes_values, wire.closes_on_refusal) == ("lines", False, False)
    assert (wire.placing, wire.dialect, wire.pushing, wire.goodbye, wire.backlog) == (None,) * 5
    assert (wire.forms, wire.handling, wire.assembling) == (None, None, None)
