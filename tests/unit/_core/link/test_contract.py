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
    Outcomes,
    Placing,
    Pushing,
    Wire,
)
from fastrpc._core.server.served_call import ServerCall
from fastrpc_harness.line_wire import LineWire, attempt
from tests.support import widths

METHODS = {
    Wire: ("join", "lost", "take", "answer", "fail", "refuse", "tell", "check", "forgive"),
    Outcomes: ("answer", "fail", "refuse", "hold", "release", "judged"),
    Placing: ("place", "placed", "owner", "completes"),
    Dialect: (
        "unknown_method",
        "unknown_codec",
        "unknown_compressor",
        "corrupt_status",
        "unfit_status",
        "has_status_details",
        "compressor",
    ),
    Forms: ("protocol", "peer", "marshal", "check_sent", "note_answer"),
    Handling: ("form_of", "note_mistakes", "hold", "leave_handler"),
    Assembling: ("count", "admitted", "judged", "end"),
    Pushing: ("push",),
    Flow: ("head", "message", "await_turn", "room", "taken", "reader", "end_early"),
    Goodbye: ("drain", "is_told", "say"),
    Backlog: ("pump", "turn_over", "queued", "passed", "credit"),
}
#: The methods that cannot raise: a stream whose flow lacks one waits, and asks for its turn; a flush that asks a
#: backlog pumps no second time; a peer accepts no metadata; a call without an answer gets no answer.
SILENT = {Outcomes: ("is_unanswered",), Flow: ("is_full",), Backlog: ("rest",), Forms: ("most_metadata",)}

#: The dispatcher, which is Python, asks a dialect by these; no author writes them.
ASKED = {
    Dialect: {
        "text_for_method": ("unknown_method", (ServerCall(), "shop.price", None)),
        "text_for_codec": ("unknown_codec", (ServerCall(),)),
        "text_for_compressor": ("unknown_compressor", (ServerCall(),)),
        "status_of_corrupt": ("corrupt_status", (ServerCall(),)),
        "details_are_status": ("has_status_details", (ServerCall(),)),
    }
}

#: The most methods of one interface.
METHODS_OF_A_WIRE = 16


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind, methods in METHODS.items() for method in methods]
)
def test_a_method_that_is_left_out_raises(kind: type, method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^{kind.__name__} does not implement {method}\(\)$"):
        attempt(kind(), method)


@pytest.mark.parametrize("question", ASKED[Dialect])
def test_the_dispatcher_asks_a_dialect_in_python(question: str) -> None:
    method, arguments = ASKED[Dialect][question]
    with pytest.raises(NotImplementedError, match=rf"^Dialect does not implement {method}\(\)$"):
        getattr(Dialect(), question)(*arguments)


def test_an_author_meets_few_methods() -> None:
    for kind, methods in METHODS.items():
        assert widths.own_methods()[kind.__name__] == {
            *methods,
            *SILENT.get(kind, ()),
            *ASKED.get(kind, ()),
        }
        assert len(methods) <= METHODS_OF_A_WIRE


def test_a_protocol_has_only_the_parts_that_it_needs() -> None:
    wire = LineWire()
    assert (wire.protocol, wire.takes_values, wire.closes_on_refusal) == ("lines", False, False)
    assert (wire.placing, wire.dialect, wire.pushing, wire.goodbye, wire.backlog) == (None,) * 5
    assert (wire.forms, wire.assembling) == (None, None)
