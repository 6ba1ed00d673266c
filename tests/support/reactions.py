"""Every cell of the two state tables of PROTOCOL.md, for both roles, as scenarios."""

from collections.abc import Iterator

from tests.support.frame_factory import answer, piece, request
from tests.support.scenario import SERVING, Cancel, Open, Receive, Respond, Scenario, Step
from tests.support.wire_frames import Cancel as CancelFrame
from tests.support.wire_frames import Credit, Data, End, Head
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT

__all__ = ["TABLES"]

DISCARD = ("discarded",)
BROKEN = ("CE2",)
IGNORED = ("ignored",)

TOTAL = 4_000


def callee_cells(is_server: bool) -> Iterator[Scenario]:
    """Yield the callee's table; the peer's calls are odd for a server, even for a client."""
    call = 5 if is_server else 6
    for state, steps in callee_states(call).items():
        for frame, data in callee_frames(call).items():
            expected = CALLEE[frame].get(state, BROKEN)
            name = f"callee {'server' if is_server else 'client'}: {frame} when {state}"
            yield Scenario(name, is_server, steps, data, expected, SERVING)


def callee_states(call: int) -> dict[str, tuple[Step, ...]]:
    """Return the steps that bring a call into each state; `call` is the id under test."""
    stream, unary = request(call, flags=FLAG_STREAM_IN), request(call)
    first = request(call, b"x" * 100, total=TOTAL)
    cancel = CancelFrame(call).encode()
    states: dict[str, bytes] = {
        "new": b"",
        "assembling": first,
        "open": stream,
        "open in a message": stream + Data(call, b"x" * 100, total=TOTAL, more=True).encode(),
        "ended": unary,
        "ended by END": stream + End(call).encode(),
        "cancelled": unary + cancel,
        "cancelled stream": stream + cancel,
        "gone (refused)": request(call, metadata=b"\x00"),
        "gone (one way)": request(call, flags=FLAG_ONE_WAY),
        "gone (below)": request(call + 2),
    }
    steps: dict[str, tuple[Step, ...]] = {name: (Receive(data),) for name, data in states.items()}
    steps["gone (answered)"] = (Receive(stream), Respond(call))
    return steps


def callee_frames(call: int) -> dict[str, bytes]:
    return {
        "REQUEST": request(call),
        "REQUEST MORE": request(call, b"x", total=TOTAL),
        "REQUEST STREAM_IN": request(call, flags=FLAG_STREAM_IN),
        "REQUEST ONE_WAY": request(call, flags=FLAG_ONE_WAY),
        "DATA": Data(call, b"x").encode(),
        "DATA MORE": Data(call, b"x", total=TOTAL, more=True).encode(),
        "DATA CONT MORE": piece(call, b"x" * 1_024, more=True),
        "DATA CONT": piece(call, b"x" * (TOTAL - 100)),
        "END": End(call).encode(),
        "CANCEL": CancelFrame(call).encode(),
        "CREDIT": Credit(call, 1_000).encode(),
        "RESPONSE": answer(call),
        "HEAD": Head(call).encode(),
    }


LATE = (
    "cancelled",
    "cancelled stream",
    "gone (refused)",
    "gone (one way)",
    "gone (below)",
    "gone (answered)",
)
LATE_CELLS = dict.fromkeys(LATE, DISCARD)
RUNNING = ("assembling", "open", "open in a message", "ended", "ended by END")

#: Frame -> state -> reaction; frames without an entry are CE(2).
CALLEE: dict[str, dict[str, tuple[str, ...]]] = {
    "REQUEST": {"new": ("request",)},
    "REQUEST MORE": {"new": ()},
    "REQUEST STREAM_IN": {"new": ("request",)},
    "REQUEST ONE_WAY": {"new": ("request",)},
    "DATA": {"open": ("data",), **LATE_CELLS},
    "DATA MORE": {"open": (), **LATE_CELLS},
    "DATA CONT MORE": {"assembling": (), "open in a message": (), **LATE_CELLS},
    "DATA CONT": {"assembling": ("request",), "open in a message": ("data",), **LATE_CELLS},
    "END": {"open": ("end",), **LATE_CELLS},
    "CANCEL": {
        **dict.fromkeys(RUNNING, ("cancel",)),
        "assembling": ("refused",),
        **LATE_CELLS,
    },
    "CREDIT": {**dict.fromkeys(RUNNING, ("credit",)), **LATE_CELLS},
    "RESPONSE": {},
    "HEAD": {},
}


