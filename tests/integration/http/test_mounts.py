"""Mounted applications in the life of a server: start, identities, limits, metrics, drain."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import HTTP, ConfigError, Identity, Limits, Server, ServerConfig, Timeouts, current_call
from fastrpc._core.base.histogram import REFUSALS, default_registry
from fastrpc.auth import Policy, StaticTokens
from fastrpc.interceptors import AccessLog
from fastrpc.limits import ConcurrencyLimit, RateLimit
from tests.support.access_records import ended, kept_records
from tests.support.http_talk import HttpClient, request, soon
from tests.support.mounted import Stock, answering, mounted, whole_body
from tests.support.spellings import other_spellings
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({"ada-token": Identity("ada"), "bob-token": Identity("bob")})
ADA = {"Authorization": "Bearer ada-token"}


@pytest.fixture
def access_records() -> Iterator[list[logging.LogRecord]]:
    yield from kept_records()


class Living:
    """An application with a lifespan, which answers with the state of its requests."""

    def __init__(self, **answers: Any) -> None:
        self.events: list[str] = []
        self._answers = answers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
            scope["state"]["pool"] = [1]
            for step in ("startup", "shutdown"):
                event = await receive()
                assert event == {"type": f"lifespan.{step}"}
                self.events.append(step)
                answer = self._answers.get(step, {"type": f"lifespan.{step}.complete"})
                if isinstance(answer, BaseException):
                    raise answer
                if answer is None:
                    await asyncio.Event().wait()
                await send(answer)
            return
        await whole_body(receive)
        self.events.append("request")
        scope["state"].setdefault("pool", []).append(2)
        scope["state"]["mine"] = True
        body = repr(scope["state"]).encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})


# Lifespan


async def test_application_starts_before_the_server_listens_and_ends_after_it() -> None:
    app = Living()
    server = Server(Stock(), config=ServerConfig(protocols=("http",), http=HTTP(mounts={"/": app})))
    address = await server.listen("tcp://127.0.0.1:0")
    assert app.events == ["startup"]
    async with await HttpClient.to(address) as client:
        await client.get("/")
    await server.drain()
    assert app.events == ["startup", "request", "shutdown"]


async def test_each_request_has_a_copy_of_the_state() -> None:
    async with mounted(Living()) as client:
        assert (await client.get("/")).body == b"{'pool': [1, 2], 'mine': True}"
        # The copy is shallow, as the specification says.
        assert (await client.get("/")).body == b"{'pool': [1, 2, 2], 'mine': True}"


@pytest.mark.parametrize(
    "answer",
    [{"type": "lifespan.startup.failed", "message": "no database"}, ValueError("no database")],
    ids=["failed", "raised"],
)
async def test_server_does_not_start_where_an_application_fails(answer: Any) -> None:
    first, second = Living(), Living(startup=answer)
    with pytest.raises(ConfigError, match="the application at / could not start: .*no database"):
        async with mounted({"/shop": first, "/": second}):
            pass
    # Applications that had started are shut down.
    assert first.events == ["startup", "shutdown"]


async def test_startup_that_hangs_can_be_cancelled() -> None:
    app = Living(startup=None)
    server = Server(Stock(), config=ServerConfig(protocols=("http",), http=HTTP(mounts={"/": app})))
    starting = asyncio.ensure_future(server.start())
    await eventually(lambda: app.events)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await server.close()


async def test_application_without_a_lifespan_is_served() -> None:
    async with mounted(answering(b"ok")) as client:
        assert (await client.get("/")).body == b"ok"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"type": "lifespan.shutdown.failed", "message": "lost it"}, "could not shut down: lost it"),
        (ValueError("lost it"), "could not shut down: ValueError: lost it"),
        (asyncio.CancelledError(), "raised CancelledError"),
        (None, "did not shut down within 0.2 s (Timeouts.drain)"),
    ],
    ids=["failed", "raised", "cancelled", "hangs"],
)
async def test_failed_shutdown_is_logged(answer: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async with mounted(Living(shutdown=answer), config={"timeouts": Timeouts(drain=0.2)}):
        pass
    assert [text in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        True
    ]


@pytest.mark.parametrize("kind", ["lifespan.shutdown.complete", "lifespan.started"])
async def test_other_answer_of_a_lifespan_is_an_error(kind: str) -> None:
    with pytest.raises(ConfigError, match=kind):
        async with mounted(Living(startup={"type": kind})):
            pass


# Identities


async def test_server_with_authentication_must_state_who_reaches_applications() -> None:
    for allowed in (None, True, False):
        config = ServerConfig(
            protocols=("http",), http=HTTP(mounts={"/": Living()}, mount_authenticated=allowed)
        )
        for authenticate in (None, TOKENS):
            server = Server(Stock(), config=config, authenticate=authenticate)
            if (authenticate is None) == (allowed is not True) or allowed is False:
                await server.listen("tcp://127.0.0.1:0")
            else:
                with pytest.raises(ConfigError, match="mount_authenticated"):
                    await server.listen("tcp://127.0.0.1:0")
            await server.close()


class Naming:
    """An application that answers with the identity and the credential that it sees."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.requests += 1
        size = len(await whole_body(receive))
        identity = scope["extensions"]["fastrpc"]["identity"]
        assert current_call().identity is identity
        credential = dict(scope["headers"]).get(b"authorization", b"")
        name = b"-" if identity is None else identity.name.encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%b %b %d" % (name, credential, size)})


