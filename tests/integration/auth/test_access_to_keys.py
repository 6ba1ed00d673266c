"""The table of access to keys: every request of Deimos's dialect, and every method of `fastrpc.store`.

Without the right to a key its value is never shown and the key never changes, in any spelling of a key or prefix, and
from any page. A verb, parameter or method of the dialect without a row fails.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import fields
from typing import Any, Final

import pytest

import fastrpc
from fastrpc import HTTP, Client, Server, ServerConfig, Status
from fastrpc.auth import Policy
from fastrpc.coordination import StoreServer, StoreService
from fastrpc.coordination.deimos.requests import KeyRequest, read_request
from fastrpc.handlers.auth import failed_logins
from fastrpc.hosted.rights import rights_of
from fastrpc.rpc.service import service_definition
from fastrpc.stores.local import LocalStore
from tests.support.access_table import Credentials
from tests.support.deimos_vectors import DeimosServer, deimos_server, sent
from tests.support.http_talk import HttpClient, Response

pytestmark = pytest.mark.one_loop

FORM: Final = "application/x-www-form-urlencoded"

RULES: Final[list[dict[str, Any]]] = [
    {"who": ["allowed"], "read_keys": ["open/read/**"], "write_keys": ["mine/**"]},
    {"who": ["forbidden"], "allow": ["fastrpc.health.check"]},
]
ALL: Final[list[dict[str, Any]]] = [{"who": ["allowed"], "read_keys": ["**"], "write_keys": ["**"]}]

#: Keys that the rules grant to no caller; all answers are searched for their values.
PLANTED: Final = b"planted-value"
OTHERS: Final = ("other/k", "other/sub/k", "open/k", "minelike/k", "locks/other/1")

#: Keys above the keys of a right. In the dialect they hide them.
ABOVE: Final = ("mine", "open/read")

#: Paths of foreign keys and of directories above them, plain and in disguise.
SPELLED_PATHS: Final = """
/keys/other/k /keys/other /keys/other/ /keys/other/sub /keys/minelike/k /keys/min /keys/open /keys /keys/
/keys/locks/other/1 /keys/_deimos /keys/_deimos/other /keys/%5Fdeimos/other
/keys//other/k /keys/other//k //keys/other/k /keys/./other/k /keys/other/k/ /keys/other/k//
/keys/%2fother/k /keys/other%2fk /keys/other%2Fk%2F /keys/%6Fther/k /keys/other/%6b
/keys/mine/../other/k /keys/mine//..//other/k /keys/mine/k/../../other/k /mine/../keys/other/k
/keys/mine/%2e%2e/other/k /keys/mine/.%2E/other/k /keys/mine%2f..%2fother%2fk /keys/mine/..%2Fother
/keys/mine/%2e%2e%2f%2e%2e%2fother%2fk /keys/open/read/%2e%2e/k /keys/mine/.. /keys/mine/%2e%2e/
"""
PATHS: Final = SPELLED_PATHS.split()

#: The parameters of requests, by verb.
REQUESTS: Final = {
    "GET": (
        *("", "recursive=true", "recursive=true&sorted=true", "wait=true&waitIndex=3"),
        *("wait=true&recursive=true&waitIndex=3", "wait=true&recursive=true&waitIndex=3&stream=true"),
    ),
    "PUT": (
        *(
            "value=x",
            "value=x&prevExists=true",
            "value=x&prevExists=false",
            "value=x&prevIndex=1",
            "value=x&ttl=5",
        ),
        *("value=x&prevValue=planted-value", "dir=true", "dir=true&ttl=5", "dir=true&prevExists=true&ttl=5"),
    ),
    "POST": ("value=x", "dir=true", "dir=true&ttl=5"),
    "DELETE": ("", "recursive=true", "dir=true", "prevValue=planted-value", "prevIndex=1"),
}

#: The tokens of callers without a right to these keys, and the status that they get from the dialect.
CALLERS: Final[dict[str, tuple[str | None, int]]] = {
    "nobody": (None, 401),
    "one with an unknown token": ("unknown", 401),
    "one with an expired token": ("past", 401),
    "a forbidden one": ("forbidden", 403),
    "one with rights to other keys": ("allowed", 403),
}

#: The statuses of calls of methods that correspond to statuses of the dialect.
REFUSALS: Final = {401: {Status.UNAUTHENTICATED}, 403: {Status.PERMISSION_DENIED, Status.INVALID_ARGUMENT}}

#: Pages that the HTTP gateway serves, as its own.
OWN_PAGE: Final = {"Origin": "http://127.0.0.1"}
SAME_SITE: Final = {"Sec-Fetch-Site": "same-site"}

#: Fields of requests that pages in browsers send: pages of other sites, and pages under a name that leads here.
PAGES: Final = (
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    OWN_PAGE,
    {"Sec-Fetch-Site": "cross-site"},
    SAME_SITE,
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example:4001"},
)

#: The types of the bodies of forms.
FORMS: Final = (FORM, "multipart/form-data; boundary=x", "text/plain")

#: Keys and prefixes as arguments of methods.
SPELLED_KEYS: Final = """
other/k other other/ / min minelike/k open open/ open/k locks/other/1 _deimos/ _deimos/other
/other/k other/k/ other//k mine/../other/k mine//../other/k mine/../ mine/.. mine/./k
../other/k %2e%2e/other/k %2fother/k other%2fk
"""
KEYS: Final = ("", "mine\0/k", *ABOVE, *SPELLED_KEYS.split())

#: The calls of each method for a key and the lease of another caller.
METHODS: Final[dict[str, Callable[[str, str], list[tuple[Any, ...]]]]] = {
    "get": lambda key, lease: [(key,)],
    "list": lambda key, lease: [(key,), ("", 1000, key), (key, 1, "a")],
    "changes": lambda key, lease: [(key, 0, 0.0)],
    "watch": lambda key, lease: [(key, 0), (key,)],
    "put": lambda key, lease: [(key, b"x"), (key, b"x", 0), (key, b"x", 1), ("mine/k", b"x", None, lease)],
    "delete": lambda key, lease: [(key,), (key, 1)],
    "transact": lambda key, lease: [
        ([{"key": key, "revision": 7}], [], []),
        ([], [{"key": key, "value": b"x"}], []),
        ([], [], [key]),
        ([], [{"key": "mine/k", "value": b"x"}], [key]),
        ([], [{"key": "mine/k", "value": b"x", "lease": lease}], []),
    ],
    "renew": lambda key, lease: [(lease,)],
    "revoke": lambda key, lease: [(lease,)],
    "backup": lambda key, lease: [()],
    # It takes the right to write some key.
    "lease": lambda key, lease: [],
}
STREAMS: Final = {"watch", "backup"}

#: The statuses of calls that are allowed: some ask for a revision that the key does not have.
ANSWERS: Final = {Status.OK, Status.ABORTED, Status.OUT_OF_RANGE}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins are many here, and have a test of their own."""
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)


