"""A Consul agent that is faked or foreign: discovery keeps its list, and recovers by itself."""

import json
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, Status, StoreError, watched_file
from fastrpc.registries import open_registry
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.consul.agent import AgentAccess
from fastrpc.registries.consul.catalogue import ConsulCatalogue
from fastrpc.registries.consul.rpcx import RpcxKeys
from tests.support.hostile_http import HostileHttpServer, Reply, answer, dripping

ENDPOINT = Endpoint("tcp://127.0.0.1:1001")

INSTANCES = [{"Node": {"Address": "127.0.0.1"}, "Service": {"ID": "a", "Address": "127.0.0.1", "Port": 1001}}]
PAIRS = [{"Key": "rpcx/arith/tcp@127.0.0.1:1001", "Value": None}]

#: The data that each layout reads from an agent in good health.
LAYOUTS = {"catalogue": INSTANCES, "rpcx": PAIRS}

#: Texts that are JSON of the wrong type, or no JSON.
WRONG = {
    "null": b"null",
    "null with spaces": b" null\n",
    "a number": b"5",
    "a text": b'"[]"',
    "true": b"true",
    "false": b"false",
    "zero": b"0",
    "an empty text": b'""',
    "an object": b"{}",
    "a page": b"<html>\x1b]0;owned\x07</html>",
    "nothing": b"",
    "half": b"[{",
    "no UTF-8": b'["\xff"]',
    "nested": b"[" * 200_000,
    "many": b"[" + b"{}," * 2_000_000 + b"{}]",
}


def opened(server: HostileHttpServer, options: str = "") -> Any:
    return open_registry(f"consul://{server.place}?{options}")


def hostile(name: str) -> Reply:
    return answer(WRONG[name])