async def slow_verdict(peer: Any) -> Identity | None:
    await asyncio.sleep(0.001)
    return Identity("ada") if peer.credentials == "ada-token" else None


@pytest.mark.parametrize("authenticate", [TOKENS, slow_verdict], ids=["tokens", "function"])
@pytest.mark.parametrize("size", [0, 10, 100_000])
async def test_request_without_an_identity_reaches_no_application(authenticate: Any, size: int) -> None:
    app = Naming()
    async with mounted(app, http={"mount_authenticated": True}, authenticate=authenticate) as client:
        for fields in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "token=ada-token"}):
            async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
                answer = await other.post("/x", b"x" * size, **fields)
                assert (answer.status, answer["www-authenticate"]) == (401, "Bearer")
        assert app.requests == 0
        answer = await client.post("/x", b"x" * size, **ADA)
        assert answer.body == b"ada Bearer ada-token %d" % size


async def test_credentials_are_not_verified_for_applications_that_verify_them() -> None:
    asked: list[Any] = []

    async def authenticate(peer: Any) -> Identity | None:
        asked.append(peer)
        return Identity("ada")

    app = Naming()
    async with mounted(app, http={"mount_authenticated": False}, authenticate=authenticate) as client:
        assert (await client.get("/x", Authorization="Bearer theirs")).body == b"- Bearer theirs 0"
        assert (await client.get("/x", Authorization="Bearer \xff")).body == b"- Bearer \xff 0"
        assert (await client.post("/x", b"y" * 100_000)).body == b"-  100000"
        assert asked == []
        # Methods are guarded as usual.
        assert (await client.get("/stock/count")).status == 401
        assert (await client.get("/stock/count", **ADA)).value == 0


async def test_rules_about_methods_do_not_hold_for_applications() -> None:
    app = Naming()
    policy = Policy([{"who": ["bob"], "allow": ["stock.*"]}])
    options: Any = {"authenticate": TOKENS, "authorize": policy}
    async with mounted(app, http={"mount_authenticated": True}, **options) as client:
        assert (await client.get("/x", **ADA)).body.startswith(b"ada ")
        assert (await client.get("/stock/count", **ADA)).status == 403
        assert (await client.get("/stock/count", Authorization="Bearer bob-token")).value == 0


async def test_no_spelling_of_a_path_slips_past_identity_or_policy() -> None:
    app = Naming()
    policy = Policy([{"who": ["bob"], "allow": ["stock.item"]}])
    options: Any = {"authenticate": TOKENS, "authorize": policy}
    texts = {text for text in other_spellings("stock/count") if text.isascii() and text.isprintable()}
    paths = [f"/{text.replace(' ', '%20')}" for text in sorted(texts)]
    # Each letter encoded, and in the other case.
    paths += [
        "/stock/count"[:at] + f"%{ord(letter):x}" + "/stock/count"[at + 1 :]
        for at, letter in enumerate("/stock/count")
        if at
    ]
    paths += [
        "/stock/count"[:at] + letter.upper() + "/stock/count"[at + 1 :]
        for at, letter in enumerate("/stock/count")
        if letter != "/"
    ]
    paths += [
        "/stock/count/",
        "//stock/count",
        "/./stock/count",
        "/stock//count",
        "/stock%2fcount",
        "/x/../stock/count",
    ]
    assert len(paths) >= 64
    async with mounted(app, http={"mount_authenticated": True}, **options) as client:
        for path in paths:
            async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
                assert (await other.get(path)).status in (400, 401)
        assert app.requests == 0
        for path in paths:
            async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
                answer = await other.get(path, **ADA)
                # The application, or a refusal: never the method.
                assert answer.status in (400, 403) or answer.body.startswith(b"ada "), path


