"""Acts on servers: `POST /act/NAME` with the token of the operator who calls.

::

    names of servers ──► known, and named by --servers or --target ──► one request each ──► one answer each

The console has no token for acts. The token of a call is sent only to the servers of that call, by TLS or on this
machine. Nothing here keeps it: each connection ends with its request, and errors keep only their text.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from fastrpc.bounded_http import BoundedHttpClient, HttpError, decoded
from fastrpc.console.fleet import Fleet
from fastrpc.console.reading import PageError
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError
from fastrpc.escaping import printable
from fastrpc.rpc.token import checked_token
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["MOST_SERVERS_OF_ACT", "ActAnswer", "act_on"]

#: The most servers of one act.
MOST_SERVERS_OF_ACT: Final = 256

#: The most bytes of an answer (ANSWER_BYTES), and the most characters of its text (ANSWER_TEXT).
ANSWER_BYTES: Final = 65_536
ANSWER_TEXT: Final = 500

#: Seconds that a server may take for an act. With the 2 s for an answer to arrive, one server takes at most 9 s. A
#: server waits twice 3 s for a worker that does not answer, and 2 s for its registry.
HELD_SECONDS: Final = 7.0

#: Seconds after which the act is sent to no further server. A call therefore takes at most 49 s, less than the page
#: waits.
TURN_SECONDS: Final = 40.0

#: The console's own statuses for an act. NOT_SENT: it was not sent. UNANSWERED: it was sent, without a complete answer.
NOT_SENT: Final = 0
UNANSWERED: Final = 504

_NAME: Final = re.compile(r"[a-z_]{1,64}")

#: The types of values in an answer. They are few and plain, since the values are passed on to the caller.
_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=2_000)]
_Plain: TypeAlias = bool | _Whole | float | _Text | None
_List: TypeAlias = Annotated[list[_Plain], msgspec.Meta(max_length=1_024)]
_Object: TypeAlias = Annotated[dict[_Text, _Plain | _List], msgspec.Meta(max_length=1_024)]
_Values: TypeAlias = Annotated[dict[_Text, _Plain | _List | _Object], msgspec.Meta(max_length=64)]


class ActAnswer(msgspec.Struct, frozen=True):
    """The answer of one server to an act."""

    #: The server as the call named it.
    server: str
    #: The HTTP status of the answer; 0: the act was not sent; 504: it was sent, without a complete answer.
    status: int
    #: Why the act was not carried out, or has no full effect yet; "" if it was carried out.
    text: str
    #: The values of the answer: before and after, or only the current value if another one was expected.
    values: dict[str, Any] = {}


async def act_on(
    fleet: Fleet, name: str, servers: Sequence[str], values: Mapping[str, Any], token: str
) -> list[ActAnswer]:
    """Ask servers for an act, and return their answers in the order of the servers.

    Args:
        servers: their keys, or other forms of their addresses.
        values: the body.
        token: the token of the operator.

    Raises:
        CallError: the name, the token or the values cannot be sent, or there are too many servers.
    """
    if not _NAME.fullmatch(name):
        raise CallError(Status.INVALID_ARGUMENT, "an act has a name of small letters, such as log_level")
    if len(servers) > MOST_SERVERS_OF_ACT:
        text = f"the act is for {len(servers):,} servers, the most are {MOST_SERVERS_OF_ACT}"
        raise CallError(Status.INVALID_ARGUMENT, text)
    try:
        checked_token(token)
        body = msgspec.json.encode(values)
    except (ConfigError, TypeError, ValueError, RecursionError):
        # The error is not chained, as it would keep the token.
        body = None
    if body is None:
        text = "the token is not of visible ASCII characters, or the values are not JSON"
        raise CallError(Status.INVALID_ARGUMENT, text)
    act = _Act(name, body, token, fleet.clock() + TURN_SECONDS)
    return list(await asyncio.gather(*(_answer_of(fleet, key, act) for key in dict.fromkeys(servers))))


class _Act(NamedTuple):
    """An act that may be sent until an instant of the fleet's clock."""

    name: str
    body: bytes
    token: str
    ends: float


async def _answer_of(fleet: Fleet, key: str, act: _Act) -> ActAnswer:
    server = await fleet.server_named(key)
    if server is None:
        why = "" if fleet.trouble is None else f": {fleet.trouble}"
        return ActAnswer(key, NOT_SENT, f"the console knows no such server{why}")
    try:
        address = fleet.address_for_acts(server)
    except PageError as error:
        return ActAnswer(key, NOT_SENT, str(error))
    answer = await fleet.in_act_thread(lambda: _asked(fleet, key, address, act))
    # Read the server soon, so that a view shows the effect.
    fleet.show(server)
    return answer


# In a thread


def _asked(fleet: Fleet, key: str, address: Address, act: _Act) -> ActAnswer:
    if fleet.clock() >= act.ends:
        return ActAnswer(key, NOT_SENT, f"the servers before it took {TURN_SECONDS:g} s: ask for it again")
    try:
        encrypt = HttpEnd(fleet.tls, address.host).wrap if address.scheme == "tls" else None
    except ConfigError as error:
        return ActAnswer(key, NOT_SENT, str(error))
    http = BoundedHttpClient(address.host, address.port, encrypt=encrypt, most_bytes=ANSWER_BYTES)
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "fastrpc-console",
        "Authorization": f"Bearer {act.token}",
    }
    try:
        answer = http.request(
            "POST", f"/act/{act.name}", headers=headers, body=act.body, held_seconds=HELD_SECONDS
        )
    except HttpError as error:
        if not error.was_sent:
            return ActAnswer(key, NOT_SENT, str(error))
        return ActAnswer(key, UNANSWERED, f"it may have been carried out: {error}")
    finally:
        http.close()
    return _read(key, answer.status, answer.body)


def _read(key: str, status: int, body: bytes) -> ActAnswer:
    """Return the answer, with values only if the body is an object of plain values."""
    try:
        values = decoded(body, _Values)
    except HttpError as error:
        if status == 200:
            return ActAnswer(key, status, str(error))
        return ActAnswer(key, status, _text_of(body.decode(errors="replace"), status))
    told = values.get("problem" if status == 200 else "error", "")
    return ActAnswer(key, status, _text_of(told if isinstance(told, str) else "", status), values)


def _text_of(text: str, status: int) -> str:
    shown = printable(" ".join(text[:ANSWER_TEXT].split()))
    if not shown and status != 200:
        return f"it answered {status}"
    if status == 404 and shown.startswith("there is no such page"):
        return "it takes no acts: it has no admin_operators"
    return shown
