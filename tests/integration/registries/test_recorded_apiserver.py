"""Lookups at the recorded answers of a real apiserver, whole and spoilt: after a spoilt answer the list recovers."""

import contextlib
import itertools
import json
import random
import re
from collections.abc import Iterator

import msgspec
import pytest

from fastrpc import StoreError
from fastrpc.bounded_http import client, line_stream
from fastrpc.registries.kubernetes.slices import Reading, Slice, chosen, read_slice
from tests.conftest import Scale
from tests.support.apiserver_scenes import SCENES, Exchange, Stage, hosts, recorded, reply_of
from tests.support.hostile_http import HostileHttpServer, Reply

EXCHANGES = recorded()
#: A scene that was changed is played at a real apiserver alone until it is recorded again.
PLAYED = [name for name in SCENES if name in EXCHANGES]
BYTES = {
    name: ["".join(text for _, text in each.answer).encode() for each in EXCHANGES[name]] for name in PLAYED
}

#: A whole list, of one host.
LIST, HOSTS = BYTES["watch"][0], ["10.0.0.1"]


def place_of(server: HostileHttpServer) -> tuple[str, int]:
    host, _, port = server.place.partition(":")
    return host, int(port)


@pytest.mark.parametrize("name", PLAYED)
def test_scenes_are_as_at_the_real_apiserver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileHttpServer(lambda: iter(())) as server:
        stage = Stage(place_of(server), None, monkeypatch)
        server.replies = [*(reply_of(each, stage, server) for each in EXCHANGES[name]), *server.replies]
        try:
            SCENES[name](stage)
        finally:
            stage.close()
        asked = [request.split()[1] for request in server.requests]
    assert [_fixed(target) for target in asked] == [_fixed(each.target) for each in EXCHANGES[name]]


def _fixed(target: str) -> str:
    """Return a target without the part that is random: a watch takes 240 to 480 seconds, unless a scene limits it."""
    return re.sub(r"timeoutSeconds=\d{3}", "", target)


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


#: A part of an answer, its replacement, and whether the answer has to be refused then.
HEAD_LIES = (
    (rb"^HTTP/1.1 200 OK", rb"HTTP/1.1 503 Service Unavailable", True),
    (rb"Content-Length: (\d)", rb"Content-Length: 9\1", True),
    (rb"Content-Length: \d", rb"Content-Length: ", True),
)
BODY_LIES = (
    (rb'"resourceVersion":"\d*"', rb'"resourceVersion":""', True),
    (rb'"resourceVersion":"\d*"', rb'"resourceVersion":"1"', False),
    (rb'"metadata":', rb'"metadata":5,"_":', True),
    (rb'"(conditions|endpoints|addresses|ports)":', rb'"\1":5,"_":', False),
    (rb"\}\n", rb"\n", True),
)


def lies(whole: bytes, chance: random.Random, count: int) -> Iterator[tuple[bytes, bool]]:
    """Yield spoilt answers, and whether each has to be refused."""
    for old, new, is_certain in HEAD_LIES:
        if (spoilt := re.sub(old, new, whole)) != whole:
            yield spoilt, is_certain
    for old, new, is_certain in BODY_LIES:
        if (spoilt := with_body(whole, re.sub(old, new, body_of(whole)))) != whole:
            # For a list in pages the version of the last page counts.
            yield spoilt, is_certain and not (b"resourceVersion" in new and b'"continue":' in whole)
    for scene in PLAYED:
        # An answer to another question.
        yield chance.choice(BYTES[scene]), False
    for _ in range(count):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed), False