async def plant(store: LocalStore, more: Sequence[str] = ()) -> str:
    """Write foreign keys, some with a lease, and one key of the caller; return the lease."""
    lease = await store.lease(3600)
    for key in (*OTHERS, *more):
        await store.put(key, PLANTED, lease=lease if key.endswith("/k") else None)
    await store.put("mine/k", b"mine")
    return lease


def content(store: LocalStore) -> Any:
    """Return all that requests could change."""
    content = store.content
    leases = sorted(name for name, _, _ in content.leases.all())
    return list(content.items.below()), leases, content.revision


def service_with(rules: list[dict[str, Any]]) -> StoreService:
    return StoreService(rights=rights_of(Credentials(), Policy(rules), command="store"))


class Caller:
    """Sends requests of the dialect one after the other; watches have connections of their own, up to their end."""

    def __init__(self, server: DeimosServer, sends: dict[str, str]) -> None:
        self._server = server
        self._sends = sends
        self._client: HttpClient | None = None
        self._watching: list[HttpClient] = []
        #: All answers that the caller got.
        self.told = bytearray()

    async def ask(self, verb: str, path: str, parameters: str, kind: str = FORM) -> int:
        """Send a request, written parameters as a form; follow a redirect, and return the status."""
        form = parameters if verb in ("PUT", "POST") else ""
        query = "" if form or not parameters else f"?{parameters}"
        found = await self._asked(verb, path + query, form, kind)
        if found.status == 307:
            assert found["location"] != path + query
            found = await self._asked(verb, found["location"], form, kind)
        return found.status

    async def _asked(self, verb: str, target: str, form: str, kind: str) -> Response:
        sends = self._sends | ({"Content-Type": kind} if form else {})
        self._client = client = self._client or await HttpClient.to(self._server.address)
        client.send(sent({"request": f"{verb} {target}", "request_headers": sends, "request_body": form}))
        found = await client.head()
        if found.status == 200 and "wait=true" in target:
            self._watching.append(client)
            self._client = None
            return found
        await client.rest(found)
        # A redirection repeats the query.
        self.told += repr([one for one in found.fields if one[0] != "location"]).encode() + found.body
        if ("connection", "close") in found.fields:
            client.writer.close()
            self._client = None
        return found

    async def end(self) -> None:
        """End the watches, and collect their answers."""
        self._server.app.tree.log.end()
        for client in self._watching:
            while (chunk := await client.chunk()) != b"":
                self.told += chunk
        for client in (*self._watching, *([] if self._client is None else [self._client])):
            client.writer.close()
            await client.writer.wait_closed()


