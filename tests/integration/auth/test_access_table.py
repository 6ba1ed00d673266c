"""The table: every frame kind, every service and every kind of method, by every caller that may not call.

Without the right to a call no handler starts. The table is made from the code: a frame kind, a built-in service or a
kind of method without a row fails.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Server, Status
from fastrpc.handlers.auth import failed_logins
from tests.support.access_table import SHORT_LIFE, Counted, rows, services_of_the_package
from tests.support.certificates import Authority
from tests.support.raw_peer import RawPeer, raw_client
from tests.support.wire_frames import (
    Auth,
    Cancel,
    Credit,
    Data,
    End,
    Goaway,
    Ping,
    Request,
    Response,
    SettingsFrame,
    encode_frame,
)
from tests.support.wire_frames import Verdict as VerdictFrame
from tests.support.wire_layout import Kind
from tests.support.wire_metadata import encode_metadata
from tests.support.wire_parser import Preface

pytestmark = pytest.mark.one_loop

MSGPACK = 1
STREAM_IN, STREAM_OUT, ONE_WAY = 0x10, 0x20, 0x40
SHAPES = {
    "unary": 0,
    "client_stream": STREAM_IN,
    "server_stream": STREAM_OUT,
    "both_ways": STREAM_IN | STREAM_OUT,
}


@dataclass(frozen=True)
class Caller:
    """A caller, and the answers that it gets.

    Args:
        token: shown for the connection.
        own: the `authorization` of the call.
        certificate: the last part of the URI in its TLS certificate.
    """

    status: Status
    token: bytes | None = None
    own: bytes | None = None
    certificate: str = ""

    @property
    def is_short_lived(self) -> bool:
        """Whether its credential expires before its first call."""
        return b"expired" in (self.token or b"") or self.certificate == "expired"

    @property
    def waits(self) -> bool:
        """Whether its calls wait for the verdict about their own credentials: later calls are handled first."""
        return b"later-" in (self.own or b"")


UNKNOWN, FORBIDDEN = Status.UNAUTHENTICATED, Status.PERMISSION_DENIED

CALLERS = {
    "nobody": Caller(UNKNOWN),
    "an expired one": Caller(UNKNOWN, b"expired"),
    "a forbidden one": Caller(FORBIDDEN, b"forbidden"),
    "a forbidden one, verified later": Caller(FORBIDDEN, b"later-forbidden"),
    "nobody, whose call has an unknown token": Caller(UNKNOWN, None, b"Bearer unknown"),
    "nobody, whose call has an expired token": Caller(UNKNOWN, None, b"Bearer past"),
    "nobody, whose call has the token of a forbidden one": Caller(FORBIDDEN, None, b"Bearer forbidden"),
    "an allowed one, whose call has an unknown token": Caller(UNKNOWN, b"allowed", b"Bearer unknown"),
    "an allowed one, whose call has an unknown token, verified later": Caller(
        UNKNOWN, b"allowed", b"Bearer later-unknown"
    ),
    "an allowed one, whose call has the token of another": Caller(FORBIDDEN, b"allowed", b"Bearer forbidden"),
    "an allowed one, whose call has the token of another, verified later": Caller(
        FORBIDDEN, b"allowed", b"Bearer later-forbidden"
    ),
    "an allowed one, whose call has a token without a scheme": Caller(UNKNOWN, b"allowed", b"allowed"),
    "an allowed one, whose call has an empty token": Caller(UNKNOWN, b"allowed", b""),
    "one with an unknown certificate": Caller(UNKNOWN, certificate="unknown"),
    "one whose certificate is that of a forbidden one": Caller(FORBIDDEN, certificate="forbidden"),
    "one whose certificate has expired": Caller(UNKNOWN, certificate="expired"),
    "one with an allowed certificate, whose call has an unknown token": Caller(
        UNKNOWN, None, b"Bearer unknown", "allowed"
    ),
    "one with an allowed certificate and the token of a forbidden one": Caller(
        FORBIDDEN, b"forbidden", None, "allowed"
    ),
}


def frames(kind: Kind, method: str, flags: int, metadata: bytes, first: int = 1) -> list[bytes]:
    """Return the frames of one kind that start or feed work: three calls at most."""

    def request(id: int, **more: Any) -> bytes:
        return Request(id, method.encode(), b"\x90", codec=MSGPACK, metadata=metadata, **more).encode()

    whole = request(first, flags=flags)
    message = Data(first, b"\x01", codec=MSGPACK).encode()
    by_kind: dict[Kind, Callable[[], list[bytes]]] = {
        Kind.REQUEST: lambda: [
            whole,
            request(first + 2, flags=ONE_WAY),
            request(first + 4, flags=flags, priority=2),
        ],
        Kind.DATA: lambda: (
            [request(first, flags=flags, total=2), Data(first, b"\x00", cont=True, codec=MSGPACK).encode()]
            + ([message] if flags & STREAM_IN else [])
        ),
        Kind.END: lambda: [whole, message, End(first).encode()] if flags & STREAM_IN else [whole],
        Kind.CANCEL: lambda: [whole, Cancel(first).encode()],
        Kind.CREDIT: lambda: [whole, Credit(first, 1_000).encode(), Credit(0, 1_000).encode()],
        Kind.PING: lambda: [whole, Ping(b"12345678").encode()],
        Kind.SETTINGS: lambda: [whole, SettingsFrame().encode()],
        Kind.GOAWAY: lambda: [whole, Goaway(2**63 - 1, 0).encode()],
        Kind.TEST: lambda: [encode_frame(Kind.TEST, b"x"), whole],
        Kind.AUTH: lambda: [whole, Auth(b"basic", b"allowed").encode(), request(first + 2, flags=flags)],
        # A frame that only a callee sends.
        Kind.RESPONSE: lambda: [whole, Response(2).encode()],
        Kind.HEAD: lambda: [whole, encode_frame(Kind.HEAD, id=2)],
    }
    return by_kind[kind]()


#: Kinds of which many frames may come on one connection; the other kinds have a budget, or end the connection.
MANY = frozenset({Kind.REQUEST, Kind.DATA, Kind.END, Kind.CANCEL, Kind.CREDIT})

#: Methods of one connection: each gets two frames of credit, and a connection may send a hundred for nothing.
AT_ONCE = 40

#: Kinds that end the connection: by a violation, or a credential that is refused.
ENDING = frozenset({Kind.RESPONSE, Kind.HEAD, Kind.AUTH})


def batches(kind: Kind, table: dict[str, str]) -> list[dict[str, str]]:
    """Return the methods for one connection after the other: many for frames of calls, else one of each service."""
    if kind in MANY:
        methods = list(table.items())
        return [dict(methods[start : start + AT_ONCE]) for start in range(0, len(methods), AT_ONCE)]
    firsts = {method.rpartition(".")[0]: (method, shape) for method, shape in reversed(table.items())}
    return [{method: shape} for method, shape in firsts.values()]


async def opened(peer: RawPeer, caller: Caller) -> None:
    """Open a connection, and wait until its short-lived credential has expired."""
    peer.send(Preface().encode(), SettingsFrame().encode())
    if caller.token is not None:
        peer.send(Auth(b"bearer", caller.token).encode())
        assert (await peer.next(VerdictFrame)).status == 0
    if caller.is_short_lived:
        # Behind its answer the certificate counts.
        peer.send(Ping(b"12345678").encode())
        await peer.next(Ping)
        await asyncio.sleep(SHORT_LIFE + 0.01)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins are many here, and have a test of their own."""
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _stopped_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the wall clock: a short verdict must not expire before the server reads it on a slow machine."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the settings of a server, and the contexts of callers by the names in their certificates."""
    authority = Authority(tmp_path_factory.mktemp("table"))
    found: dict[str, Any] = {"server": authority.certificate().tls(authority)}
    for name in {caller.certificate for caller in CALLERS.values()} - {""}:
        shown = authority.certificate(f"URI:spiffe://corp/{name}", purpose="clientAuth")
        found[name] = ssl.create_default_context(cafile=str(authority.cert_file))
        found[name].load_cert_chain(shown.cert_file, shown.key_file)
        found[name].set_alpn_protocols(["fastrpc/1"])
    return found


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("by_certificate", [False, True])
async def test_no_frame_starts_a_handler_for_a_caller_that_may_not_call(
    kind: Kind, by_certificate: bool, certificates: dict[str, Any], tmp_path: Path
) -> None:
    counted = Counted(tmp_path, tls=certificates["server"] if by_certificate else None)
    async with counted.server as server:
        target = str(await server.listen(f"{'tls' if by_certificate else 'tcp'}://127.0.0.1:0"))
        for name, caller in CALLERS.items():
            if by_certificate == bool(caller.certificate):
                context = certificates[caller.certificate] if by_certificate else None
                await refused(kind, caller, server, target, context)
                assert counted.started == 0, name