# Limits, metrics, logs


async def test_limits_of_the_server_hold_for_applications() -> None:
    limits = [RateLimit(0.001, burst=2)]
    async with mounted(answering(b"ok"), limits=limits) as client:
        assert [(await client.get("/")).status for _ in range(3)] == [200, 200, 429]
        assert (await client.get("/")).value["code"] == "RESOURCE_EXHAUSTED"


async def test_limit_of_requests_in_progress_counts_until_the_application_returns() -> None:
    goes_on = asyncio.Event()
    async with mounted(answering(b"ok", then=goes_on.wait), limits=[ConcurrencyLimit(1)]) as client:
        assert (await client.get("/")).status == 200
        assert (await client.post("/", b"x" * 100_000)).status in (429, 503)
        goes_on.set()


async def test_long_request_ends_by_the_longest_call() -> None:
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await receive()
        events.append(await receive())
        try:
            await asyncio.Event().wait()
        finally:
            events.append("cancelled")

    async with mounted(app, config={"limits": Limits(longest_call=0.05)}) as client:
        answer = await client.get("/", Timeout_Ms="1")
        assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
        await eventually(lambda: len(events) == 2)
    assert events == [{"type": "http.disconnect"}, "cancelled"]


async def test_metrics_have_the_prefix_and_the_status() -> None:
    counters = default_registry.counters("_mount./v1.0", "server", "asgi")
    before = counters.snapshot()
    apps = {"/v1.0": answering(b"okay", status=404), "/": answering(b"")}
    async with mounted(apps) as client:
        await client.post("/v1.0/secret", b"abc")
        await eventually(lambda: counters.ended_calls == sum(before["calls"].values()) + 1)
    after = counters.snapshot()
    assert (after["service"], after["method"], after["protocol"]) == ("_mount", "/v1.0", "asgi")
    assert after["calls"]["NOT_FOUND"] == before["calls"].get("NOT_FOUND", 0) + 1
    assert after["received_bytes"] - before["received_bytes"] == 3
    assert after["sent_bytes"] - before["sent_bytes"] == 4


async def test_a_request_that_needs_an_identity_is_counted_as_refused() -> None:
    counters = default_registry.counters("_mount./v1.0", "server", "asgi")
    before, refused = counters.snapshot()["calls"].get("UNAUTHENTICATED", 0), REFUSALS["unauthenticated"]
    options = {"http": {"mount_authenticated": True}, "authenticate": StaticTokens({"t": Identity("ada")})}
    async with mounted({"/v1.0": answering(b"")}, **options) as client:
        assert (await client.get("/v1.0/a")).status == 401
        assert (await client.get("/v1.0/a", Authorization="Bearer wrong")).status == 401
        assert (await client.get("/v1.0/a", Authorization="Bearer t")).status == 200
    assert counters.snapshot()["calls"]["UNAUTHENTICATED"] == before + 2
    assert REFUSALS["unauthenticated"] == refused + 2


