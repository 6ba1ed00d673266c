"""Each property of a servicer's context, before and after it is set, on the loop and in threads: as in grpcio."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from tests.support.both_servers import STYLES, ask, ask_both, served
from tests.support.generated import generated

pytestmark = pytest.mark.one_loop

CODES = grpc.StatusCode
PAIRS = (("a", "b"), ("c-bin", b"\x01"))

READ = ("code", "details", "trailing_metadata", "auth_context", "peer_identities", "peer_identity_key")
#: Members of `_state`, which middleware for threads reads.
STATE = ("client", "code", "details", "trailing_metadata", "aborted")


def seen(context: Any) -> dict[str, Any]:
    """Return all that a context says of a call."""
    found = {name: getattr(context, name)() for name in READ}
    for name in ("done", "cancelled", "is_active"):
        if hasattr(context, name):
            found[name] = getattr(context, name)()
    state = getattr(context, "_state", None)
    if state is not None:
        found |= {f"_state.{name}": getattr(state, name) for name in STATE}
    return found


STATUS = SimpleNamespace(code=CODES.NOT_FOUND, details="gone", trailing_metadata=PAIRS)
BARE = SimpleNamespace(code=CODES.NOT_FOUND, details="gone", trailing_metadata=())


def set_both(context: Any) -> None:
    context.set_code(CODES.ABORTED)
    context.set_details("x")


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda context: None,
    "a status": lambda context: context.set_code(CODES.NOT_FOUND),
    "the status OK": lambda context: context.set_code(CODES.OK),
    "a status that is none": lambda context: context.set_code("none"),
    "a text": lambda context: context.set_details("grün"),
    "a status and a text": set_both,
    "metadata": lambda context: context.set_trailing_metadata(PAIRS),
    "metadata in a list": lambda context: context.set_trailing_metadata(list(PAIRS)),
    "a head": lambda context: context.send_initial_metadata(PAIRS),
    "an empty head": lambda context: context.send_initial_metadata(()),
    "an abort": lambda context: context.abort(CODES.NOT_FOUND, "gone"),
    "an abort by a status": lambda context: context.abort_with_status(STATUS),
    "an abort by a status without metadata": lambda context: context.abort_with_status(BARE),
}


def acting(style: str, name: str, action: Callable[[Any], Any]) -> Callable[[list[Any]], Any]:
    """Return a maker of a handler that notes its context before and after an action."""

    def make(notes: list[Any]) -> Any:
        async def on_loop(request: bytes, context: Any) -> bytes:
            notes.append(seen(context))
            try:
                done = action(context)
                if done is not None:
                    await done
            finally:
                notes.append(seen(context))
            return b"answer"

        async def stream_on_loop(request: bytes, context: Any) -> Any:
            yield await on_loop(request, context)

        def in_thread(request: bytes, context: Any) -> bytes:
            notes.append(seen(context))
            try:
                action(context)
            finally:
                notes.append(seen(context))
            return b"answer"

        def stream_in_thread(request: bytes, context: Any) -> Any:
            yield in_thread(request, context)

        found = {"loop": (on_loop, stream_on_loop), "thread": (in_thread, stream_in_thread)}
        return found[style][name == "stream"]

    return make


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["unary", "stream"])
@pytest.mark.parametrize("action", ACTIONS)
def test_both_kinds_of_servers_give_contexts_the_same_behaviour(style: str, name: str, action: str) -> None:
    found = ask_both(style, name, acting(style, name, ACTIONS[action]))
    assert found["ours"] == found["grpcio"]


def test_before_anything_is_set_values_are_as_in_grpcio() -> None:
    loop = ask_both("loop", "unary", acting("loop", "unary", ACTIONS["nothing"]))["ours"][1][0]
    assert (loop["code"], loop["details"], loop["trailing_metadata"]) == (None, "", ())
    thread = ask_both("thread", "unary", acting("thread", "unary", ACTIONS["nothing"]))["ours"][1][0]
    assert (thread["code"], thread["details"], thread["trailing_metadata"]) == (None, None, None)
    assert (thread["_state.client"], thread["_state.code"], thread["_state.details"]) == ("open", None, None)


@pytest.mark.parametrize("stack", ["ours", "grpcio"])
def test_middleware_may_set_the_status_by_the_state(stack: str) -> None:
    def get(request: bytes, context: Any) -> bytes:
        context._state.code = CODES.ABORTED
        context._state.details = b"by the state"
        return b""

    with served(stack, "thread", {"unary": get}) as target:
        assert ask(target, "unary")[1:3] == ("ABORTED", "by the state")


@pytest.mark.parametrize("stack", ["ours", "grpcio"])
def test_the_servicer_of_generated_code_is_unimplemented(stack: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    library: Any = {"ours": fastrpc.grpc, "grpcio": grpc}[stack]
    server = library.server(ThreadPoolExecutor(1))
    code = generated().pb2_grpc
    code.add_OrdersServicer_to_server(code.OrdersServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            code.OrdersStub(channel).Get(generated().pb2.Item(), timeout=20)
    server.stop(None).wait(20)
    assert (caught.value.code(), caught.value.details()) == (CODES.UNIMPLEMENTED, "Method not implemented!")