async def refused(
    kind: Kind, caller: Caller, server: Server, target: str, context: ssl.SSLContext | None
) -> None:
    """Send a caller's frames of a kind for every method; each call is refused before its start."""
    metadata = b"" if caller.own is None else encode_metadata([(b"authorization", caller.own)])
    # A bad credential of a call, or one that is not allowed, is refused by public methods as well.
    for methods in batches(kind, rows(server, with_public=caller.own is not None)):
        async with raw_client(target, tls=context) as peer:
            await opened(peer, caller)
            asked = dict(zip(range(1, 6 * len(methods), 6), methods.items(), strict=True))
            for first, (method, shape) in asked.items():
                peer.send(*frames(kind, method, SHAPES[shape], metadata, first))
            if caller.waits and kind in ENDING:
                assert (await peer.next(Goaway)).reason == (7 if kind is Kind.AUTH else 2)
                continue
            expected = {caller.status}
            if caller.waits and kind is Kind.CANCEL:
                expected.add(Status.CANCELLED)
            for _ in asked:
                answer = await peer.next(Response)
                while answer.id not in asked:
                    answer = await peer.next(Response)
                assert answer.status in expected, (caller, asked[answer.id], answer)
                assert answer.outcome == 1


async def test_an_allowed_caller_starts_handlers(certificates: dict[str, Any], tmp_path: Path) -> None:
    """The same frames, so that the table above fails for the right reason."""
    counted = Counted(tmp_path, tls=certificates["server"])
    callers = (
        ("tcp", Caller(Status.OK, b"allowed")),
        ("tcp", Caller(Status.OK, b"later-allowed")),
        ("tcp", Caller(Status.OK, b"forbidden", b"Bearer allowed")),
        ("tcp", Caller(Status.OK, None, b"bearer later-allowed")),
        ("tls", Caller(Status.OK, certificate="allowed")),
    )
    async with counted.server as server:
        for number, (scheme, caller) in enumerate(callers, 1):
            target = str(await server.listen(f"{scheme}://127.0.0.1:0"))
            metadata = b"" if caller.own is None else encode_metadata([(b"authorization", caller.own)])
            async with raw_client(target, tls=certificates.get(caller.certificate)) as peer:
                await opened(peer, caller)
                peer.send(Request(1, b"shop.who", b"\x90", codec=MSGPACK, metadata=metadata).encode())
                assert (await peer.next(Response)).status == 0
            assert counted.started == number


