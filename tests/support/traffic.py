"""Random traffic of a peer, sound and damaged: the input of differential tests.

Sound traffic is made of one script per call, whose frames are shuffled without changing the order inside a call. Damage
happens to frames (drop, repeat, swap) or to bytes (flip, cut, edge values).
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.frame_factory import answer, cut, opening, request
from tests.support.scenario import Cancel as CancelStep
from tests.support.scenario import Open
from tests.support.wire_frames import (
    Cancel,
    Credit,
    Data,
    End,
    Goaway,
    Head,
    Ping,
    Request,
    Response,
    SettingsFrame,
    Skipped,
    encode_frame,
)
from tests.support.wire_layout import (
    FLAG_IDEMPOTENT,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    HEADER,
    HIGHEST_ID,
    Kind,
)
from tests.support.wire_metadata import encode_metadata
from tests.support.wire_names import names_told
from tests.support.wire_settings import Setting, encode_settings

__all__ = ["Traffic", "damaged", "random_slices", "sound_traffic"]

SHAPES = (0, FLAG_IDEMPOTENT, FLAG_STREAM_IN, FLAG_STREAM_OUT, FLAG_STREAM_IN | FLAG_STREAM_OUT, FLAG_ONE_WAY)
EDGES = (0, 1, 7, 8, 15, 16, 23, 24, 1_023, 1_024, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The first steps of the side under test, and the frames that it then gets."""

    is_server: bool
    actions: tuple[Open | CancelStep, ...]
    frames: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """All bytes from the peer, its opening included."""
        return opening(not self.is_server) + b"".join(self.frames)


def sound_traffic(random: Random, is_server: bool, calls: int = 4) -> Traffic:
    """Make traffic that breaks no rule: calls of the peer for a server, answers for a client."""
    actions: list[Open | CancelStep] = []
    scripts: list[list[bytes]] = [connection_script(random)]
    for number in range(calls):
        flags = random.choice(SHAPES)
        call = 1 + 2 * number
        if is_server:
            scripts.append(caller_script(random, call, flags))
        else:
            actions.append(Open(flags))
            cancelled = not flags & FLAG_ONE_WAY and random.random() < 0.2
            if cancelled:
                actions.append(CancelStep(call))
            scripts.append(callee_script(random, call, flags))
    return Traffic(is_server, tuple(actions), tuple(shuffle_together(random, scripts, is_server)))


def damaged(random: Random, traffic: Traffic) -> Traffic:
    """Damage a few frames of traffic, or a few of its bytes."""
    frames = list(traffic.frames)
    for _ in range(random.randint(1, 3)):
        if frames:
            random.choice(DAMAGES)(random, frames)
    return Traffic(traffic.is_server, traffic.actions, tuple(frames))


def random_slices(random: Random, data: bytes, most: int = 12) -> list[bytes]:
    """Cut bytes at random places; some slices are empty."""
    marks = sorted(random.choices(range(len(data) + 1), k=random.randint(0, most)))
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True)]


def payload(random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 3, 40, 300, 2_500)))


def metadata(random: Random) -> bytes:
    choices: tuple[list[tuple[bytes, bytes]], ...] = (
        [],
        [],
        [(b"shard", b"7")],
        [(b"traceparent", b"00-1-1-01"), (b"raw-bin", b"\xff\x00")],
        [(b"Upper", b"x")],
        [(b"text", b"\xff")],
        [(b"big", b"x" * 8_190)],
    )
    return encode_metadata(random.choice(choices))


def caller_script(random: Random, call: int, flags: int) -> list[bytes]:
    """Return frames that a caller may send for one call."""
    content = payload(random)
    names = random.choice((0, 0, names_told(("a", "b")), 2**64 - 1))
    first = Request(call, b"arith.mul", content, flags=flags, codec=1, metadata=metadata(random), names=names)
    frames = cut(first, 1_100) if len(content) > 1_100 else [first.encode()]
    if flags & FLAG_STREAM_IN:
        frames += stream_script(random, call)
        frames += [End(call).encode()] if random.random() < 0.8 else []
    if flags & FLAG_STREAM_OUT and random.random() < 0.5:
        frames.append(Credit(call, random.choice((1, 32_768))).encode())
    if random.random() < 0.3:
        frames.append(Cancel(call, random.randint(0, 6)).encode())
    return frames


def callee_script(random: Random, call: int, flags: int) -> list[bytes]:
    """Return frames that a callee may send for one call."""
    if flags & FLAG_ONE_WAY:
        return []
    frames: list[bytes] = []
    if flags & FLAG_STREAM_IN and random.random() < 0.5:
        frames.append(Credit(call, 32_768).encode())
    if flags & FLAG_STREAM_OUT:
        frames += [Head(call, metadata(random)).encode()] if random.random() < 0.5 else []
        frames += stream_script(random, call)
    content = payload(random)
    status = random.choice((0, 0, 0, 5, 99))
    final = Response(call, status, content, metadata=metadata(random), elapsed_us=5)
    frames += cut(final, 1_100) if len(content) > 1_100 else [final.encode()]
    return frames


