"""Mutated connections of HTTP/2: at any division of their bytes the frames and the violation are the same."""

from random import Random

from fastrpc._core.http2.frames import Http2Parser
from tests.conftest import Scale
from tests.support.http2_frames import OPENING, RECORDED, events_of, raw


def mutated(random: Random) -> bytes:
    """Return a connection with frames in another order, foreign ones between, and bytes that were changed."""
    frames = [OPENING, *random.sample(RECORDED[2:], random.randrange(1, len(RECORDED) - 2))]
    if random.random() < 0.5:
        kind, flags, stream = random.randrange(12), random.randrange(256), random.randrange(4)
        foreign = raw(kind, random.randbytes(random.randrange(20)), flags, stream)
        frames.insert(random.randrange(1, len(frames) + 1), foreign)
    data = bytearray(b"".join(frames))
    for _ in range(random.choice((0, 0, 1, 3))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def cut(random: Random, data: bytes) -> list[bytes]:
    places = sorted(random.sample(range(len(data) + 1), min(len(data), random.randrange(1, 30))))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def test_any_cut_of_a_mutated_connection_gives_the_same_frames(scale: Scale) -> None:
    violations = 0
    for seed in scale.seeds(20_000):
        random = Random(seed)
        data = mutated(random)
        expected = events_of([data])
        assert events_of(cut(random, data)) == expected, data.hex()
        violations += any(isinstance(event[0], str) for event in expected)
    # Some are broken and some are not.
    assert 0 < violations < scale.inputs(20_000)


def test_any_bytes_after_an_opening_give_frames_or_a_violation(scale: Scale) -> None:
    for seed in scale.seeds(20_000):
        random = Random(seed)
        limit = random.choice((16_384, 1 << 24))
        data = OPENING + random.randbytes(random.randrange(200))
        expected = events_of([data], Http2Parser(is_server=True, frame_limit=limit))
        assert events_of(cut(random, data), Http2Parser(is_server=True, frame_limit=limit)) == expected
