"""The table of access with protocols as a dimension: every way in, every service, every kind of method, every caller.

Without the right to a call no handler starts, over any protocol. A protocol without a row fails, and so does a setting
of HTTP that accepts calls. The frames of the native protocol have a table of their own, `test_access_table.py`.

Two callers call every method over every protocol. At scale 1 the other callers share the methods of a protocol: each
calls at least one method of each kind, and each method over some protocols. In a longer run they call all methods.
"""

import asyncio
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from fastrpc import HTTP, Status
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.handlers.auth import failed_logins
from tests.conftest import Scale
from tests.support.access_table import SHORT_LIFE, Counted, rows
from tests.support.certificates import Authority
from tests.support.waiting import eventually
from tests.support.ways_in import WAYS, Asked

pytestmark = pytest.mark.one_loop

#: The callers that call every method, and the number of other callers that share the methods of a protocol.
ASKING_FOR_ALL = ("nobody", "a forbidden one")
SHARING = 8

UNKNOWN, FORBIDDEN = Status.UNAUTHENTICATED, Status.PERMISSION_DENIED


@dataclass(frozen=True)
class Caller:
    """The credentials of a caller, and the answers that it gets.

    Args:
        token: of its request.
        certificate: the last part of the URI in its TLS certificate.
    """

    status: Status
    token: str | None = None
    certificate: str = ""


CALLERS = {
    "nobody": Caller(UNKNOWN),
    "one with an unknown token": Caller(UNKNOWN, "Bearer unknown"),
    "one with an unknown token, verified later": Caller(UNKNOWN, "Bearer later-unknown"),
    "one with an expired token": Caller(UNKNOWN, "Bearer past"),
    "a forbidden one": Caller(FORBIDDEN, "Bearer forbidden"),
    "a forbidden one, verified later": Caller(FORBIDDEN, "Bearer later-forbidden"),
    "one with a token of another scheme": Caller(UNKNOWN, "Basic allowed"),
    "one with an unknown certificate": Caller(UNKNOWN, None, "unknown"),
    "one whose certificate is that of a forbidden one": Caller(FORBIDDEN, None, "forbidden"),
    "one whose certificate has expired": Caller(UNKNOWN, None, "expired"),
    "one with an allowed certificate and an unknown token": Caller(UNKNOWN, "Bearer unknown", "allowed"),
    "one with an allowed certificate and the token of another": Caller(
        FORBIDDEN, "Bearer forbidden", "allowed"
    ),
}

