"""Lookups at the recorded answers of a real apiserver, whole and spoilt: what is spoilt changes no list for good."""

import contextlib
import itertools
import random
import re
from collections.abc import Callable, Iterator

import pytest

from fastrpc import StoreError
from fastrpc.bounded_http import client, line_stream
from tests.conftest import Scale
from tests.support.apiserver_scenes import SCENES, Exchange, Stage, hosts, recorded, reply_of
from tests.support.hostile_http import HostileHttpServer, Reply

EXCHANGES = recorded()
BYTES = {
    name: ["".join(text for _, text in each.answer).encode() for each in EXCHANGES[name]] for name in SCENES
}

#: A whole list, of one host.
LIST = BYTES["watch"][0]


def place_of(server: HostileHttpServer) -> tuple[str, int]:
    host, _, port = server.place.partition(":")
    return host, int(port)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_are_as_at_the_real_apiserver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileHttpServer(lambda: iter(())) as server:
        stage = Stage(place_of(server), None, monkeypatch)
        server.replies = [*(reply_of(each, stage) for each in EXCHANGES[name]), *server.replies]
        try:
            SCENES[name](stage)
        finally:
            stage.close()
        asked = [request.split()[1] for request in server.requests]
    assert [_fixed(target) for target in asked] == [_fixed(each.target) for each in EXCHANGES[name]]


def _fixed(target: str) -> str:
    """Return a target without the part that is random."""
    return re.sub(r"timeoutSeconds=\d+", "", target)


def whole_list() -> Iterator[bytes | None]:
    yield LIST


def closing(data: bytes) -> Reply:
    """Return an answer after which the connection ends."""

    def reply() -> Iterator[bytes | None]:
        yield data
        raise ConnectionResetError

    return reply


def stalling(data: bytes) -> Reply:
    """Return an answer after which nothing comes."""
    return lambda: itertools.chain([data], itertools.repeat(None))


def lies(whole: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    yield whole.replace(b" 200 OK", b" 503 Service Unavailable")
    yield re.sub(rb"Content-Length: (\d)", rb"Content-Length: 9\1", whole)
    yield re.sub(rb"Content-Length: \d", b"Content-Length: ", whole)
    yield re.sub(rb'"resourceVersion":"\d*"', b'"resourceVersion":""', whole)
    yield re.sub(rb'"resourceVersion":"\d*"', b'"resourceVersion":"1"', whole)
    yield re.sub(rb'"(endpoints|addresses|ports)":\[', rb'"\1":[[', whole)
    yield re.sub(rb'"(endpoints|conditions|metadata)":', rb'"\1":5,"_":', whole)
    for scene in SCENES:
        # An answer to another question.
        yield chance.choice(BYTES[scene])
    for _ in range(count):
        spoilt = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        yield bytes(spoilt)


def answered(name: str) -> list[tuple[Exchange, bytes]]:
    """Return the exchanges of a scene with their answers; an apiserver that is away has none."""
    return [(each, whole) for each, whole in zip(EXCHANGES[name], BYTES[name], strict=True) if whole]


def follow_spoilt(
    exchange: Exchange, reply: Reply, server: HostileHttpServer, monkeypatch: pytest.MonkeyPatch
) -> list[list[str] | StoreError]:
    """Have a lookup take a spoilt answer between two whole ones; return what it gave before the second."""
    is_watch = "watch=" in exchange.target
    server.replies = [*([whole_list] * is_watch), reply, whole_list]
    stage = Stage(place_of(server), None, monkeypatch)
    found: list[list[str] | StoreError] = []
    try:
        lookup = stage.lookup(token=lambda: "planted-token")
        if is_watch:
            assert hosts(lookup) == ["10.0.0.1"]
        for _ in range(3 if is_watch else 1):
            try:
                found.append(hosts(lookup, 0.02 if is_watch else 0.0))
            except StoreError as error:
                found.append(error)
                break
        told = "".join(one.message for one in found if isinstance(one, StoreError))
        assert told.isprintable()
        assert "planted" not in told
        # The end of the connection may be seen by the next request alone.
        with contextlib.suppress(StoreError):
            assert hosts(lookup) == ["10.0.0.1"]
        assert hosts(lookup) == ["10.0.0.1"]
    finally:
        stage.close()
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileHttpServer]:
    """A server whose answers are awaited for a shorter time than that of others."""
    for module, name in ((client, "ANSWER_SECONDS"), (line_stream, "REST_SECONDS")):
        monkeypatch.setattr(module, name, 0.05)
    with HostileHttpServer(lambda: iter(())) as found:
        yield found


@pytest.mark.parametrize("end", [closing, stalling])
@pytest.mark.parametrize("name", SCENES)
def test_an_answer_that_is_cut_adds_to_no_list(
    name: str,
    end: Callable[[bytes], Reply],
    server: HostileHttpServer,
    monkeypatch: pytest.MonkeyPatch,
    scale: Scale,
) -> None:
    chance = random.Random(name)
    known = {b"10.0.0.1", *re.findall(rb'"addresses":\["([^"]*)', b"".join(BYTES[name]))}
    for exchange, whole in answered(name):
        for _ in range(scale(8 if end is closing else 2)):
            reply = end(whole[: chance.randrange(len(whole))])
            [first, *_] = found = follow_spoilt(exchange, reply, server, monkeypatch)
            assert all({host.encode() for host in one} <= known for one in found if isinstance(one, list))
            # After an expired page the list is asked for again at once.
            if "watch=" not in exchange.target and not whole.startswith(b"HTTP/1.1 410 "):
                assert isinstance(first, StoreError)


@pytest.mark.parametrize("name", SCENES)
def test_an_apiserver_that_lies_is_an_outage_or_a_list_until_it_tells_the_truth(
    name: str, server: HostileHttpServer, monkeypatch: pytest.MonkeyPatch, scale: Scale
) -> None:
    chance = random.Random(name)
    for exchange, whole in answered(name):
        for data in lies(whole, chance, scale(10)):
            follow_spoilt(exchange, closing(data), server, monkeypatch)
