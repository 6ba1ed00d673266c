"""The frames of WebSocket: the cases of Autobahn's test suite, by their numbers, and further cases.

The cases of compression (12, 13) are left out: no extension is agreed to. What measures is smaller here: messages in
pieces (9.3 to 9.6) have 256 and 64 KiB, so that 9.3.8, 9.3.9, 9.4.8 and 9.4.9 are 9.3.7 and 9.4.7, and 9.7 and 9.8 have
a hundred messages.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import pytest

from fastrpc._core.websocket.frames import SocketViolationError, WebSocketReader, close_payload, server_frame
from tests.support.socket_frames import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    closing,
    read_frame,
)

MOST = 20 << 20

Event: TypeAlias = tuple[object, ...]

#: Frames that a client sends, and their events.
Case: TypeAlias = tuple[Sequence[bytes], Sequence[Event]]

WRONG: Event = ("violation", 1002)
WRONG_TEXT: Event = ("violation", 1007)
PIECE = b"Fragment"


def events_of(chunks: Iterable[bytes], most: int = MOST) -> list[Event]:
    """Return the events of a reader for bytes in these chunks, up to the end of the connection."""
    reader, kept, found = WebSocketReader(most), b"", list[Event]()
    for chunk in chunks:
        kept += chunk
        size = -1
        while kept and size:
            try:
                size, taken = reader.take_data(kept)
            except SocketViolationError as error:
                return [*found, ("violation", error.code)]
            kept = kept[size:]
            if taken == "close":
                return [*found, ("close", reader.close_code, reader.close_reason)]
            if taken == "message":
                found.append((reader.kind, reader.payload))
            elif taken:
                found.append((taken, reader.payload))
    return found


def chopped(frames: Sequence[bytes], size: int = 1) -> list[bytes]:
    data = b"".join(frames)
    return [data[at : at + size] for at in range(0, len(data), size)]


def text(content: bytes, **options: bool | int) -> bytes:
    return client_frame(TEXT, content, **options)  # type: ignore[arg-type]


def more(content: bytes, *, final: bool = True) -> bytes:
    return client_frame(CONTINUATION, content, final=final)


def ping(content: bytes = b"", **options: bool | int) -> bytes:
    return client_frame(PING, content, **options)  # type: ignore[arg-type]


def message_cases() -> dict[str, Case]:
    """Sizes of messages (1.*, 9.*, 10.*)."""
    sizes = (0, 125, 126, 127, 128, 65_535, 65_536)
    cases: dict[str, Case] = {}
    for part, kind, byte in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for at, size in enumerate(sizes, 1):
            cases[f"1.{part}.{at}"] = [client_frame(kind, byte * size)], [(kind, byte * size)]
        cases[f"1.{part}.8"] = chopped([client_frame(kind, byte * 65_536)], 997), [(kind, byte * 65_536)]
        for at, size in enumerate((1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 23, 1 << 24), 1):
            cases[f"9.{part}.{at}"] = [client_frame(kind, byte * size)], [(kind, byte * size)]
        whole = byte * 262_144
        for at, size in enumerate((64, 256, 1_024, 4_096, 16_384, 65_536, 262_144), 1):
            frames = [
                client_frame(
                    CONTINUATION if begin else kind,
                    whole[begin : begin + size],
                    final=begin + size >= 262_144,
                )
                for begin in range(0, 262_144, size)
            ]
            cases[f"9.{part + 2}.{at}"] = frames, [(kind, whole)]
        for at, size in enumerate((64, 128, 256, 512, 1_024, 2_048), 1):
            cases[f"9.{part + 4}.{at}"] = (
                chopped([client_frame(kind, byte * 65_536)], size),
                [(kind, byte * 65_536)],
            )
        for at, size in enumerate((0, 16, 64, 256, 1_024, 4_096), 1):
            cases[f"9.{part + 6}.{at}"] = [client_frame(kind, byte * size)] * 100, [(kind, byte * size)] * 100
    frames = [client_frame(CONTINUATION if at else TEXT, b"*" * 1_300, final=at == 50) for at in range(51)]
    cases["10.1.1"] = frames, [(TEXT, b"*" * 66_300)]
    return cases


def control_cases() -> dict[str, Case]:
    """Pings and pongs (2.*), reserved bits (3.*), reserved opcodes (4.*)."""
    raw, long = bytes((0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF)), b"\xfe" * 125
    ten = [ping(b"payload-%d" % at) for at in range(10)]
    ten_events = [("ping", b"payload-%d" % at) for at in range(10)]
    cases: dict[str, Case] = {
        "2.1": ([ping()], [("ping", b"")]),
        "2.2": ([ping(b"Hello, world!")], [("ping", b"Hello, world!")]),
        "2.3": ([ping(raw)], [("ping", raw)]),
        "2.4": ([ping(long)], [("ping", long)]),
        "2.5": ([ping(b"\xfe" * 126)], [WRONG]),
        "2.6": (chopped([ping(long)]), [("ping", long)]),
        "2.7": ([client_frame(PONG)], [("pong", b"")]),
        "2.8": ([client_frame(PONG, b"unasked")], [("pong", b"unasked")]),
        "2.9": ([client_frame(PONG, b"unasked"), ping(b"p")], [("pong", b"unasked"), ("ping", b"p")]),
        "2.10": (ten, ten_events),
        "2.11": (chopped(ten), ten_events),
        "3.1": ([text(b"hi", reserved=1)], [WRONG]),
        "3.5": ([client_frame(BINARY, b"hi", reserved=5)], [WRONG]),
        "3.6": ([ping(b"hi", reserved=6)], [WRONG]),
        "3.7": ([client_frame(8, reserved=7)], [WRONG]),
    }
    for number, reserved, cut in ((2, 2, None), (3, 3, 0), (4, 4, 1)):
        frames = [text(b"hi"), text(b"hi", reserved=reserved), ping()]
        chunks = [b"".join(frames)] if cut is None else frames if cut == 0 else chopped(frames)
        cases[f"3.{number}"] = chunks, [(TEXT, b"hi"), WRONG]
    for part, opcodes in ((1, range(3, 8)), (2, range(11, 16))):
        for at, opcode in enumerate(opcodes, 1):
            begin = [text(b"hi")] if at > 2 else []
            cases[f"4.{part}.{at}"] = (
                [*begin, client_frame(opcode, b"x" if at % 2 == 0 else b""), ping()],
                [*([(TEXT, b"hi")] if begin else []), WRONG],
            )
    return cases


def fragment_cases() -> dict[str, Case]:
    """Messages in several frames (5.*)."""
    halves = [text(PIECE, final=False), more(PIECE)]
    between = [halves[0], ping(b"p"), halves[1]]
    whole: Event = (TEXT, PIECE * 2)
    stray = [more(PIECE), text(b"hi")]
    open_stray = [more(PIECE, final=False), text(b"hi")]
    mixed = [
        text(b"1", final=False), more(b"2", final=False), ping(b"a"), more(b"3", final=False), more(b"4", final=False),
        ping(b"b"), more(b"5"),
    ]  # fmt: skip
    mixed_events = [("ping", b"a"), ("ping", b"b"), (TEXT, b"12345")]
    return {
        "5.1": ([ping(final=False)], [WRONG]),
        "5.2": ([client_frame(PONG, final=False)], [WRONG]),
        "5.3": ([b"".join(halves)], [whole]),
        "5.4": (halves, [whole]),
        "5.5": (chopped(halves), [whole]),
        "5.6": ([b"".join(between)], [("ping", b"p"), whole]),
        "5.7": (between, [("ping", b"p"), whole]),
        "5.8": (chopped(between), [("ping", b"p"), whole]),
        "5.9": ([b"".join(stray)], [WRONG]),
        "5.10": (stray, [WRONG]),
        "5.11": (chopped(stray), [WRONG]),
        "5.12": ([b"".join(open_stray)], [WRONG]),
        "5.13": (open_stray, [WRONG]),
        "5.14": (chopped(open_stray), [WRONG]),
        "5.15": ([*halves, more(PIECE, final=False), text(b"hi")], [whole, WRONG]),
        "5.16": ([more(PIECE, final=False), text(PIECE), more(PIECE, final=False), text(PIECE)], [WRONG]),
        "5.17": ([more(PIECE), text(PIECE), more(PIECE), text(PIECE)], [WRONG]),
        "5.18": ([text(PIECE, final=False), text(PIECE)], [WRONG]),
        "5.19": ([b"".join(mixed)], mixed_events),
        "5.20": (mixed, mixed_events),
    }


GREEK = "κ\u1f79σμε".encode()

#: Sequences of bytes, each a separate text, by the numbers of their cases.
VALID_TEXTS = {
    "6.5": ["Hello-µ@ßöäüàá-UTF-8!!".encode(), GREEK],
    "6.7": [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    "6.9": [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    "6.11": [chr(code).encode() for code in (0xD7FF, 0xE000, 0xFFFD, 0x10FFFF)],
    "6.22": [chr(plane << 16 | low).encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)],
    "6.23": [chr(code).encode() for code in range(0xFFF9, 0x10000)],
}

LAST_MISSING = [
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
    b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
]  # fmt: skip

WRONG_TEXTS = {
    "6.3": [GREEK + b"\xed\xa0\x80edited"],
    "6.8": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    "6.10": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    "6.11": [b"\xf4\x90\x80\x80"],
    "6.12": [b"\x80", b"\xbf", *((b"\x80\xbf" * 4)[:size] for size in range(2, 8)), bytes(range(0x80, 0xC0))],
    "6.13": [
        b"".join(bytes((byte, 0x20)) for byte in group)
        for group in (range(0xC0, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF8), range(0xF8, 0xFC), (0xFC, 0xFD))
    ],
    "6.14": LAST_MISSING,
    "6.15": [b"".join(LAST_MISSING)],
    "6.16": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "6.17": [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    "6.18": [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    "6.19": [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    "6.20": [
        chr(code).encode(errors="surrogatepass") for code in (0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)
    ],
    "6.21": [
        (chr(high) + chr(low)).encode(errors="surrogatepass")
        for high in (0xD800, 0xDB7F, 0xDB80, 0xDBFF)
        for low in (0xDC00, 0xDFFF)
    ],
}  # fmt: skip


def text_cases() -> dict[str, Case]:
    """Text in UTF-8 (6.*)."""
    hello = VALID_TEXTS["6.5"][0]
    cases: dict[str, Case] = {
        "6.1.1": ([text(b"")], [(TEXT, b"")]),
        "6.1.2": ([text(b"", final=False), more(b"", final=False), more(b"")], [(TEXT, b"")]),
        "6.1.3": ([text(b"", final=False), more(b"middle", final=False), more(b"")], [(TEXT, b"middle")]),
        "6.2.1": ([text(hello)], [(TEXT, hello)]),
        "6.2.2": ([text(hello[:7], final=False), more(hello[7:])], [(TEXT, hello)]),
        "6.4.1": ([text(GREEK, final=False), more(b"\xf4\x90\x80\x80", final=False)], [WRONG_TEXT]),
        "6.4.2": ([text(GREEK + b"\xf4", final=False), more(b"\x90", final=False)], [WRONG_TEXT]),
        # Within a frame, as soon as the wrong byte is here.
        "6.4.3": ([text(GREEK + b"\xf4\x90\x80\x80edited")[: 6 + len(GREEK) + 2]], [WRONG_TEXT]),
        "6.4.4": (chopped([text(GREEK + b"\xf4\x90\x80\x80")])[: 6 + len(GREEK) + 2], [WRONG_TEXT]),
    }
    for number, content in (("6.2.3", hello), ("6.2.4", GREEK)):
        octets = [more(content[at : at + 1], final=False) for at in range(1, len(content))]
        cases[number] = [text(content[:1], final=False), *octets, more(b"")], [(TEXT, content)]
    for size in range(1, 12):
        is_whole = size in (2, 5, 7, 9, 11)
        cases[f"6.6.{size}"] = [text(GREEK[:size])], [(TEXT, GREEK[:size]) if is_whole else WRONG_TEXT]
    for texts, is_valid in ((VALID_TEXTS, True), (WRONG_TEXTS, False)):
        for number, group in texts.items():
            for at, content in enumerate(group, 1):
                # The wrong one among the remaining cases of 6.11 is its fifth.
                name = f"{number}.{at + 4 if number == '6.11' and not is_valid else at}"
                cases[name] = [text(content)], [(TEXT, content) if is_valid else WRONG_TEXT]
                octets = [more(content[at : at + 1], final=False) for at in range(len(content))]
                cases[f"{name} by octets"] = [text(b"", final=False), *octets, more(b"")], cases[name][1]
    return cases


def closing_cases() -> dict[str, Case]:
    """The closing handshake (7.*)."""
    normal: Event = ("close", 1000, "")
    cases: dict[str, Case] = {
        "7.1.1": ([text(b"hi"), closing(1000)], [(TEXT, b"hi"), normal]),
        "7.1.2": ([closing(1000), closing(1000)], [normal]),
        "7.1.3": ([closing(1000), ping()], [normal]),
        "7.1.4": ([closing(1000), text(b"hi")], [normal]),
        "7.1.5": ([text(PIECE, final=False), closing(1000), more(PIECE)], [normal]),
        "7.1.6": (
            [text(b"*" * 262_144), text(b"hi"), closing(1000), ping()],
            [(TEXT, b"*" * 262_144), (TEXT, b"hi"), normal],
        ),
        "7.3.1": ([client_frame(8)], [("close", 1005, "")]),
        "7.3.2": ([client_frame(8, b"a")], [WRONG]),
        "7.3.3": ([closing(1000)], [normal]),
        "7.3.4": ([closing(1000, b"bye")], [("close", 1000, "bye")]),
        "7.3.5": ([closing(1000, b"*" * 123)], [("close", 1000, "*" * 123)]),
        "7.3.6": ([closing(1000, b"*" * 124)], [WRONG]),
        "7.5.1": ([closing(1000, WRONG_TEXTS["6.3"][0])], [WRONG_TEXT]),
    }
    valid = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    wrong = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
    cases |= {f"7.7.{at}": ([closing(code)], [("close", code, "")]) for at, code in enumerate(valid, 1)}
    cases |= {f"7.9.{at}": ([closing(code)], [WRONG]) for at, code in enumerate(wrong, 1)}
    cases |= {f"7.13.{at}": ([closing(code)], [WRONG]) for at, code in enumerate((5000, 65_535), 1)}
    return cases


GROUPS: dict[str, Callable[[], dict[str, Case]]] = {
    "messages": message_cases,
    "control": control_cases,
    "fragments": fragment_cases,
    "text": text_cases,
    "closing": closing_cases,
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_cases_of_autobahn_pass(group: str) -> None:
    cases = GROUPS[group]()
    found = {number: events_of(chunks) for number, (chunks, _) in cases.items()}
    assert {number: events for number, events in found.items() if events != [*cases[number][1]]} == {}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"hi", is_masked=False), 1002),
        (client_frame(TEXT, b"hi", width=2), 1002),
        (client_frame(TEXT, b"*" * 126, width=8), 1002),
        # Refused by its length, before a byte of it is here.
        (client_frame(TEXT, b"", width=8, length=1 << 63), 1002),
        (client_frame(BINARY, b"", width=8, length=(1 << 63) - 1), 1009),
        (client_frame(BINARY, b"*" * 101), 1009),
        (client_frame(BINARY, b"*" * 60, final=False) + client_frame(CONTINUATION, b"*" * 41), 1009),
    ],
    # The masks are random, and each process of a run needs the same names.
    ids=["unmasked", "wide", "wider", "negative", "longest", "too long", "too long in two"],
)
def test_frames_that_no_client_may_send_are_refused(data: bytes, code: int) -> None:
    assert events_of([data], most=100) == [("violation", code)]
    assert events_of(chopped([data]), most=100) == [("violation", code)]


def test_a_message_of_a_kind_that_is_not_taken_is_refused() -> None:
    reader = WebSocketReader(100, takes_text=False)
    assert reader.take_data(client_frame(BINARY, b"hi")) == (8, "message")
    with pytest.raises(SocketViolationError, match="text messages are not accepted here") as caught:
        reader.take_data(text(b"hi"))
    assert caught.value.code == 1003


def test_received_bytes_are_kept_not_announced_ones() -> None:
    reader = WebSocketReader(1 << 40)
    head = client_frame(BINARY, width=8, length=1 << 40)
    assert reader.take_data(head + b"12345") == (len(head) + 5, "")
    assert (reader.held, reader.opcode) == (5, BINARY)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_a_server_are_whole_and_not_masked(size: int) -> None:
    data = server_frame(BINARY, b"*" * size)
    assert read_frame(data) == (Frame(BINARY, b"*" * size), len(data))


def test_the_reason_of_a_close_is_cut_between_characters() -> None:
    assert close_payload(1008, "no") == b"\x03\xf0no"
    assert close_payload(1008, "ä" * 100) == b"\x03\xf0" + ("ä" * 61).encode()
