"""Broken rules of the wire, each with the reason PROTOCOL.md gives it, for both roles.

A violation in the header is given without a body: it must be refused before the body arrives.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.support import frame_factory
from tests.support.frame_factory import header, piece, raw_body, request
from tests.support.scenario import SERVING, Open, Receive, Scenario, Step
from tests.support.scenario import Cancel as GiveUp
from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    End,
    Goaway,
    Head,
    Ping,
    SettingsFrame,
    Skipped,
    Verdict,
    encode_frame,
)
from tests.support.wire_layout import (
    FLAG_ACK,
    FLAG_CONT,
    FLAG_MORE,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    FLAG_SUM,
    FLAG_WAITED,
    HIGHEST_ID,
    Kind,
)
from tests.support.wire_parser import Preface
from tests.support.wire_settings import Setting

__all__ = ["VIOLATIONS"]

FRAME_LIMIT = 262_144
KIB = 1_024


def judged(name: str, is_server: bool, final: bytes, reason: int, **fields: Any) -> Scenario:
    """Make a scenario whose last event is an error of this reason."""
    role = "server" if is_server else "client"
    fields.setdefault("settings", SERVING)
    steps: tuple[Step, ...] = fields.pop("steps", ())
    return Scenario(f"{role}: {name}", is_server, steps, final, (f"CE{reason}",), **fields)


def their_id(is_server: bool) -> int:
    """Return the first id that the peer opens."""
    return 1 if is_server else 2


def own_id(is_server: bool) -> int:
    """Return the first id that the side under test opens."""
    return 2 if is_server else 1


def opening_violations(is_server: bool) -> Iterator[Scenario]:
    def early(name: str, final: bytes, reason: int = 2) -> Scenario:
        return judged(name, is_server, final, reason, opening=b"")

    sound, settings = Preface().encode(), frame_factory.settings(not is_server)
    yield early("first byte of the magic is wrong", b"G")
    yield early("last byte of the magic is wrong", b"\xf5FRQ")
    yield early("version 0", Preface(0, 1).encode())
    yield early("only a later version", Preface(2, 3).encode())
    yield early("an unknown must-understand feature", Preface(features=0x8000).encode())
    yield early("REQUEST before SETTINGS", sound + request(their_id(is_server)))
    yield early("PING before SETTINGS", sound + Ping().encode())
    yield early("SETTINGS ACK before SETTINGS", sound + SettingsFrame(ack=True).encode())
    yield early("TEST before SETTINGS", sound + Skipped(Kind.TEST).encode())
    oversized = sound + settings + header(Kind.DATA, FRAME_LIMIT + 1, id=1)
    yield early("a first frame above MAX_FRAME", oversized, 3)
    if is_server:
        yield early("versions in the wrong order", Preface(2, 1).encode())


def kind_violations(is_server: bool) -> Iterator[Scenario]:
    for kind in (0x80, 0x8C, 0xFF):
        yield judged(f"unknown critical kind {kind:#x}", is_server, header(kind, 0), 2)
    for kind in (0x00, 0x7E, Kind.TEST):
        yield judged(f"16,385 bytes of kind {kind:#x}", is_server, header(kind, 16_385), 3)


def flag_violations(is_server: bool) -> Iterator[Scenario]:
    theirs = their_id(is_server)
    undefined = {
        Kind.SETTINGS: ~FLAG_ACK,
        Kind.REQUEST: FLAG_CONT | FLAG_ACK | FLAG_SUM,
        Kind.RESPONSE: ~FLAG_MORE,
        Kind.HEAD: 0xFF,
        Kind.DATA: ~(FLAG_MORE | FLAG_CONT | FLAG_WAITED),
        Kind.END: 0xFF,
        Kind.CANCEL: 0xFF,
        Kind.CREDIT: 0xFF,
        Kind.PING: ~FLAG_ACK,
        Kind.GOAWAY: ~0x10,
        Kind.AUTH: ~FLAG_ACK,
    }
    for kind, mask in undefined.items():
        for bit in (1 << number for number in range(8) if mask >> number & 1):
            final = header(kind, 16, flags=bit, id=theirs)
            yield judged(f"{kind.name} with flag {bit:#04x}", is_server, final, 2)
    for shape in (FLAG_STREAM_IN, FLAG_STREAM_OUT):
        final = header(Kind.REQUEST, 16, flags=FLAG_ONE_WAY | shape, id=theirs)
        yield judged(f"ONE_WAY with {shape:#x}", is_server, final, 2)


def id_violations(is_server: bool) -> Iterator[Scenario]:
    theirs, own = their_id(is_server), own_id(is_server)

    def broken(name: str, final: bytes) -> Scenario:
        return judged(name, is_server, final, 2)

    for kind in (Kind.SETTINGS, Kind.PING, Kind.GOAWAY, Kind.AUTH):
        yield broken(f"{kind.name} with an id", header(kind, 8, id=theirs))
    for kind in (Kind.REQUEST, Kind.RESPONSE, Kind.HEAD, Kind.DATA, Kind.END, Kind.CANCEL):
        yield broken(f"{kind.name} with id 0", header(kind, 16))
    for kind in (Kind.REQUEST, Kind.DATA, Kind.CREDIT, Kind.END, Kind.CANCEL):
        for high in (HIGHEST_ID + theirs, 2**64 - 2 + theirs % 2):
            yield broken(f"{kind.name} with id {high}", header(kind, 16, id=high))
    for kind in (Kind.REQUEST, Kind.END, Kind.CANCEL):
        yield broken(f"{kind.name} with our parity", header(kind, 16, id=own))
    for kind in (Kind.RESPONSE, Kind.HEAD):
        yield broken(f"{kind.name} with the peer's parity", header(kind, 16, id=theirs))


def length_violations(is_server: bool) -> Iterator[Scenario]:
    theirs, own = their_id(is_server), own_id(is_server)
    wrong: list[tuple[Kind, int, int, tuple[int, ...]]] = [
        (Kind.SETTINGS, 0, 0, (4_097,)),
        (Kind.SETTINGS, FLAG_ACK, 0, (1, 4_096)),
        (Kind.REQUEST, 0, theirs, (0, 15)),
        (Kind.REQUEST, FLAG_MORE, theirs, (23,)),
        (Kind.RESPONSE, 0, own, (0, 15)),
        (Kind.RESPONSE, FLAG_MORE, own, (23,)),
        (Kind.DATA, FLAG_MORE, theirs, (0, 7)),
        (Kind.DATA, FLAG_CONT, theirs, (0,)),
        (Kind.END, 0, theirs, (1, 65_536)),
        (Kind.CANCEL, 0, theirs, (0, 3, 5)),
        (Kind.CREDIT, 0, theirs, (0, 3, 5)),
        (Kind.PING, 0, 0, (0, 7, 9)),
        (Kind.PING, FLAG_ACK, 0, (7, 9)),
        (Kind.GOAWAY, 0, 0, (15, 1_041)),
        (Kind.AUTH, 0, 0, (3, 16_385)),
        (Kind.AUTH, FLAG_ACK, 0, (7, 16_385)),
    ]
    every = tuple((kind, 0, 0, (FRAME_LIMIT + 1, 2**31 - 1, 2**31, 2**32 - 17, 2**32 - 1)) for kind in Kind)
    for kind, flags, call, lengths in (*wrong, *every):
        for length in lengths:
            final = header(kind, length, flags=flags, id=call)
            name = f"{kind.name} with flags {flags:#x} of {length} bytes"
            yield judged(name, is_server, final, 3)


def body_violations(is_server: bool) -> Iterator[Scenario]:
    theirs, own = their_id(is_server), own_id(is_server)

    def broken(name: str, kind: Kind, body: bytes, flags: int = 0) -> Scenario:
        final = raw_body(kind, body, flags=flags, id=own if kind is Kind.RESPONSE else theirs)
        return judged(name, is_server, final, 2, steps=(Open(),))

    def request_head(words: int, method: int, metadata: int) -> bytes:
        return struct.pack("<BBBBHHQ", words, 0, 0, 0, method, metadata, 0)

    def response_head(words: int, message: int, metadata: int) -> bytes:
        return struct.pack("<BBHHHII", words, 0, 0, message, metadata, 0, 0)

    for words in (0, 1, 3, 255):
        yield broken(f"REQUEST head of {words} words", Kind.REQUEST, request_head(words, 3, 0) + b"a.b")
        yield broken(f"RESPONSE head of {words} words", Kind.RESPONSE, response_head(words, 0, 0))
    for size in (0, 256, 65_535):
        body = request_head(2, size, 0) + bytes(min(size, 300))
        yield broken(f"method of {size} bytes", Kind.REQUEST, body)
    yield broken("method beyond the frame", Kind.REQUEST, request_head(2, 4, 0) + b"a.b")
    yield broken("metadata beyond the frame", Kind.REQUEST, request_head(2, 3, 1) + b"a.b")
    yield broken("text of 4,097 bytes", Kind.RESPONSE, response_head(2, 4_097, 0) + bytes(4_097))
    yield broken("text beyond the frame", Kind.RESPONSE, response_head(2, 1, 0))
    yield broken("metadata beyond the answer", Kind.RESPONSE, response_head(2, 0, 65_535))
    no_room = request_head(2, 3, 0) + b"a.b" + bytes(7)
    yield broken("no room for total", Kind.REQUEST, no_room, FLAG_MORE)
    for total in (0, 4):
        tail = struct.pack("<Q", total) + b"1234"
        first = request_head(2, 3, 0) + b"a.b" + tail
        yield broken(f"REQUEST total {total} of 4 bytes", Kind.REQUEST, first, FLAG_MORE)
        answer = response_head(2, 0, 0) + tail
        yield broken(f"RESPONSE total {total} of 4 bytes", Kind.RESPONSE, answer, FLAG_MORE)
        yield broken(f"DATA total {total} of 4 bytes", Kind.DATA, tail, FLAG_MORE)


def connection_body_violations(is_server: bool) -> Iterator[Scenario]:
    def broken(name: str, kind: Kind, body: bytes, flags: int = 0) -> Scenario:
        return judged(name, is_server, raw_body(kind, body, flags=flags), 2)

    for last_id, size in ((0, 1), (0, 1_024), (2**63, 0), (2**64 - 1, 0)):
        body = struct.pack("<QHHI", last_id, 0, size, 0)
        yield broken(f"GOAWAY {last_id} with text of {size} bytes", Kind.GOAWAY, body)
    not_text = struct.pack("<QHHI", 0, 0, 2, 0) + b"\xc3\x28"
    yield broken("GOAWAY text that is not UTF-8", Kind.GOAWAY, not_text)
    for scheme, data in ((1, 0), (255, 0), (0, 65_535)):
        yield broken(f"AUTH of {scheme} + {data} bytes", Kind.AUTH, struct.pack("<BBH", 0, scheme, data))
    yield broken("AUTH scheme that is not ASCII", Kind.AUTH, struct.pack("<BBH", 0, 1, 0) + b"\xff")
    yield broken("verdict beyond the frame", Kind.AUTH, struct.pack("<HHI", 0, 1, 0), FLAG_ACK)


def settings_violations(is_server: bool) -> Iterator[Scenario]:
    def entry(name: int, value: bytes) -> bytes:
        return struct.pack("<HH", name, len(value)) + value

    bodies = {
        "three bytes": b"\x01\x00\x04",
        "a value beyond the frame": struct.pack("<HH", 1, 4) + b"\0\0\1",
        "one name twice": entry(10, bytes(4)) * 2,
        "one name twice, once critical": entry(10, bytes(4)) + entry(0x800A, bytes(4)),
        "an unknown name twice": entry(99, b"") * 2,
        "an unknown critical name": entry(0x8063, b""),
        "a new STREAM_WINDOW": entry(6, struct.pack("<I", 65_536)),
    }
    sizes = {1: 4, 2: 8, 3: 4, 4: 4, 5: 4, 7: 2, 10: 4, 11: 4, 12: 8}
    for name, size in sizes.items():
        for wrong in (0, size - 1, size + 1):
            bodies[f"setting {name} of {wrong} bytes"] = entry(name, bytes(wrong))
    ranges = {1: (16_383, 16_777_217), 3: (1_023, 65_536), 4: (2**31,), 5: (2**31,), 10: (3_600_001,)}
    for name, values in ranges.items():
        bodies |= {f"setting {name} = {value}": entry(name, struct.pack("<I", value)) for value in values}
    for value in (4_095, 2**63):
        bodies[f"MAX_MESSAGE = {value}"] = entry(2, struct.pack("<Q", value))
    for value in (0, 257):
        bodies[f"OPEN_MESSAGES = {value}"] = entry(7, struct.pack("<H", value))
    bodies |= list_violations(entry)
    for what, body in bodies.items():
        yield judged(f"SETTINGS with {what}", is_server, SettingsFrame(body).encode(), 8)
    yield judged("an ACK too many", is_server, SettingsFrame(ack=True).encode(), 8)


def list_violations(entry: Callable[[int, bytes], bytes]) -> dict[str, bytes]:
    many = b"".join(bytes([number, 1]) + b"x" for number in range(1, 34))
    return {
        "33 codecs": entry(8, many),
        "33 compressors": entry(9, many),
        "a codec twice": entry(8, b"\x01\x01a\x01\x01b"),
        "compressor 0": entry(9, b"\x00\x01a"),
        "half a codec": entry(8, b"\x01"),
        "a codec name beyond the list": entry(8, b"\x01\x02a"),
        "an empty codec name": entry(8, b"\x01\x00"),
        "a codec name in capitals": entry(8, b"\x01\x01A"),
        "9 schemes": entry(13, b"\x01a" * 9),
        "an empty scheme": entry(13, b"\x00"),
        "an agent of 65 bytes": entry(14, b"x" * 65),
        "an agent that is not UTF-8": entry(14, b"\xff"),
        "a client id of 15 bytes": entry(16, b"x" * 15),
    }


def message_violations(is_server: bool) -> Iterator[Scenario]:
    call, own = their_id(is_server), own_id(is_server)
    openings: dict[str, tuple[tuple[Step, ...], int]] = {
        "REQUEST": ((Receive(request(call, b"x" * 100, total=4_000)),), call),
        "stream message in": (stream_in(call), call),
        "RESPONSE": ((Open(), Receive(frame_factory.answer(own, b"x" * 100, total=4_000))), own),
    }
    for name, (steps, id) in openings.items():
        ends = {
            "one byte too few": piece(id, b"x" * 3_899),
            "one byte too many": piece(id, b"x" * 3_901),
            "total reached by a middle piece": piece(id, b"x" * 3_900, more=True),
            "more than total in a middle piece": piece(id, b"x" * 4_000, more=True),
            "a second message": Data(id, b"x").encode(),
            "a second first piece": Data(id, b"x", total=9, more=True).encode(),
        }
        for end, final in ends.items():
            yield judged(f"{name}: {end}", is_server, final, 2, steps=steps)
    first = [request(call + 2 * number, b"x", total=4_000) for number in range(5)]
    yield judged("a fifth unfinished REQUEST", is_server, b"".join(first), 2)
    answers = [frame_factory.answer(own + 2 * number, b"x", total=4_000) for number in range(5)]
    given_up: tuple[Step, ...] = (Open(), Receive(answers[0]), GiveUp(own))
    ends = {
        "a value": frame_factory.answer(own, b"x"),
        "a second answer in pieces": frame_factory.answer(own, b"x", status=1, total=9),
    }
    for name, final in ends.items():
        yield judged(f"{name} instead of the end of a given-up answer", is_server, final, 2, steps=given_up)
    ended = (*given_up, Receive(frame_factory.answer(own, status=1)))
    late = piece(own, b"x" * 1_024, more=True)
    yield judged("a piece behind the end of a given-up answer", is_server, late, 2, steps=ended)
    calls = (Open(),) * 5
    yield judged("a fifth unfinished RESPONSE", is_server, b"".join(answers), 2, steps=calls)
    falling = request(call + 2) + request(call)
    yield Scenario(f"falling ids {is_server}", is_server, (), falling, ("request", "CE2"), SERVING)
    if not is_server:
        push = request(call)
        yield judged("REQUEST to a client that serves none", is_server, push, 2, settings={})


def stream_in(call: int) -> tuple[Step, ...]:
    opened = request(call, flags=FLAG_STREAM_IN)
    return (Receive(opened + Data(call, b"x" * 100, total=4_000, more=True).encode()),)


def credit_violations(is_server: bool) -> Iterator[Scenario]:
    call, own = their_id(is_server), own_id(is_server)
    running = (Receive(request(call)),)

    def broken(name: str, final: bytes, steps: tuple[Step, ...] = ()) -> Scenario:
        return judged(name, is_server, final, 4, steps=steps)

    yield broken("CREDIT 0 on the connection", Credit(0, 0).encode())
    yield broken("CREDIT 0 on a call", Credit(call, 0).encode(), running)
    yield broken("CREDIT 0 on no call", Credit(call, 0).encode())
    yield broken("a connection window above 2**31 - 1", Credit(0, 2**31 - 1).encode())
    yield broken("CREDIT of 2**32 - 1", Credit(0, 2**32 - 1).encode())
    over = Credit(call, 2**31 - 65_536).encode()
    yield broken("a callee's window above 2**31 - 1", over, running)
    yield broken("a caller's window above 2**31 - 1", Credit(own, 2**31 - 65_536).encode(), (Open(),))
    stream = (Receive(request(call, flags=FLAG_STREAM_IN)),)
    yield broken("DATA above its window", Data(call, bytes(65_521)).encode(), stream)
    half = Receive(Data(call, bytes(40_000)).encode())
    yield broken("two DATA above their window", Data(call, bytes(25_505)).encode(), (*stream, half))
    out = (Open(FLAG_STREAM_OUT),)
    yield broken("an answering stream above its window", Data(own, bytes(65_521)).encode(), out)
    first = Receive(Data(call, bytes(100), total=70_000, more=True).encode())
    full = Receive(Data(call, bytes(10)).encode())
    beyond = piece(call, bytes(65_536), more=True)
    yield broken("pieces above a window that was not raised", beyond, (*stream, full, first))
    largest = header(Kind.REQUEST, 16_777_216, id=call + 2)
    wide = SERVING | {Setting.MAX_FRAME: 16_777_216}
    yield judged("a frame above the connection window", is_server, largest, 4, steps=running, settings=wide)


def flood_violations(is_server: bool) -> Iterator[Scenario]:
    call = their_id(is_server)

    def flood(name: str, frames: list[bytes], steps: tuple[Step, ...] = ()) -> Scenario:
        """All frames but the last are within the budget."""
        before = Receive(b"".join(frames[:-1]))
        return judged(name, is_server, frames[-1], 5, steps=(*steps, before))

    gone = (Receive(request(call, metadata=b"\x00")),)
    yield flood("SETTINGS", [SettingsFrame().encode()] * 32)
    yield flood("TEST", [Skipped(Kind.TEST, 1).encode()] * 1_001)
    yield flood("unknown kinds", [encode_frame(0x10, flags=0xFF, id=2**64 - 1)] * 1_001)
    yield flood("PING", [Ping().encode()] * 4)
    yield flood("CREDIT", [Credit(0, 1).encode()] * 100)
    yield flood("late CANCEL", [Cancel(call).encode()] * 1_005, gone)
    yield flood("late END", [End(call).encode()] * 1_005, gone)
    yield flood("late empty DATA", [Data(call).encode()] * (16 * KIB * KIB // 64 + 1), gone)
    first = (Receive(request(call, b"x", total=8 * KIB * KIB)),)
    yield flood("empty pieces", [piece(call, b"", more=True)] * (16 * KIB * KIB // 64 + 1), first)
    paid = (*first, Receive(piece(call, bytes(40_000), more=True)))
    yield flood("pieces of one byte", [piece(call, b"x", more=True)] * (16 * KIB * KIB // 63 + 1), paid)
    large = Data(call, bytes(64 * KIB - 16)).encode()
    yield flood("late large DATA", [large] * 257, gone)
    own = own_id(is_server)
    begun = Receive(frame_factory.answer(own, b"x", total=16 * KIB * KIB))
    pieces = [piece(own, bytes(64 * KIB - 16), more=True)] * 257
    yield flood("pieces of an answer after its CANCEL", pieces, (Open(), begun, GiveUp(own)))
    if is_server:
        yield flood("AUTH", [Auth(b"bearer").encode()] * 11)
    drain = Goaway(HIGHEST_ID).encode()
    yield flood("GOAWAY", [drain] * 3)


def connection_violations(is_server: bool) -> Iterator[Scenario]:
    def broken(name: str, final: bytes, steps: tuple[Step, ...] = ()) -> Scenario:
        return judged(name, is_server, final, 2, steps=steps)

    yield broken("a PING ACK for no PING", Ping(ack=True).encode())
    drain = Receive(Goaway(9).encode())
    final = Receive(Goaway(9, final=True).encode())
    yield broken("a rising last_id", Goaway(11).encode(), (drain,))
    yield broken("GOAWAY behind a final one", Goaway(9).encode(), (final,))
    if is_server:
        yield broken("a verdict from the client", Verdict().encode())
    else:
        yield broken("a verdict that nobody asked for", Verdict().encode())
        yield broken("a challenge that nobody asked for", Auth(b"scram").encode())
    for frame in (Head(own_id(is_server)), Credit(own_id(is_server), 1), Data(own_id(is_server))):
        yield broken(f"{type(frame).__name__} on a call never opened", frame.encode())


#: All violations that a side must answer, by the broken rule: a function of the role of that side.
VIOLATIONS: dict[str, Callable[[bool], Iterator[Scenario]]] = {
    "opening": opening_violations,
    "kinds": kind_violations,
    "flags": flag_violations,
    "ids": id_violations,
    "lengths": length_violations,
    "bodies": body_violations,
    "bodies of the connection": connection_body_violations,
    "settings": settings_violations,
    "messages": message_violations,
    "credit": credit_violations,
    "floods": flood_violations,
    "connection": connection_violations,
}
