"""Arguments and settings that do not exist: the error names the nearest one, or says where it belongs."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    App,
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    Server,
    ServerConfig,
    Status,
    SyncClient,
    Timeouts,
    serve,
)
from fastrpc import config as settings
from tests.support.desk import Desk

NOWHERE = "tcp://127.0.0.1:9"
KINDS = pytest.mark.parametrize("kind", [Client, SyncClient])
SETTINGS = [
    kind
    for kind in (getattr(settings, name) for name in settings.__all__)
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
]


@pytest.mark.parametrize("kind", SETTINGS)
def test_each_class_of_settings_names_the_nearest_setting(kind: Any) -> None:
    for name in kind.__dataclass_fields__:
        with pytest.raises(
            TypeError, match=rf"^{kind.__name__} has no setting '{name}x' \(did you mean '{name}'"
        ):
            kind(**{f"{name}x": 1})
    with pytest.raises(
        TypeError, match=rf"^{kind.__name__} takes its settings by name: write {kind.__name__}\("
    ):
        kind(3)
    assert list(inspect.signature(kind).parameters) == list(kind.__dataclass_fields__)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: Timeouts(timeout=3), r"write Timeouts\(call=…\)"),  # type: ignore[call-arg]
        (lambda: ClientConfig(timeout=3), r"write timeouts=Timeouts\(call=…\)"),  # type: ignore[call-arg]
        (lambda: ServerConfig(timeout=3), r"@method\(timeout=…\)"),  # type: ignore[call-arg]
        (lambda: ClientConfig(message_bytes=3), r"it is a setting of Limits"),  # type: ignore[call-arg]
        (lambda: Timeouts(qqq=3), r"there are connect, .*call"),  # type: ignore[call-arg]
    ],
)
def test_a_setting_of_another_class_says_where_it_belongs(make: Callable[[], Any], advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        make()


@KINDS
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"selecter": 1}, r"did you mean 'selector'"),
        ({"failmode": 1}, r"did you mean 'fail_mode'"),
        ({"host": 1}, r"the target is the address"),
        ({"retries": 1}, r"pool=Pool\(retries=…"),
        ({"qqq": 1}, r"there are target, .*config"),
    ],
)
def test_a_client_suggests_the_right_argument(kind: Any, options: dict[str, Any], advice: str) -> None:
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\(\) has no argument .*{advice}"):
        kind(NOWHERE, **options)


@KINDS
def test_a_client_takes_one_target(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"needs a target"):
        kind()
    with pytest.raises(
        TypeError, match=r"takes one positional argument, the target, and got 2 .*all else by name"
    ):
        kind("localhost", 80)
    assert kind(target=NOWHERE).stats()


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (
            lambda: Server(Desk, address=NOWHERE),
            r"Server\(\) has no argument 'address' \(write await server\.listen",
        ),  # type: ignore[call-arg]
        (lambda: Server(Desk, workers=2), r"serve\(…, workers=…\)"),  # type: ignore[call-arg]
        (lambda: Server(Desk, interceptor=[]), r"did you mean 'interceptors'"),  # type: ignore[call-arg]
        (lambda: Server(Desk, timeout=3), r"@method\(timeout=…\)"),  # type: ignore[call-arg]
        (lambda: Server(Desk, codecs=3), r"config=ServerConfig\(codecs=…\)"),  # type: ignore[call-arg]
        (lambda: App(Desk, workers=2), r"App\(\) has no argument 'workers' \(write serve\(app"),  # type: ignore[call-arg]
        (lambda: serve(Desk, port=80), r"serve\(\) has no argument 'port' \(write address="),  # type: ignore[call-arg]
        (lambda: serve(Desk, worker=2), r"did you mean 'workers'"),  # type: ignore[call-arg]
        (lambda: serve(Desk, concurrent_calls=2), r"ServerConfig\(limits=Limits\(concurrent_calls="),  # type: ignore[call-arg]
        (lambda: fastrpc.method(idempotant=True), r"method\(\) has no argument .*did you mean 'idempotent'"),  # type: ignore[call-overload]
        (lambda: fastrpc.method(deadline=3), r"write timeout=…"),  # type: ignore[call-overload]
        (lambda: fastrpc.service("a", implement=int), r"did you mean 'implements'"),  # type: ignore[call-arg]
        (lambda: fastrpc.service("a", timeout=3), r"@method\(timeout=…\)"),  # type: ignore[call-arg]
        (
            lambda: fastrpc.subscriber("a", retries=3),
            r"subscriber\(\) has no argument 'retries' \(write deliveries=…",
        ),  # type: ignore[call-arg]
        (lambda: fastrpc.scheduled("* * * * *", zone="UTC"), r"scheduled\(\) has no argument 'zone'"),  # type: ignore[call-arg]
    ],
)
def test_other_functions_suggest_the_right_argument(make: Callable[[], Any], advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        make()


@pytest.mark.parametrize(
    "make",
    [
        partial(Client, NOWHERE),
        partial(SyncClient, NOWHERE),
        Server,
        partial(App, []),
        serve,
        fastrpc.method,
        partial(fastrpc.service, "arith"),
    ],
)
def test_an_argument_without_a_similar_name_is_a_type_error(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"\(\) has no argument 'colour'"):
        make(colour="secret")


def test_a_blocking_client_takes_no_services_and_does_not_show_the_given_value() -> None:
    with pytest.raises(ConfigError, match=r"^services is given to SyncClient, .*\(use Client\)") as refused:
        SyncClient(NOWHERE, services=["secret"])  # type: ignore[call-arg]
    assert "secret" not in str(refused.value)
    assert refused.value.hint == "leave services out"
    # One set of arguments does for both clients.
    assert SyncClient(NOWHERE, services=()).stats()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="colour"):
        SyncClient(NOWHERE, services=(), colour="red")  # type: ignore[call-arg]


def test_serve_names_an_invalid_address() -> None:
    with pytest.raises(ConfigError, match=r"5 is not an address"):
        serve(Desk, address=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"advertise is 5"):
        serve(Desk, advertise=5)  # type: ignore[arg-type]


@KINDS
@pytest.mark.parametrize("name", ["timeout", "metadata", "return_exception"])
def test_a_batch_names_arguments_that_it_does_not_have(kind: Any, name: str) -> None:
    with pytest.raises(
        TypeError, match=rf"call_many\(\) has no argument '{name}' .*with_options\({name}=…\)"
    ):
        kind(NOWHERE).call_many(Desk.mul, [(6, 7)], **{name: 1})
    with pytest.raises(TypeError, match=r"a tuple of arguments for each call, not 5: write \[\(1, 2\)"):
        kind(NOWHERE).call_many(Desk.mul, 5)


async def test_the_wrong_kind_of_with_block_names_the_right_one() -> None:
    with pytest.raises(TypeError, match=r"async with Client\(…\)"), Client(NOWHERE):  # type: ignore[attr-defined]
        pass
    with pytest.raises(TypeError, match=r"async with Server\(…\)"), Server(Desk):  # type: ignore[attr-defined]
        pass
    with pytest.raises(TypeError, match=r"`with SyncClient\(…\)`"):
        async with SyncClient(NOWHERE):  # type: ignore[attr-defined]
            pass


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: CallError(), r"needs a status and a text \(write CallError\(Status\.NOT_FOUND"),
        (
            lambda: CallError("no user", Status.ABORTED),
            r'exchanged \(write CallError\(Status\.ABORTED, "no user"\)',
        ),  # type: ignore[arg-type]
        (lambda: CallError("ABORTED", "x"), r"write Status\.ABORTED"),  # type: ignore[arg-type]
    ],
)
def test_an_error_made_with_wrong_arguments_shows_the_right_ones(
    make: Callable[[], Any], advice: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=advice):
        make()
    assert CallError(message="only a text").status is Status.UNKNOWN