def stream_script(random: Random, call: int) -> list[bytes]:
    frames: list[bytes] = []
    for _ in range(random.randint(0, 3)):
        content = payload(random)
        message = Data(call, content, codec=random.randint(0, 3))
        frames += cut(message, 1_100) if len(content) > 1_100 else [message.encode()]
    return frames


def connection_script(random: Random) -> list[bytes]:
    """Return frames on id 0 that break no budget."""
    changes = {Setting.MAX_CALLS: random.randint(0, 50), Setting.MIN_PING_MS: 0}
    choices = (
        Ping(random.randbytes(8)).encode(),
        Credit(0, random.randint(1, 1_000)).encode(),
        SettingsFrame(encode_settings(changes)).encode(),
        Skipped(random.choice((0x00, 0x10, Kind.TEST)), random.randint(0, 20)).encode(),
    )
    frames = random.sample(choices, k=random.randint(0, len(choices)))
    return frames + ([Goaway(HIGHEST_ID).encode()] if random.random() < 0.1 else [])


def shuffle_together(random: Random, scripts: list[list[bytes]], is_server: bool) -> list[bytes]:
    """Merge scripts at random; the first frames of a caller's scripts appear in the order of their ids."""
    merged: list[bytes] = []
    queues = [list(script) for script in scripts if script]
    started = 0 if is_server else len(queues)
    while queues:
        # Only a begun script may continue, or the next one may begin.
        index = random.randrange(min(started + 1, len(queues)))
        started = max(started, index + 1)
        merged.append(queues[index].pop(0))
        if not queues[index]:
            del queues[index]
            started -= 1
    return merged


def drop_frame(random: Random, frames: list[bytes]) -> None:
    del frames[random.randrange(len(frames))]


def repeat_frame(random: Random, frames: list[bytes]) -> None:
    frames.insert(random.randrange(len(frames) + 1), random.choice(frames))


def swap_frames(random: Random, frames: list[bytes]) -> None:
    first, second = random.randrange(len(frames)), random.randrange(len(frames))
    frames[first], frames[second] = frames[second], frames[first]


def flip_byte(random: Random, frames: list[bytes]) -> None:
    """Change one bit, most often in the header or head."""
    index = random.randrange(len(frames))
    changed = bytearray(frames[index])
    if changed:
        reach = len(changed) if random.random() < 0.3 else min(len(changed), 40)
        changed[random.randrange(reach)] ^= 1 << random.randrange(8)
        frames[index] = bytes(changed)


def cut_frame(random: Random, frames: list[bytes]) -> None:
    """Take bytes from the end of a frame, so that the next header is read from the wrong place."""
    index = random.randrange(len(frames))
    frames[index] = frames[index][: random.randrange(len(frames[index]) + 1)]


def lie_about_length(random: Random, frames: list[bytes]) -> None:
    index = random.randrange(len(frames))
    if len(frames[index]) >= HEADER.size:
        frames[index] = random.choice(EDGES).to_bytes(4, "little") + frames[index][4:]


def strange_frame(random: Random, frames: list[bytes]) -> None:
    """Insert a frame of any kind, flags and id."""
    body = random.randbytes(random.choice((0, 4, 8, 16, 24)))
    call = random.choice((0, 1, 2, 3, 5, 9, 10, 11, 2**63 - 1, 2**63))
    frame = encode_frame(random.choice(KINDS), body, flags=random.choice(FLAG_SETS), id=call)
    frames.insert(random.randrange(len(frames) + 1), frame)


def new_request(random: Random, frames: list[bytes]) -> None:
    frames.insert(random.randrange(len(frames) + 1), request(random.choice((1, 2, 9, 11, 2**63 - 1))))


def new_answer(random: Random, frames: list[bytes]) -> None:
    frames.insert(random.randrange(len(frames) + 1), answer(random.choice((1, 2, 3, 5, 7, 9))))


def new_goaway(random: Random, frames: list[bytes]) -> None:
    last_id, reason = random.choice((0, 3, 5, HIGHEST_ID)), random.choice((0, 0, 1, 2, 77))
    goaway = Goaway(last_id, reason, random.random() < 0.5, random.choice((0, 1_000)), b"bye")
    frames.insert(random.randrange(len(frames) + 1), goaway.encode())


KINDS = (*Kind, 0, 0x80, 0x8C)
FLAG_SETS = (0, 0, 0, 1, 2, 3, 4, 8, 16, 32, 64, 128)

DAMAGES: tuple[Callable[[Random, list[bytes]], None], ...] = (
    drop_frame,
    repeat_frame,
    swap_frames,
    flip_byte,
    flip_byte,
    cut_frame,
    lie_about_length,
    strange_frame,
    new_request,
    new_answer,
    new_goaway,
)
