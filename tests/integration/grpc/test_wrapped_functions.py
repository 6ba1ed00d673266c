"""The warning of programs whose tracing wraps functions of grpcio, which servers and channels of ours never call."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

import fastrpc.grpc
from fastrpc.grpc import aio, instrumentation

pytestmark = pytest.mark.one_loop

LIBRARY = "opentelemetry.instrumentation.grpc"
TARGET = "127.0.0.1:1"


def replaced(function: Any) -> Any:
    """Return a function in the place of one, as OpenTelemetry's instrumentors of servers and of grpc.aio make it."""

    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    wrapper.__module__ = LIBRARY
    return wrapper


def wrapped(function: Any) -> Any:
    """Return a wrapper that shows the module of its wrapped function, as its instrumentor of channels makes it."""
    return functools.wraps(function)(lambda *args, **named: function(*args, **named))


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrumentation, "_told", set())
    return


#: By function of grpcio: its wrapper, the maker of its counterpart, and the interceptor that the warning names.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], str]] = {
    "server": (
        replaced,
        lambda: fastrpc.grpc.server(ThreadPoolExecutor(1)),
        f"{LIBRARY}.server_interceptor()",
    ),
    "insecure_channel": (
        wrapped,
        lambda: fastrpc.grpc.insecure_channel(TARGET).close(),
        f"{LIBRARY}.client_interceptor()",
    ),
    "secure_channel": (
        wrapped,
        lambda: fastrpc.grpc.secure_channel(TARGET, fastrpc.TLS()).close(),
        f"{LIBRARY}.client_interceptor()",
    ),
    "aio.server": (replaced, aio.server, f"{LIBRARY}.aio_server_interceptor()"),
    "aio.insecure_channel": (
        replaced,
        lambda: aio.insecure_channel(TARGET),
        f"{LIBRARY}.aio_client_interceptors()",
    ),
    "aio.secure_channel": (
        replaced,
        lambda: aio.secure_channel(TARGET, fastrpc.TLS()),
        f"{LIBRARY}.aio_client_interceptors()",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_the_first_one_warns_and_names_the_interceptor(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrap, make, interceptor = FUNCTIONS[name]
    module: Any = grpc.aio if name.startswith("aio.") else grpc
    attribute = name.rpartition(".")[2]
    monkeypatch.setattr(module, attribute, wrap(getattr(module, attribute)))
    for _ in range(2):
        made = make()
        if isinstance(made, grpc.aio.Channel):
            await made.close()
    found = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(found) == 1
    assert found[0].getMessage().startswith(f"grpc.{name} is wrapped")
    assert interceptor in found[0].getMessage()


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_without_a_wrapper_nothing_is_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = FUNCTIONS[name][1]()
    if isinstance(made, grpc.aio.Channel):
        await made.close()
    assert not caplog.records


async def test_no_warning_is_logged_if_a_program_uses_our_replacement(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(grpc.aio, "server", aio.server)
    aio.server()
    assert not caplog.records


async def test_no_warning_is_logged_if_the_interceptor_of_that_library_is_given(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Tracing(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            return await continuation(details)

    Tracing.__module__ = f"{LIBRARY}._aio_server"
    monkeypatch.setattr(grpc.aio, "server", replaced(grpc.aio.server))
    aio.server(interceptors=[Tracing()])
    assert not caplog.records


def test_a_module_of_grpcio_that_could_not_be_imported_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    from fastrpc.grpc.contexts import LoopContext, ThreadContext
    from fastrpc.grpc.serving import Servicing

    monkeypatch.setitem(sys.modules, "grpc", None)  # type: ignore[arg-type]
    now = Servicing.now()
    assert (now.loop_context, now.thread_context) == (LoopContext, ThreadContext)