def body_of(answer: bytes) -> bytes:
    """Return the body of an answer, without the sizes of its chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return b"".join(re.findall(rb"^\{.*\n", body, re.MULTILINE)) if b"chunked" in head else body


def with_body(answer: bytes, body: bytes) -> bytes:
    """Return an answer with another body; each line of it is a chunk."""
    head = answer.partition(b"\r\n\r\n")[0]
    if b"chunked" not in head:
        return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body
    chunks = [b"%x\r\n%b\r\n" % (len(line), line) for line in body.splitlines(keepends=True)]
    end = b"0\r\n\r\n" if answer.endswith(b"0\r\n\r\n") else b""
    return b"".join([head, b"\r\n\r\n", *chunks, end])


def answered(name: str) -> list[tuple[Exchange, bytes]]:
    """Return the exchanges of a scene with their answers; an apiserver that is away gives no answer."""
    return [(each, whole) for each, whole in zip(EXCHANGES[name], BYTES[name], strict=True) if whole]


def is_watch(exchange: Exchange) -> bool:
    return "watch=" in exchange.target


def is_expired(answer: bytes) -> bool:
    """Return whether an answer says that a version is too old: the list is then asked for again at once."""
    return answer.startswith(b"HTTP/1.1 410 ") or b'"type":"ERROR"' in answer


def follow_spoilt(
    exchange: Exchange,
    reply: Reply,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limit_seconds: float | None = None,
    wait_seconds: float = 10.0,
    wanted: list[str] | None = None,
) -> tuple[list[list[str]], bool]:
    """Have a lookup take a spoilt answer between two whole lists.

    Args:
        limit_seconds: how long the spoilt answer is awaited; None is as long as any.
        wait_seconds: how long an event is awaited.
        wanted: the list after which no further event is awaited.

    Returns: the lists that it gave before the second, and whether there was an outage.
    """
    found: list[list[str]] = []
    with HostileHttpServer(*([whole_list] * is_watch(exchange)), reply, whole_list) as server:
        stage = Stage(place_of(server), None, monkeypatch)
        try:
            lookup = stage.lookup(token=lambda: "planted-token")
            if is_watch(exchange):
                assert hosts(lookup) == HOSTS
            outage = ""
            with monkeypatch.context() as patched:
                for module, name in ((client, "ANSWER_SECONDS"), (line_stream, "REST_SECONDS")):
                    if limit_seconds is not None:
                        patched.setattr(module, name, limit_seconds)
                try:
                    for _ in range(1 if not is_watch(exchange) else 3 if wanted is None else 10):
                        found.append(hosts(lookup, wait_seconds if is_watch(exchange) else 0.0))
                        if found[-1] == wanted:
                            break
                except StoreError as error:
                    outage = error.message
            assert outage.isprintable()
            assert "planted" not in outage
            # The end of the connection may be seen by the next request alone.
            with contextlib.suppress(StoreError):
                assert hosts(lookup) == HOSTS
            assert hosts(lookup) == HOSTS
        finally:
            stage.close()
    return found, bool(outage)


def states(cut: bytes) -> list[list[str]]:
    """Return the list before a cut watch, and those that its whole events make, one after the other."""
    slices: dict[str, Slice] = {}
    listed = json.loads(LIST.partition(b"\r\n\r\n")[2])["items"]
    found = []
    for kind, content in [*(("ADDED", one) for one in listed), *_events(cut)]:
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            continue
        each = read_slice(msgspec.Raw(json.dumps(content).encode()), Reading())
        slices.pop(each.name, None)
        if kind != "DELETED":
            slices[each.name] = each
        addresses = (one.address for one in chosen(slices.values()))
        found.append(
            sorted(address.removeprefix("tcp://").rpartition(":")[0].strip("[]") for address in addresses)
        )
    return found


def _events(cut: bytes) -> list[tuple[str, object]]:
    """Return the kinds and objects of the whole events of a watch."""
    events = map(json.loads, body_of(cut).splitlines())
    return [(event["type"], event["object"]) for event in events]


@pytest.mark.parametrize("name", PLAYED)
def test_a_cut_answer_changes_no_list_beyond_its_whole_events(
    name: str, monkeypatch: pytest.MonkeyPatch, scale: Scale
) -> None:
    chance = scale.random(len(name))
    for exchange, whole in answered(name):
        for _ in range(scale(3)):
            cut = whole[: chance.randrange(len(whole))]
            found, is_out = follow_spoilt(exchange, closing(cut), monkeypatch)
            if is_expired(cut):
                continue
            assert is_out
            assert found == [] or (is_watch(exchange) and all(one in states(cut) for one in found))


@pytest.mark.parametrize("name", PLAYED)
def test_an_answer_that_stalls_is_an_outage(name: str, monkeypatch: pytest.MonkeyPatch, scale: Scale) -> None:
    chance = scale.random(len(name))
    for exchange, whole in answered(name):
        for _ in range(scale(2)):
            cut = whole[: chance.randrange(len(whole))]
            found, is_out = follow_spoilt(
                exchange, stalling(cut), monkeypatch, limit_seconds=0.05, wait_seconds=0.05
            )
            if is_expired(cut):
                continue
            # A watch may be silent between two events.
            assert is_out or is_watch(exchange)
            assert found == [] or (is_watch(exchange) and all(one in states(cut) for one in found))


# A killed apiserver answers two watches with nothing before the last one.
@pytest.mark.parametrize("name", [name for name in PLAYED if name != "killed"])
def test_a_watch_that_stalls_between_events_has_told_all_before(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for exchange, whole in answered(name):
        if not is_watch(exchange) or not whole.startswith(b"HTTP/1.1 200 "):
            continue
        for event in re.finditer(rb"\}\n\r\n", whole.partition(b"\r\n\r\n")[2]):
            cut = whole[: whole.index(b"\r\n\r\n") + 4 + event.end()]
            if is_expired(cut):
                continue
            wanted = states(cut)[-1]
            found, is_out = follow_spoilt(exchange, stalling(cut), monkeypatch, wanted=wanted)
            assert (found[-1], is_out) == (wanted, False)


@pytest.mark.parametrize("name", PLAYED)
def test_after_an_answer_that_lies_the_list_recovers(
    name: str, monkeypatch: pytest.MonkeyPatch, scale: Scale
) -> None:
    chance = scale.random(len(name))
    for exchange, whole in answered(name):
        for data, is_certain in lies(whole, chance, scale.inputs(200, share=0.02)):
            _, is_out = follow_spoilt(exchange, closing(data), monkeypatch)
            if is_certain and whole.startswith(b"HTTP/1.1 200 ") and not is_expired(data):
                assert is_out, data