ALLOWED = (
    Caller(Status.OK, "Bearer allowed"),
    Caller(Status.OK, "Bearer later-allowed"),
    Caller(Status.OK, None, "allowed"),
    Caller(Status.OK, "Bearer allowed", "forbidden"),
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins are many here, and have a test of their own."""
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the settings of a server, and the contexts of callers by the names in their certificates."""
    authority = Authority(tmp_path_factory.mktemp("table"))
    found: dict[str, Any] = {"server": authority.certificate().tls(authority), "": (None, None)}
    for name in {caller.certificate for caller in (*CALLERS.values(), *ALLOWED)} - {""}:
        shown = authority.certificate(f"URI:spiffe://corp/{name}", purpose="clientAuth")
        contexts = [ssl.create_default_context(cafile=str(authority.cert_file)) for _ in range(2)]
        for context in contexts:
            context.load_cert_chain(shown.cert_file, shown.key_file)
        contexts[1].set_alpn_protocols(["h2"])
        found[name] = tuple(contexts)
    return found


def counted_by_all(folder: Path, certificates: dict[str, Any]) -> Counted:
    """Return a server that all ways lead into."""
    http = HTTP(**dict.fromkeys(settings_of_http(), True))
    return Counted(folder, tls=certificates["server"], protocols=tuple(SERVER_PROTOCOLS[:5]), http=http)


def settings_of_http() -> list[str]:
    """Return the settings of HTTP that open a way in: all its flags but that of the form of answers."""
    return [field.name for field in fields(HTTP) if field.type in (bool, "bool") and field.name != "compress"]


def shared(table: dict[str, str], number: int) -> dict[str, str]:
    """Return a share of the methods of each kind, one at least: another one for each number."""
    found = {}
    for kind in dict.fromkeys(table.values()):
        methods = [method for method in table if table[method] == kind]
        found.update(dict.fromkeys(methods[number % min(SHARING, len(methods)) :: SHARING], kind))
    return found


def test_every_protocol_and_every_setting_of_http_has_a_row() -> None:
    assert set(ASKING_FOR_ALL) <= set(CALLERS)
    # Protocols that other tests register come later in the list.
    assert SERVER_PROTOCOLS[0] == "native"
    assert {way.protocol for way in WAYS.values()} == set(SERVER_PROTOCOLS[1:5])
    assert {way.setting for way in WAYS.values()} - {None} == set(settings_of_http())


@pytest.mark.parametrize("name", WAYS)
async def test_no_way_in_starts_a_handler_for_a_caller_that_may_not_call(
    name: str, certificates: dict[str, Any], tmp_path: Path, scale: Scale
) -> None:
    way, counted = WAYS[name], counted_by_all(tmp_path, certificates)
    async with counted.server as server:
        addresses = {
            is_plain: await server.listen(f"{'tcp' if is_plain else 'tls'}://127.0.0.1:0")
            for is_plain in (True, False)
        }
        for number, (who, caller) in enumerate(CALLERS.items(), list(WAYS).index(name)):
            # A bad token, or one that is not allowed, is refused by public methods as well.
            table = rows(server, with_public=caller.token is not None)
            if scale.factor <= 1 and who not in ASKING_FOR_ALL:
                table = shared(table, number)
            pauses = SHORT_LIFE + 0.01 if caller.certificate == "expired" else 0.0
            asked = [
                Asked(
                    addresses[not caller.certificate],
                    certificates[caller.certificate][0],
                    caller.token,
                    method,
                    kind,
                    pauses,
                    certificates[caller.certificate][1],
                )
                for method, kind in table.items()
            ]
            told = await asyncio.gather(*map(way.ask, asked))
            assert set(told) <= {caller.status, None}, (who, dict(zip(table, told, strict=True)))
            assert counted.started == 0, who


@pytest.mark.parametrize("name", WAYS)
async def test_an_allowed_caller_starts_handlers_by_every_way(
    name: str, certificates: dict[str, Any], tmp_path: Path
) -> None:
    """The same requests, so that the table above fails for the right reason."""
    way, counted = WAYS[name], counted_by_all(tmp_path, certificates)
    method, kind = ("shop.both", "both_ways") if WAYS[name].form == "lines" else ("shop.who", "unary")
    async with counted.server as server:
        for caller in ALLOWED:
            scheme = "tls" if caller.certificate else "tcp"
            address = await server.listen(f"{scheme}://127.0.0.1:0")
            before = counted.started
            tls, h2 = certificates[caller.certificate]
            asked = Asked(address, tls, caller.token, method, kind, h2=h2)
            assert await way.ask(asked) in {Status.OK, None}
            await eventually(lambda before=before: counted.started > before)


@pytest.mark.parametrize("name", ["rpcx", "phobos", "JSON", "gRPC"])
async def test_a_certificate_counts_where_one_protocol_alone_is_served(
    name: str, certificates: dict[str, Any], tmp_path: Path
) -> None:
    """The engine of the only protocol exists before the handshake of TLS is over."""
    way = WAYS[name]
    settings = {"http": HTTP()} if way.protocol == "http" else {}
    counted = Counted(tmp_path, tls=certificates["server"], protocols=(way.protocol,), **settings)
    async with counted.server as server:
        address = await server.listen("tls://127.0.0.1:0")
        tls, h2 = certificates["allowed"]
        asked = Asked(address, tls, None, "shop.who", "unary", h2=h2)
        assert await way.ask(asked) is Status.OK


@pytest.mark.parametrize("name", ["gRPC", "gRPC-Web", "Connect", "GET by Connect"])
async def test_a_token_that_is_no_text_is_refused_despite_an_allowed_certificate(
    name: str, certificates: dict[str, Any], tmp_path: Path
) -> None:
    # The gateway refuses such a head as a whole.
    way, counted = WAYS[name], counted_by_all(tmp_path, certificates)
    async with counted.server as server:
        address = await server.listen("tls://127.0.0.1:0")
        tls, h2 = certificates["allowed"]
        for token, status in (("Bearer \xff", UNKNOWN), ("\xff", UNKNOWN), (None, Status.OK)):
            asked = Asked(address, tls, token, "shop.who", "unary", h2=h2)
            assert await way.ask(asked) is status
    assert counted.started == 1