async def test_applications_are_shut_down_concurrently() -> None:
    told, ends = asyncio.Event(), []

    async def first(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        for _ in range(2):
            await receive()
        # Longer prefixes come first: the other application hears of the end while this one still runs.
        await told.wait()
        ends.append("first")

    async def second(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        for _ in range(2):
            await receive()
        told.set()
        ends.append("second")

    async with mounted({"/first": first, "/": second}, config={"timeouts": Timeouts(drain=0.01)}) as client:
        async with await HttpClient.to(client.address) as other:
            client.send(request("GET", "/first"))
            other.send(request("GET", "/"))
            running = client.server._gate  # type: ignore[attr-defined]
            await eventually(lambda: running.running == 2)
            await client.server.drain()  # type: ignore[attr-defined]
    assert ends == ["second", "first"]


async def test_access_log_has_the_request_and_interceptors_do_not_run(
    access_records: list[logging.LogRecord],
) -> None:
    ran: list[str] = []

    async def interceptor(call: Any, proceed: Any) -> Any:
        ran.append(call.method)
        return await proceed(call)

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with mounted(
        {"/v1.0": answering(b"okay", status=503)}, interceptors=[AccessLog(), interceptor]
    ) as client:
        await client.get("/v1.0/secret", X_Request_Id="mine", traceparent=trace)
        (record,) = await ended(access_records, 1)
    assert (record.service, record.method, record.status) == ("_mount", "_mount./v1.0", "UNAVAILABLE")
    assert (record.request_id, record.trace_id) == ("mine", trace[3:35])
    assert (record.bytes, ran) == (4, [])
    assert "secret" not in record.getMessage()


async def test_codecs_of_the_server_do_not_concern_applications() -> None:
    async with mounted(answering(b"ok"), config={"codecs": ("json",)}) as client:
        assert (await client.post("/", b"x")).body == b"ok"


# Drain


async def test_drain_waits_for_requests() -> None:
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await send({"type": "http.response.start", "status": 200})
        await goes_on.wait()
        await send({"type": "http.response.body", "body": b"whole"})

    async with mounted(app) as client:
        client.send(request("GET", "/"))
        server = client.server  # type: ignore[attr-defined]
        await eventually(lambda: server.stats()["live"]["calls"] == 1)
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: all(engine.is_draining for engine in server._gate.engines))
        goes_on.set()
        answer = await client.response()
        assert (answer.body, answer["connection"]) == (b"whole", "close")
        assert await draining


@pytest.mark.parametrize("has_begun", [False, True])
async def test_request_that_outlasts_the_drain_is_reported_and_then_cancelled(has_begun: bool) -> None:
    events: list[Any] = []
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await receive()
        if has_begun:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        started.set()
        events.append((await receive())["type"])
        try:
            await asyncio.Event().wait()
        finally:
            events.append("cancelled")

    async with mounted(app) as client:
        client.send(request("GET", "/"))
        await soon(started)
        assert not await client.server.drain(timeout=0.05)  # type: ignore[attr-defined]
        assert events == ["http.disconnect", "cancelled"]
        answer = await client.head()
        assert answer.status == (200 if has_begun else 503)


async def test_application_that_continues_after_its_client_left_holds_the_drain() -> None:
    goes_on, started = asyncio.Event(), asyncio.Event()
    ended_well: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        started.set()
        await goes_on.wait()
        ended_well.append(True)

    async with mounted(app) as client:
        server = client.server  # type: ignore[attr-defined]
        client.send(request("GET", "/"))
        await soon(started)
        client.writer.transport.abort()
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: server.is_draining and server.stats()["live"]["connections"] == 0)
        assert not draining.done()
        goes_on.set()
        assert await draining
    assert ended_well == [True]


# Settings


@pytest.mark.parametrize(
    ("application", "text"),
    [
        ("no_such_module:app", "there is no module 'no_such_module'"),
        ("tests.support.mounted:no_app", "has no 'no_app'"),
        ("tests.support.mounted:__all__", "it must be an ASGI application"),
        (lambda scope: None, "an application of ASGI 2, not ASGI 3"),
        (lambda environ, start_response: [], "an application of WSGI, not ASGI 3"),
        ("tests.support.mounted:", "is not an import string"),
        (lambda debug=False: Living(), "an application of no arguments, not ASGI 3"),
        (Living, "an application of no arguments, not ASGI 3"),
    ],
)
async def test_application_of_another_kind_is_refused_with_the_way_out(application: Any, text: str) -> None:
    with pytest.raises(ConfigError, match="HTTP.mounts|module|has no") as caught:
        async with mounted(application):
            pass
    assert text in caught.value.message
    assert caught.value.hint is not None or "ASGI application" in text
    assert "service" not in str(caught.value.hint)


async def test_application_is_named_by_an_import_string(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted_by_name.py").write_text(
        "class App:\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        await send({'type': 'http.response.start', 'status': 200})\n"
        "        await send({'type': 'http.response.body', 'body': b'named'})\n"
        "class Box:\n    app = App()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    async with mounted("mounted_by_name:Box.app") as client:
        assert (await client.get("/")).body == b"named"


async def test_mounts_need_http_among_the_protocols() -> None:
    with pytest.raises(ConfigError, match="HTTP is not served"):
        Server(Stock(), config=ServerConfig(http=HTTP(mounts={"/": Living()})))
