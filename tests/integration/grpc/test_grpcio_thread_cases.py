"""The cases of grpcio's own tests for threads, rewritten, by name: each ends with ours as with grpcio.

They are in _rpc_part_1_test.py, _rpc_part_2_test.py, _metadata_code_details_test.py, _channel_close_test.py,
_abort_test.py, _empty_message_test.py, _error_message_encoding_test.py, _invocation_defects_test.py and
_server_wait_for_termination_test.py of src/python/grpcio_tests/tests/unit.
"""

import gc
import threading
from asyncio import InvalidStateError
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from tests.support.blocked_handlers import RESPONSE, WAIT, Blocked

pytestmark = pytest.mark.one_loop

REQUEST = b"\x00\x00\x00"
MESSAGES = 5
LIBRARIES = {"ours": fastrpc.grpc, "grpcio": grpc}
KINDS = {"unary": "unary_unary", "stream": "unary_stream", "total": "stream_unary", "talk": "stream_stream"}

Outcome = Any
Case = Callable[[Any], Outcome]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[f"test_{function.__name__}"] = function
    return function


def unary(request: bytes, context: Any) -> bytes:
    return RESPONSE


def some(request: bytes, context: Any) -> Iterator[bytes]:
    for _ in range(MESSAGES):
        yield RESPONSE


def total(requests: Any, context: Any) -> bytes:
    return b"%d" % len(list(requests))


def echo(requests: Any, context: Any) -> Iterator[bytes]:
    yield from requests


def fail(request: Any, context: Any) -> Any:
    raise RuntimeError("a mistake")


USUAL = {"unary": unary, "stream": some, "total": total, "talk": echo}


class Methods:
    """The methods of the service, and the channel and server that they use."""

    def __init__(self, channel: Any, server: Any) -> None:
        self.channel = channel
        self.server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, KINDS[name])(f"/test/{name}")