async def test_every_service_and_every_kind_of_method_has_a_row(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    async with counted.server as server:
        table = rows(server)
    assert set(table.values()) == SHAPES.keys()
    packaged = services_of_the_package()
    known = {f"fastrpc.{name}" for name in ("broker", "health", "reflection", "registry", "relay", "store")}
    assert known | {"files"} <= packaged
    assert {method.rpartition(".")[0] for method in table} == packaged | {"shop"}
    assert all(frames(kind, "shop.who", 0, b"") for kind in Kind)


@pytest.mark.parametrize("scheme", [b"", b"basic", b"BEARER", b"certificate"])
async def test_an_unknown_scheme_is_refused_and_ends_the_connection(scheme: bytes, tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    async with counted.server as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with raw_client(target) as peer:
            peer.send(Preface().encode(), SettingsFrame().encode(), Auth(scheme, b"allowed").encode())
            peer.send(Request(1, b"shop.who", b"\x90", codec=MSGPACK).encode())
            assert (await peer.next(VerdictFrame)).status == Status.UNAUTHENTICATED
            assert (await peer.next(Goaway)).reason == 7
        assert counted.started == 0


async def test_credit_is_not_raised_before_a_verdict_and_then_is(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    async with counted.server as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with raw_client(target) as peer:
            peer.send(Preface().encode(), SettingsFrame().encode(), Ping(b"12345678").encode())
            await peer.next(Ping)
            assert not any(isinstance(frame, Credit) for frame in peer.frames)
            peer.send(Auth(b"bearer", b"allowed").encode())
            await peer.next(VerdictFrame)
            assert (await peer.next(Credit)).id == 0