@contextlib.asynccontextmanager
async def dialect(
    rules: list[dict[str, Any]] | None, more: Sequence[str] = ()
) -> AsyncIterator[DeimosServer]:
    """Serve the dialect, with rights or without; keys are planted."""
    options = {} if rules is None else {"authenticate": Credentials()}
    async with deimos_server(None if rules is None else service_with(rules), **options) as server:
        await plant(server.store, more)
        yield server


def shown(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("more", [(), ABOVE], ids=["directories", "keys above a right"])
@pytest.mark.parametrize("name", CALLERS)
async def test_no_request_reads_or_writes_a_key_without_the_right(name: str, more: Sequence[str]) -> None:
    token, status = CALLERS[name]
    async with dialect(RULES, more) as server:
        caller, before = Caller(server, shown(token)), content(server.store)
        for verb, rows in REQUESTS.items():
            for path in (*PATHS, *(f"/keys/{key}" for key in more)):
                for row in rows:
                    found = await caller.ask(verb, path, row)
                    # Watches of paths below the key, and children, which a key cannot have.
                    is_below = (
                        token == "allowed"
                        and path[6:] in more
                        and found == {"GET": 200, "POST": 400}.get(verb)
                    )
                    assert found == status or is_below, (verb, path, row)
        assert content(server.store) == before
        await caller.end()
    assert PLANTED not in caller.told


async def test_same_requests_read_and_write_with_the_right() -> None:
    """So that the table above fails for the right reason."""
    async with dialect(ALL) as server:
        caller = Caller(server, shown("allowed"))
        for path in PATHS:
            found = set()
            for verb, rows in REQUESTS.items():
                # A watch begins wherever there may be a key.
                for row in [row for row in rows if "wait" not in row]:
                    await plant(server.store)
                    found.add(await caller.ask(verb, path, row))
            has_none = "eimos" in path
            assert found.isdisjoint({200, 201}) == has_none, path
        assert PLANTED in caller.told
        caller.told.clear()
        await plant(server.store)
        for row in [row for row in REQUESTS["GET"] if "wait" in row]:
            assert await caller.ask("GET", "/keys/other/k", row) == 200
        await caller.end()
    assert caller.told.count(PLANTED) >= 3


async def test_every_verb_and_every_parameter_of_the_dialect_has_a_row() -> None:
    async with deimos_server() as server:
        allowed = (await server.ask("PATCH", "/keys/k"))["allow"]
        assert set(allowed.split(",")) == REQUESTS.keys()
    plain = read_request("GET", "/k", b"", b"")
    asked = [read_request(verb, "/k", row.encode(), b"") for verb, rows in REQUESTS.items() for row in rows]
    for field in fields(KeyRequest):
        # All have a key.
        if field.name != "key":
            assert any(getattr(one, field.name) != getattr(plain, field.name) for one in asked), field.name


@pytest.mark.parametrize("page", PAGES, ids=str)
async def test_no_page_in_a_browser_reads_or_writes_a_key(page: dict[str, str]) -> None:
    async with dialect(None) as server:
        caller, before = Caller(server, page), content(server.store)
        for verb, rows in REQUESTS.items():
            for path in ("/keys/other/k", "/keys/other", "/keys/new"):
                for row in rows:
                    for kind in FORMS:
                        assert await caller.ask(verb, path, row, kind) in {403, 421}, (verb, path, row)
        assert content(server.store) == before
        await caller.end()
    assert PLANTED not in caller.told


@pytest.mark.parametrize("page", PAGES, ids=str)
async def test_no_page_in_a_browser_calls_a_method_of_the_store(page: dict[str, str]) -> None:
    service = StoreService()
    config = ServerConfig(protocols=("native", "http"), http=HTTP(json=True))
    # A page sends these without asking; it has to ask before it sends JSON.
    bodies = dict.fromkeys(FORMS, b"key=other%2Fk&value=eA%3D%3D")
    if page not in (OWN_PAGE, SAME_SITE):
        bodies["application/json"] = b'["other/k", "eA=="]'
    async with Server(service, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        await plant(service.local)
        before = content(service.local)
        for method in METHODS:
            for kind, body in bodies.items():
                async with await HttpClient.to(address) as client:
                    found = await client.post(f"/fastrpc.store/{method}", body, Content_Type=kind, **page)
                    assert found.status in {403, 415, 421}, (method, kind)
                    assert PLANTED not in found.body
        assert content(service.local) == before


async def test_form_sent_to_the_port_of_a_store_changes_nothing() -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server:
        async with await HttpClient.to(server.address) as client:
            client.send(sent({"request": "POST /fastrpc.store/put", "request_body": '["k", "eA=="]'}))
            assert not (await client.reader.read()).startswith(b"HTTP/1.1 2")
        async with Client(server.address) as native:
            assert await native.call(StoreService.get, "k") is None


@contextlib.asynccontextmanager
async def hosted(rules: list[dict[str, Any]]) -> AsyncIterator[tuple[StoreService, fastrpc.Address]]:
    """Serve `fastrpc.store` with rights."""
    service = service_with(rules)
    async with Server(service, authenticate=Credentials(), authorize=service.rights) as server:
        yield service, await server.listen("tcp://127.0.0.1:0")


async def called(client: Client, method: str, *arguments: Any) -> tuple[Status, str]:
    """Return the status of a call, and the text of its answer."""
    try:
        if method not in STREAMS:
            return Status.OK, repr(await client.call(f"fastrpc.store.{method}", *arguments))
        async with client.stream(f"fastrpc.store.{method}", *arguments) as messages:
            return Status.OK, repr(await anext(aiter(messages)))
    except fastrpc.FastRPCError as error:
        return error.status, f"{error!r} {getattr(error, 'details', None)!r}"


def test_every_method_of_the_store_has_a_row() -> None:
    definition = service_definition(StoreService)
    assert definition.methods.keys() == METHODS.keys()
    assert {name for name, one in definition.methods.items() if one.kind != "unary"} == STREAMS


@pytest.mark.parametrize("method", METHODS)
async def test_no_method_reads_or_writes_a_key_without_the_right(method: str) -> None:
    async with hosted(RULES) as (service, address):
        lease = await plant(service.local, ABOVE)
        before = content(service.local)
        for name, (token, expected) in CALLERS.items():
            async with Client(address, credentials=token) as client:
                for key in KEYS:
                    for arguments in METHODS[method](key, lease):
                        status, told = await called(client, method, *arguments)
                        assert status in REFUSALS[expected], (name, arguments)
                        assert PLANTED.decode() not in told, (name, arguments)
            assert content(service.local) == before, name


@pytest.mark.parametrize("method", METHODS)
async def test_same_calls_are_answered_with_the_right(method: str) -> None:
    """So that the table above fails for the right reason."""
    async with hosted(ALL) as (service, address), Client(address, credentials="allowed") as client:
        for number in range(len(METHODS[method]("", ""))):
            lease = await plant(service.local, ABOVE)
            arguments = METHODS[method]("other/" if method == "list" else "other/k", lease)[number]
            assert (await called(client, method, *arguments))[0] in ANSWERS, arguments


@pytest.mark.parametrize(
    "rules", [RULES, [{"who": ["forbidden"], "read_keys": ["**"]}]], ids=["none", "read"]
)
async def test_no_lease_without_the_right_to_write_a_key(rules: list[dict[str, Any]]) -> None:
    async with hosted(rules) as (service, address):
        for token, refusal in ((None, Status.UNAUTHENTICATED), ("forbidden", Status.PERMISSION_DENIED)):
            async with Client(address, credentials=token) as client:
                assert (await called(client, "lease", 5.0))[0] is refusal
        assert list(service.local.content.leases.all()) == []