@contextmanager
def served(library: Any, blocked: Blocked | None = None, **functions: Any) -> Iterator[Methods]:
    """Serve functions by their kinds; yield the methods of a channel."""
    with ThreadPoolExecutor(4) as pool:
        server = library.server(pool)
        handlers = {
            name: getattr(grpc, f"{KINDS[name]}_rpc_method_handler")(function)
            for name, function in (USUAL | functions).items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with library.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Methods(channel, server)
        finally:
            if blocked is not None:
                blocked.end.set()
            server.stop(None).wait(WAIT)


def ended(function: Callable[..., Any], *arguments: Any, **named: Any) -> Outcome:
    """Return the result of a function, or the text of its error."""
    try:
        return function(*arguments, **named)
    except grpc.RpcError as error:
        return isinstance(error, grpc.Call), error.code().name, error.details()
    except Exception as error:
        return type(error).__name__


# _rpc_part_1_test.py, _rpc_part_2_test.py


@case
def successful_unary_request_blocking_unary_response(library: Any) -> Outcome:
    with served(library) as test:
        answer, call = test.unary.with_call(REQUEST, metadata=(("test", "value"),))
        return test.unary(REQUEST), answer, call.code().name, call.details(), tuple(call.initial_metadata())


@case
def successful_unary_request_future_unary_response(library: Any) -> Outcome:
    with served(library) as test:
        future = test.unary.future(REQUEST)
        answer = future.result(), future.code().name, future.exception(), future.traceback()
        return answer, future.done(), future.running(), future.cancelled(), future.cancel()


@case
def successful_unary_request_stream_response(library: Any) -> Outcome:
    with served(library) as test:
        messages = test.stream(REQUEST)
        return list(messages), messages.code().name, messages.details()


@case
def successful_stream_request_unary_response(library: Any) -> Outcome:
    with served(library) as test:
        answer, call = test.total.with_call(iter([REQUEST] * MESSAGES))
        future = test.total.future(iter([REQUEST] * MESSAGES))
        return test.total(iter([REQUEST])), answer, call.code().name, future.result(), future.exception()


@case
def successful_stream_request_stream_response(library: Any) -> Outcome:
    with served(library) as test:
        messages = test.talk(iter([REQUEST] * MESSAGES))
        return list(messages), messages.code().name


@case
def concurrent_invocations(library: Any) -> Outcome:
    with served(library) as test:
        futures = [test.total.future(iter([REQUEST] * count)) for count in range(20)]
        return [future.result() for future in futures]


@case
def cancelled_unary_request_unary_response(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, unary=blocked.unary) as test:
        future = test.unary.future(REQUEST)
        blocked.begun.wait(WAIT)
        cancelled = future.cancel(), future.cancelled(), future.done(), future.running()
        ends = [ended(one) for one in (future.result, future.exception, future.traceback)]
        return cancelled, ends, future.code().name, future.details()


@case
def cancelled_unary_request_stream_response(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, stream=blocked.stream) as test:
        messages = test.stream(REQUEST)
        first = next(messages), messages.cancel()
        return first, ended(next, messages), messages.code().name, messages.cancelled(), messages.is_active()


@case
def expired_unary_request_blocking_unary_response(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, unary=blocked.unary) as test:
        with pytest.raises(grpc.RpcError) as caught:
            test.unary(REQUEST, timeout=0.1)
        error = caught.value
        return error.code().name, isinstance(error, grpc.Call), tuple(error.trailing_metadata())


@case
def expired_unary_request_future_unary_response(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, unary=blocked.unary) as test:
        future = test.unary.future(REQUEST)
        late = ended(future.result, timeout=0.01), ended(future.exception, timeout=0.01)
        blocked.end.set()
        return late, future.result(timeout=WAIT)


@case
def failed_unary_request_future_unary_response(library: Any) -> Outcome:
    told = threading.Event()
    with served(library, unary=fail) as test:
        future = test.unary.future(REQUEST)
        future.add_done_callback(lambda _: told.set())
        error = future.exception()
        facts = future.code().name, error.code().name, isinstance(error, grpc.RpcError), future.done()
        return facts, ended(future.result)[:2], told.wait(WAIT), future.cancelled()


@case
def failed_streams(library: Any) -> Outcome:
    with served(library, stream=fail, total=fail, talk=fail) as test:
        found = [ended(list, test.stream(REQUEST))[:2], ended(test.total, iter([REQUEST]))[:2]]
        return [*found, ended(list, test.talk(iter([REQUEST])))[:2]]


@case
def ignored_responses(library: Any) -> Outcome:
    with served(library) as test:
        test.unary.future(REQUEST)
        test.stream(REQUEST)
        test.talk(iter([REQUEST]))
        return test.unary(REQUEST)


# _metadata_code_details_test.py, _abort_test.py, _error_message_encoding_test.py, _empty_message_test.py


@case
def custom_code_and_details(library: Any) -> Outcome:
    def tell(request: bytes, context: Any) -> bytes:
        context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last", "2"),))
        if request:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("grün\n☺")
        return RESPONSE

    with served(library, unary=tell) as test:
        found: list[Any] = []
        for request in (b"", REQUEST):
            future = test.unary.future(request)
            found.append((future.code().name, future.details(), tuple(future.initial_metadata())))
            found.append(tuple(future.trailing_metadata()))
        return found, ended(test.unary, REQUEST)


@case
def code_details_and_a_mistake(library: Any) -> Outcome:
    def tell(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("details")
        raise RuntimeError("a mistake")

    with served(library, unary=tell) as test:
        return ended(test.unary, REQUEST)


@case
def abort(library: Any) -> Outcome:
    def end(request: bytes, context: Any) -> bytes:
        context.abort(
            grpc.StatusCode.INTERNAL,
            "enough",
        ) if request else context.abort(grpc.StatusCode.OK, "")
        raise AssertionError("it goes on behind abort")

    with served(library, unary=end) as test:
        return ended(test.unary, REQUEST), ended(test.unary, b"")[:2]


@case
def empty_messages(library: Any) -> Outcome:
    def same(request: bytes, context: Any) -> bytes:
        return request

    with served(library, unary=same) as test:
        return test.unary(b""), list(test.talk(iter([b"", b""])))


# _invocation_defects_test.py


@case
def iterators_that_fail(library: Any) -> Outcome:
    def requests() -> Iterator[bytes]:
        yield REQUEST
        raise RuntimeError("a mistake")

    with served(library) as test:
        return ended(test.total, requests())[:2], ended(list, test.talk(requests()))[:2]


@case
def iterators_that_fail_as_calls_do(library: Any) -> Outcome:
    def requests(error: Exception) -> Iterator[bytes]:
        yield REQUEST
        raise error

    errors = grpc.RpcError("another call"), InvalidStateError("another future"), CancelledError()
    with served(library) as test:
        return [
            (ended(test.total.future(requests(error)).result, WAIT), ended(list, test.talk(requests(error))))
            for error in errors
        ]


@case
def no_iterator_at_all(library: Any) -> Outcome:
    with served(library) as test:
        return ended(test.total, 42)[:2], ended(list, test.talk(object()))[:2]


# _channel_close_test.py, _server_wait_for_termination_test.py


@case
def close_immediately_after_call_invocation(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, unary=blocked.unary) as test:
        method, future = test.unary, test.unary.future(REQUEST)
        messages = test.talk(iter([REQUEST]))
        test.channel.close()
        return future.code().name, future.cancelled(), messages.code().name, ended(method, REQUEST)


@case
def close_while_a_call_is_read(library: Any) -> Outcome:
    blocked = Blocked()
    with served(library, blocked, stream=blocked.stream) as test:
        messages = test.stream(REQUEST)
        next(messages)
        closing = threading.Timer(0.02, test.channel.close)
        closing.start()
        found = ended(next, messages)[:2], messages.code().name
        closing.join()
        return found


def close(channel: Any) -> bool:
    """Close a channel in a thread that a deadlock does not hold up; return whether it ended."""
    closing = threading.Thread(target=channel.close, daemon=True)
    closing.start()
    closing.join(WAIT)
    return not closing.is_alive()


@case
def close_with_callbacks_that_ask_for_the_result(library: Any) -> Outcome:
    blocked = Blocked()
    told: SimpleQueue[Any] = SimpleQueue()
    with served(library, blocked, unary=blocked.unary, stream=blocked.stream) as test:
        for call in (test.unary.future(REQUEST), test.stream(REQUEST)):
            call.add_done_callback(
                lambda done: told.put((done.exception().code().name, ended(done.result)[:2]))
            )
            call.add_callback(lambda: told.put("called"))
        is_closed = close(test.channel)
        return is_closed, sorted([told.get(timeout=WAIT) for _ in range(4)], key=str)


@case
def close_behind_streams_that_ended(library: Any) -> Outcome:
    with served(library, total=fail) as test:
        whole, some_read, failed = test.stream(REQUEST), test.stream(REQUEST), test.total.future(iter([]))
        read = list(whole), next(some_read), ended(failed.result)[:2]
        test.channel.close()
        told: list[Any] = []
        for call in (whole, some_read, failed):
            call.add_done_callback(lambda done: told.append(done.code().name))
        ends = [ended(one) for one in (whole.result, whole.exception, whole.traceback)]
        parts = ended(next, some_read)[:2], ended(some_read.result)[:2], some_read.exception().code().name
        return read, ends, ended(next, whole), parts, failed.exception().code().name, told


# Functions that the program gives to a channel


@case
def done_callbacks_ask_their_call(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()

    def tell(done: Any) -> None:
        facts = done.code().name, done.details(), tuple(done.trailing_metadata())
        told.put((facts, done.exception() is None))

    def refuse(requests: Any, context: Any) -> bytes:
        context.set_trailing_metadata((("last", "2"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no tea")
        return RESPONSE

    with served(library, total=refuse) as test:
        test.unary.future(REQUEST).add_done_callback(tell)
        first = told.get(timeout=WAIT)
        test.total.future(iter([REQUEST])).add_done_callback(tell)
        return first, told.get(timeout=WAIT)


@case
def done_callbacks_make_calls(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()
    with served(library) as test:

        def call_again(done: Any) -> None:
            told.put((done.code().name, test.unary(REQUEST)))

        test.total.future(iter([REQUEST])).add_done_callback(call_again)
        return told.get(timeout=WAIT)


@case
def done_callbacks_of_calls_that_are_dropped(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()
    blocked = Blocked()

    def late(requests: Any, context: Any) -> bytes:
        list(requests)
        return blocked.unary(b"", context)

    with served(library, blocked, total=late) as test:
        test.total.future(iter([REQUEST])).add_done_callback(
            lambda done: told.put((done.code().name, done.result()))
        )
        blocked.begun.wait(WAIT)
        gc.collect()
        blocked.end.set()
        return told.get(timeout=WAIT)


@case
def done_callbacks_that_fail(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()
    blocked = Blocked()
    with served(library, blocked, unary=blocked.unary) as test:
        future = test.unary.future(REQUEST)
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda done: told.put(done.result()))
        blocked.end.set()
        return told.get(timeout=WAIT), test.unary(REQUEST)


@case
def connectivity_callbacks_make_calls_and_unsubscribe(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()
    with served(library) as test:

        def tell(state: Any) -> None:
            test.channel.unsubscribe(tell)
            told.put((state.name, test.unary(REQUEST)))

        test.channel.subscribe(tell)
        return told.get(timeout=WAIT), close(test.channel), told.empty()


@case
def done_callbacks_wait_for_a_connection(library: Any) -> Outcome:
    told: SimpleQueue[Any] = SimpleQueue()
    with served(library) as test:

        def wait(_: Any) -> None:
            told.put(grpc.channel_ready_future(test.channel).result(WAIT))

        test.unary.future(REQUEST).add_done_callback(wait)
        return told.get(timeout=WAIT)


@case
def failed_streams_as_futures(library: Any) -> Outcome:
    with served(library, stream=fail) as test:
        failed, whole = test.stream(REQUEST), test.talk(iter([REQUEST]))
        read = ended(list, failed)[:2], list(whole)
        return read, ended(failed.result)[:2], failed.exception().code().name, whole.result()


@case
def unblock_by_invoking_stop(library: Any) -> Outcome:
    with served(library) as test:
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(test.server.wait_for_termination()))
        thread.start()
        test.server.stop(None).wait(WAIT)
        thread.join(WAIT)
        return waited, test.server.wait_for_termination(timeout=WAIT)


@case
def unblock_by_timeout(library: Any) -> Outcome:
    with served(library) as test:
        return test.server.wait_for_termination(timeout=0.01)


@pytest.mark.parametrize("name", CASES)
def test_it_ends_as_with_grpcio(name: str) -> None:
    outcomes = {stack: CASES[name](library) for stack, library in LIBRARIES.items()}
    assert outcomes["ours"] == outcomes["grpcio"]