def backend_of(server: HostileHttpServer, layout: str) -> Any:
    access = AgentAccess(RegistryURL(f"consul://{server.place}"))
    if layout == "rpcx":
        return RpcxKeys(access, base="rpcx")
    return ConsulCatalogue(access, tags=[], check="tcp", ttl_seconds=10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", WRONG)
def test_list_of_a_wrong_type_is_an_error(name: str, layout: str) -> None:
    with HostileHttpServer(hostile(name), answer(LAYOUTS[layout])) as server:
        lookup = backend_of(server, layout).open_lookup("arith")
        with pytest.raises(StoreError) as caught:
            lookup.fetch(0.0)
        assert len(lookup.fetch(0.0).entries) == 1
        lookup.close()
    assert caught.value.status is Status.UNAVAILABLE
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("layout", LAYOUTS)
def test_null_is_no_empty_list(layout: str) -> None:
    with HostileHttpServer(answer(LAYOUTS[layout]), answer(None)) as server:
        with opened(server, f"layout={layout}") as registry, registry.watch("arith") as watch:
            assert watch.wait(10).endpoints
            # A second look at an empty list would come 0.4 s after the first.
            assert watch.wait(2.0) is None
            assert isinstance(watch.error, StoreError)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_discovery_begins_by_itself_after_every_kind_of_bad_answer(
    layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        answer(b"", status="302 Found", Location="http://127.0.0.1:1/"),
        answer(b"", status="500 \x1b[31m"),
        answer(b"\x1b]0;owned\x07\xe2\x80\xae", status="403 Forbidden"),
        answer(b"", status="204 No Content"),
        answer([], X_Consul_Index="abc"),
        answer([], X_Consul_Index=""),
        lambda: iter([b"HTTP/1.1 200 OK\r\n\r\n[]"]),
        *map(hostile, WRONG),
    ]
    # A gap between two answers grows with each failure: several in one row would only be slower.
    with ExitStack() as stack:
        watches = []
        for one in bad:
            server = stack.enter_context(HostileHttpServer(one, answer(LAYOUTS[layout])))
            registry = stack.enter_context(opened(server, f"layout={layout}"))
            watches.append(stack.enter_context(registry.watch("arith")))
        assert [len(watch.wait(10).endpoints) for watch in watches] == [1] * len(bad)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == len(bad)
    assert [text for text in messages if not text.isprintable()] == []
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.measures
@pytest.mark.parametrize("begin", [b"H", b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\n\r\n["])
def test_answer_that_drips_does_not_silence_discovery(begin: bytes) -> None:
    good = answer(INSTANCES)
    more = [*INSTANCES, {"Service": {"ID": "b", "Address": "127.0.0.1", "Port": 1002}}]
    with HostileHttpServer(good, dripping(begin), answer(more)) as server:
        with opened(server) as registry, registry.watch("arith") as watch:
            assert len(watch.wait(10).endpoints) == 1
            started = time.monotonic()
            assert len(watch.wait(30).endpoints) == 2
            assert time.monotonic() - started < 8


@pytest.mark.parametrize("options", ["", "layout=rpcx&"])
def test_redirect_takes_the_token_nowhere(options: str) -> None:
    with HostileHttpServer(answer(INSTANCES)) as other:
        redirect = answer(b"", status="307 Temporary Redirect", Location=f"http://{other.place}/v1/x")
        with HostileHttpServer(redirect) as server:
            with opened(server, f"{options}token=secret") as registry:
                registration = registry.register("arith", ENDPOINT)
                with registration, registry.watch("arith") as watch:
                    assert not registration.is_registered
                    assert "redirects are not followed" in str(registration.error)
                    assert watch.wait(1.5) is None
                    assert "redirects are not followed" in str(watch.error)
                with pytest.raises(StoreError, match="redirects are not followed"):
                    registry.services()
        assert all("X-Consul-Token: secret" in request for request in server.requests)
        assert other.requests == []


def test_a_token_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read"):
        open_registry(f"consul://127.0.0.1:1?token_file={file}")
    file.write_text("first\n")
    with pytest.raises(ConfigError, match="token and token_file are both given"):
        open_registry(f"consul://127.0.0.1:1?token_file={file}&token=second")
    with HostileHttpServer(answer({})) as server, opened(server, f"token_file={file}") as registry:
        for token in ("first", "second"):
            file.write_text(token)
            registry.services()
            assert f"X-Consul-Token: {token}" in server.requests[-1].splitlines()
            assert "of-the-environment" not in server.requests[-1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("body", [b"null", b"5", b'{"a": null}', b'{"a": "tag"}', b"[[]]", b"<html>"])
def test_names_of_services_of_a_wrong_type_are_an_error(layout: str, body: bytes) -> None:
    with HostileHttpServer(answer(body)) as server, opened(server, f"layout={layout}") as registry:
        with pytest.raises(StoreError) as caught:
            registry.services()
        assert caught.value.status is Status.UNAVAILABLE


def test_one_bad_instance_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    bad: list[Any] = [
        None,
        5,
        [],
        {"Service": None},
        {"Service": {"ID": "\x1b[2J", "Address": "127.0.0.1", "Port": "80"}},
        {"Service": {"ID": "\u202eevil", "Address": "127.0.0.1", "Port": 80, "Meta": {"weight": "\x1b"}}},
        {"Service": {"ID": "m", "Address": "127.0.0.1", "Port": 80, "Meta": {"zone": "\x9b31m"}}},
        {"Service": {"ID": "t", "Address": "127.0.0.1", "Port": True}},
    ]
    with HostileHttpServer(answer([*bad, *INSTANCES])) as server, opened(server) as registry:
        with registry.watch("arith") as watch:
            assert watch.wait(10).endpoints == (ENDPOINT,)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(bad)
    assert [text for text in messages if not text.isprintable()] == []


@pytest.mark.parametrize("identity", [5, None, "", "../../agent/leave", "a b", "x" * 65, ["a"]])
def test_session_of_a_wrong_type_is_an_error(identity: Any) -> None:
    with HostileHttpServer(answer(True), answer({"ID": identity})) as server:
        backend = backend_of(server, "rpcx")
        with pytest.raises(StoreError):
            backend.open_lease("arith", ENDPOINT).acquire()
        backend.close()


@pytest.mark.parametrize("taken", ["true", 1, [], {}, b"null"])
def test_key_is_ours_only_if_the_agent_says_true(taken: Any) -> None:
    with HostileHttpServer(answer(True), answer({"ID": "session"}), answer(taken)) as server:
        backend = backend_of(server, "rpcx")
        with pytest.raises(StoreError):
            backend.open_lease("arith", ENDPOINT).acquire()
        backend.close()


def test_key_of_an_earlier_run_is_taken_over_in_its_datacenter_or_later() -> None:
    locked = answer({"Results": None, "Errors": [{"What": "invalid session"}]}, status="409 Conflict")
    with HostileHttpServer(answer(True), answer({"ID": "session"}), answer(False), locked) as server:
        backend = RpcxKeys(AgentAccess(RegistryURL(f"consul://{server.place}?dc=far")), base="rpcx")
        with pytest.raises(StoreError, match="invalid session") as caught:
            backend.open_lease("arith", ENDPOINT).acquire()
        backend.close()
    assert caught.value.status is Status.UNAVAILABLE
    assert server.requests[-1].startswith("PUT /v1/txn?dc=far HTTP")


@pytest.mark.parametrize(
    "definition", [b"null", [], 5, {"ID": 5, "Port": 1}, {"Port": 1}, {"ID": "a", "Meta": []}]
)
def test_instance_that_is_looked_up_is_checked_field_by_field(definition: Any) -> None:
    with HostileHttpServer(answer(definition)) as server:
        backend = backend_of(server, "catalogue")
        with pytest.raises(StoreError):
            backend.open_lease("arith", ENDPOINT).renew()
        backend.close()


@pytest.mark.measures
def test_agent_that_never_answers_does_not_delay_closing() -> None:
    with HostileHttpServer(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as server:
        registry = opened(server)
        watch = registry.watch("arith")
        while not server.requests:
            watch.wait(0.01)
        started = time.monotonic()
        registry.close()
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("token", ["a%0d%0aX-Evil:%201", "%00", "%1b", "%C3%A9"])
def test_token_that_no_header_can_hold_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ConfigError, match="the token has characters") as caught:
        open_registry(f"consul://127.0.0.1:1?token={token}")
    assert "Evil" not in str(caught.value)


def test_list_as_large_as_may_be_is_read() -> None:
    meta = {f"label-{number}": "x" * 40 for number in range(10)}
    services = [
        {"Service": {"ID": f"i{port}", "Address": "127.0.0.1", "Port": port, "Meta": meta}}
        for port in range(1, 10_001)
    ]
    body = json.dumps(services).encode()
    assert len(body) > 5_000_000
    with HostileHttpServer(answer(body)) as server, opened(server) as registry:
        with registry.watch("arith") as watch:
            assert len(watch.wait(30).endpoints) == 10_000
