"""Scopes, routes, and the table that finds a route by the name as it lies on the wire."""

import asyncio
import collections.abc
import contextvars
import warnings
from typing import Any

import pytest

import fastrpc
from fastrpc._core.base.histogram import CallTotals, MethodCounters
from fastrpc._core.calls.call import (
    KIND_FLAGS,
    STYLES,
    Call,
    Draining,
    MethodRoute,
    RouteTable,
    current_call,
    enter_call,
    enter_scope,
    leave_scope,
)
from fastrpc._core.payload.metadata import Metadata
from fastrpc.errors import ConfigError
from fastrpc.rpc.service import method_definition
from tests.support.marshal_factory import untyped


@fastrpc.service("arith")
class Arith:
    @fastrpc.method(timeout=2.0, idempotent=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method(inline=True)
    def add(self, a: int, b: int) -> int:
        return a + b

    @fastrpc.method
    def sub(self, a: int, b: int) -> int:
        return a - b


class Named:
    """A method known by its name alone, as far as a route asks."""

    kind = "unary"
    style = "async"
    idempotent = False
    public = False
    timeout = None

    def __init__(self, name: str, *aliases: str) -> None:
        self.full_name = name
        self.aliases = aliases


def route(method: Any, **options: Any) -> MethodRoute:
    definition: Any = Named(method) if isinstance(method, str) else method_definition(method)
    return MethodRoute(definition, untyped(), MethodCounters(definition.full_name, "server"), **options)


def aliased(*names: str) -> MethodRoute:
    definition: Any = Named(*names)
    return MethodRoute(definition, untyped(), MethodCounters(names[0], "server"))


class TestRoute:
    def test_it_has_the_name_and_the_kind_of_its_method(self) -> None:
        made = route(Arith.mul)
        assert (made.method, made.kind) == ("arith.mul", "unary")
        assert made.definition is method_definition(Arith.mul)

    def test_a_client_has_neither_handler_nor_names(self) -> None:
        made = route(Arith.mul)
        assert made.handler is None
        assert made.names is None

    def test_a_server_takes_the_names_of_the_parameters(self) -> None:
        handler = Arith().mul
        made = route(Arith.mul, handler=handler)
        assert made.handler == handler
        assert made.names is not None

    def test_a_route_counts_in_the_given_totals(self) -> None:
        totals = CallTotals()
        assert route(Arith.mul, totals=totals).totals is totals
        assert route(Arith.mul).totals is not route(Arith.mul).totals

    @pytest.mark.parametrize("missing", ["marshal", "counters"])
    def test_marshal_and_counters_are_required(self, missing: str) -> None:
        parts: dict[str, Any] = {"marshal": untyped(), "counters": MethodCounters("arith.mul", "client")}
        with pytest.raises(TypeError):
            MethodRoute(method_definition(Arith.mul), **(parts | {missing: None}))

    def test_every_kind_and_every_style_is_known(self) -> None:
        assert set(KIND_FLAGS) == {"unary", "client_stream", "server_stream", "both_ways"}
        assert {method_definition(method).style for method in (Arith.mul, Arith.add, Arith.sub)} == set(
            STYLES
        )


class TestRouteTable:
    @pytest.mark.parametrize("count", [0, 1, 4, 5, 200])
    def test_each_route_is_found_by_its_name(self, count: int) -> None:
        table = RouteTable()
        routes = [route(f"service.method{number}") for number in range(count)]
        for each in routes:
            table.add(each)
        assert len(table) == count
        assert list(table) == routes
        # Twice in a row and alternately: the last one found is looked at first.
        for each in [*routes, *reversed(routes)]:
            assert table.get(each.method) is each
            assert table.get(each.method) is each
        assert table.get("service.method") is None
        assert table.get("") is None

    def test_names_that_are_not_ascii_are_found(self) -> None:
        table = RouteTable()
        table.add(route("größe.maß"))
        assert table.get("größe.maß") is not None
        assert table.get("größe.mass") is None

    def test_two_routes_of_one_name_are_refused(self) -> None:
        table = RouteTable()
        table.add(route("arith.mul"))
        with pytest.raises(ConfigError, match=r"two handlers for 'arith.mul'"):
            table.add(route("arith.mul"))
        assert len(table) == 1

    def test_an_alias_finds_the_route_of_its_method(self) -> None:
        table = RouteTable()
        routes = [aliased(f"service.method{number}", f"service.other{number}") for number in range(40)]
        table.add(*routes)
        assert len(table) == 40
        assert list(table) == routes
        for number, each in enumerate(routes):
            for _ in range(2):
                assert table.get(f"service.other{number}") is each
                assert table.get(each.method) is each
        assert table.get("service.other40") is None

    def test_a_removed_route_is_found_by_no_name(self) -> None:
        table = RouteTable()
        routes = [aliased(f"service.method{number}", f"service.other{number}") for number in range(40)]
        table.add(*routes)
        # The last one found is looked at first.
        assert table.get(routes[-1].method) is routes[-1]
        table.remove(*routes[20:])
        assert list(table) == routes[:20]
        for number, each in enumerate(routes):
            found = each if number < 20 else None
            assert table.get(each.method) is table.get(f"service.other{number}") is found
        table.remove(*routes)
        assert len(table) == 0
        assert table.get(routes[0].method) is None
        table.add(routes[0])
        assert table.get("service.other0") is routes[0]

    def test_no_route_of_a_list_with_a_clash_is_added(self) -> None:
        table = RouteTable()
        table.add(aliased("arith.mul", "arith.times"))
        for wrong in (
            aliased("arith.times"),
            aliased("arith.div", "arith.mul"),
            aliased("arith.x", "arith.times"),
        ):
            with pytest.raises(
                TypeError, match=r"'arith\.(mul|times)' is (the name|an alias) of 'arith\.mul' and"
            ):
                table.add(route("arith.first"), wrong)
        assert [each.method for each in table] == ["arith.mul"]
        assert table.get("arith.first") is None

    def test_only_routes_are_taken(self) -> None:
        for wrong in (None, "arith.mul"):
            with pytest.raises(TypeError):
                RouteTable().add(wrong)  # type: ignore[arg-type]

    def test_the_table_may_grow_while_it_is_walked(self) -> None:
        table = RouteTable()
        table.add(route("arith.mul"))
        for each in table:
            table.add(route(f"{each.method}.again"))
        assert [each.method for each in table] == ["arith.mul", "arith.mul.again"]


class TestScopes:
    def test_the_current_call_is_the_last_entered_one(self) -> None:
        outer, inner = Call(), Call()
        first = enter_call(outer)
        second = enter_call(inner)
        assert current_call() is inner
        leave_scope(second)
        assert current_call() is outer
        leave_scope(first)
        with pytest.raises(LookupError, match="inside a handler or an interceptor"):
            current_call()

    def test_a_limit_inside_a_call_keeps_the_call(self) -> None:
        call = Call()
        entered = enter_call(call)
        limited = enter_scope(1.0)
        assert current_call() is call
        leave_scope(limited)
        leave_scope(entered)

    def test_a_limit_outside_of_calls_makes_no_call(self) -> None:
        limited = enter_scope(1.0)
        with pytest.raises(LookupError):
            current_call()
        leave_scope(limited)

    def test_detached_code_has_no_call(self) -> None:
        entered = enter_call(Call())
        detached = enter_scope(None)
        with pytest.raises(LookupError):
            current_call()
        inside = enter_scope(1.0)
        with pytest.raises(LookupError):
            current_call()
        leave_scope(inside)
        leave_scope(detached)
        leave_scope(entered)

    async def test_tasks_inherit_the_call_and_change_nothing_outside(self) -> None:
        call = Call()
        entered = enter_call(call)

        async def child() -> Call:
            found = current_call()
            enter_scope(None)
            return found

        assert await asyncio.create_task(child()) is call
        assert current_call() is call
        leave_scope(entered)

    def test_a_copied_context_keeps_the_call(self) -> None:
        call = Call()
        entered = enter_call(call)
        context = contextvars.copy_context()
        leave_scope(entered)
        assert context.run(current_call) is call


class TestCall:
    def test_a_call_that_was_not_sent_has_neither_id_nor_deadline(self) -> None:
        call = Call()
        assert (call.id, call.attempt, call.deadline, call.remaining()) == (0, 0, None, None)
        assert call.kind == "unary"
        assert [call.method, call.status, call.error, call.identity, call.peer] == [None] * 5
        assert call.arguments == ()
        assert not call.cancelled

    def test_metadata_and_state_of_a_call_are_made_once(self) -> None:
        call = Call()
        assert call.metadata is call.metadata
        assert call.reply_metadata is call.reply_metadata
        assert call.state is call.state
        call.state["seen"] = True
        assert call.state == {"seen": True}

    def test_reply_metadata_may_be_set_as_a_plain_mapping(self) -> None:
        call = Call()
        call.reply_metadata = {"room": "garden", "shard-bin": b"\x07"}
        assert isinstance(call.reply_metadata, Metadata)
        assert call.reply_metadata.entries == {"room": "garden", "shard-bin": b"\x07"}
        with pytest.raises(TypeError):
            call.reply_metadata = {"room": 1}  # type: ignore[dict-item]

    def test_a_call_without_a_loop_can_await_nothing(self) -> None:
        call = Call()
        with pytest.raises(RuntimeError, match="belongs to no event loop"):
            call.sleep(0)
        with pytest.raises(RuntimeError, match="belongs to no event loop"):
            call.draining  # noqa: B018


class TestDraining:
    async def test_draining_is_done_when_its_event_is_set(self) -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(Draining(event))
        await asyncio.sleep(0)
        assert not waiting.done()
        event.set()
        assert await waiting is True
        assert await Draining(event) is True

    def test_draining_may_stay_unawaited(self) -> None:
        # A coroutine would warn here, and warnings are errors.
        Draining(asyncio.Event()).close()
        assert isinstance(Draining(asyncio.Event()), collections.abc.Coroutine)

    async def test_draining_can_be_cancelled(self) -> None:
        waiting = asyncio.create_task(Draining(asyncio.Event()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def test_draining_ends_with_an_exception_that_is_thrown_into_it(self) -> None:
        draining = Draining(asyncio.Event())
        draining.send(None)
        with pytest.raises(KeyError, match="thrown"):
            draining.throw(KeyError("thrown"))
        draining = Draining(asyncio.Event())
        draining.send(None)
        with pytest.raises(KeyError, match="thrown"), warnings.catch_warnings():
            # As a coroutine does since Python 3.12, it warns of this form.
            warnings.simplefilter("ignore", DeprecationWarning)
            draining.throw(KeyError, "thrown")