def caller_cells(is_server: bool) -> Iterator[Scenario]:
    """Yield the caller's table; own calls are odd for a client, even for a server."""
    call = 2 if is_server else 1
    for state, steps in caller_states(call).items():
        for frame, data in caller_frames(call).items():
            expected = CALLER[frame].get(state, BROKEN)
            name = f"caller {'server' if is_server else 'client'}: {frame} when {state}"
            yield Scenario(name, is_server, steps, data, expected)


def caller_states(call: int) -> dict[str, tuple[Step, ...]]:
    first = Receive(answer(call, b"x" * 100, total=TOTAL))
    message = Receive(Data(call, b"x" * 100, total=TOTAL, more=True).encode())
    stream = Open(FLAG_STREAM_OUT)
    return {
        "waiting": (Open(),),
        "waiting stream": (stream,),
        "streaming (HEAD)": (stream, Receive(Head(call).encode())),
        "streaming (DATA)": (stream, Receive(Data(call, b"x").encode())),
        "streaming in a message": (stream, message),
        "answering": (Open(), first),
        "answering stream": (stream, first),
        "cancelled": (Open(), Cancel(call)),
        "cancelled stream": (stream, Cancel(call)),
        "cancelled in a message": (stream, message, Cancel(call)),
        "cancelled answering": (Open(), first, Cancel(call)),
        "cancelled, then answering": (Open(), Cancel(call), first),
        "gone": (Open(), Receive(answer(call))),
        "gone (freed)": (Open(), Cancel(call), Receive(answer(call))),
        "gone (one way)": (Open(FLAG_ONE_WAY),),
        "never opened": (),
    }


def caller_frames(call: int) -> dict[str, bytes]:
    return {
        "HEAD": Head(call).encode(),
        "DATA": Data(call, b"x").encode(),
        "DATA MORE": Data(call, b"x", total=TOTAL, more=True).encode(),
        "DATA CONT MORE": piece(call, b"x" * 1_024, more=True),
        "DATA CONT": piece(call, b"x" * (TOTAL - 100)),
        "CREDIT": Credit(call, 1_000).encode(),
        "RESPONSE": answer(call),
        "RESPONSE error": answer(call, status=13),
        "RESPONSE MORE": answer(call, b"x", total=TOTAL),
        "RESPONSE error MORE": answer(call, b"x", total=TOTAL, status=13),
        "REQUEST": request(call),
        "END": End(call).encode(),
        "CANCEL": CancelFrame(call).encode(),
    }


NOT_ANSWERED = ("cancelled", "cancelled stream", "cancelled in a message")
BEING_ANSWERED = ("cancelled answering", "cancelled, then answering")
DROPPED = dict.fromkeys(NOT_ANSWERED + BEING_ANSWERED, DISCARD)
STREAMING = ("streaming (HEAD)", "streaming (DATA)")
BEFORE_ANSWER = ("waiting", "waiting stream", *STREAMING)

CALLER: dict[str, dict[str, tuple[str, ...]]] = {
    "HEAD": {"waiting stream": ("head",), **DROPPED},
    "DATA": {**dict.fromkeys(("waiting stream", *STREAMING), ("data",)), **DROPPED},
    "DATA MORE": {**dict.fromkeys(("waiting stream", *STREAMING), ()), **DROPPED},
    "DATA CONT MORE": {
        **dict.fromkeys(("streaming in a message", "answering", "answering stream"), ()),
        **DROPPED,
    },
    "DATA CONT": {
        "streaming in a message": ("data",),
        **dict.fromkeys(("answering", "answering stream"), ("response",)),
        **DROPPED,
        **dict.fromkeys(BEING_ANSWERED, ("discarded", "freed")),
    },
    "CREDIT": {
        **dict.fromkeys((*BEFORE_ANSWER, "streaming in a message"), ("credit",)),
        **dict.fromkeys(("answering", "answering stream", *NOT_ANSWERED, *BEING_ANSWERED), IGNORED),
    },
    "RESPONSE": {
        **dict.fromkeys(BEFORE_ANSWER, ("response",)),
        **dict.fromkeys(NOT_ANSWERED, ("freed",)),
    },
    "RESPONSE error": {
        **dict.fromkeys(
            (*BEFORE_ANSWER, "streaming in a message", "answering", "answering stream"), ("response",)
        ),
        **dict.fromkeys(NOT_ANSWERED + BEING_ANSWERED, ("freed",)),
    },
    "RESPONSE MORE": dict.fromkeys((*BEFORE_ANSWER, *NOT_ANSWERED), ()),
    "RESPONSE error MORE": dict.fromkeys((*BEFORE_ANSWER, "streaming in a message", *NOT_ANSWERED), ()),
    "REQUEST": {},
    "END": {},
    "CANCEL": {},
}


#: Both tables: a function of the role of the side under test.
TABLES = {"callee": callee_cells, "caller": caller_cells}
