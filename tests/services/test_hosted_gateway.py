"""The gateway's own tests, by `fastrpc.asgi` in uvicorn, hypercorn and granian, alone and as a mount of FastAPI."""

import functools
from types import ModuleType
from typing import Any

import pytest

from tests.integration.http import (
    test_client_module,
    test_http_answers,
    test_http_bodies,
    test_http_browsers,
    test_http_calls,
    test_http_forms,
    test_http_gzip,
    test_http_identity,
    test_http_json_rpc,
    test_http_mistakes,
    test_http_pages,
    test_http_queries,
    test_http_routes,
    test_http_sockets,
    test_http_streams,
    test_tools,
)
from tests.integration.http.test_http_identity import authenticate as authenticate
from tests.support import described
from tests.support.hosted import HOSTS, HostedServer

MODULES: tuple[ModuleType, ...] = (
    test_client_module,
    test_http_answers,
    test_http_bodies,
    test_http_browsers,
    test_http_calls,
    test_http_forms,
    test_http_gzip,
    test_http_identity,
    test_http_json_rpc,
    test_http_mistakes,
    test_http_pages,
    test_http_queries,
    test_http_routes,
    test_http_sockets,
    test_http_streams,
    test_tools,
)


#: Tests of other things than requests by HTTP: other ways in, the start, settings of connections.
OF_SERVERS = frozenset(
    {
        "test_other_ways_in_have_neither",
        "test_other_callers_send_bytes_and_leave_the_texts_empty",
        "test_a_call_of_ours_has_no_answer_to_describe",
        "test_both_protocols_share_a_port_and_its_handlers",
        "test_http_works_over_a_unix_socket",
        "test_native_calls_are_unchanged_next_to_it",
        "test_native_calls_have_the_first_mistake_alone",
        "test_the_advertised_name_is_this_server",
        "test_a_service_has_no_name_of_a_fixed_path",
        "test_a_service_with_the_name_of_a_page_is_refused",
        "test_routes_that_fit_the_same_paths_are_refused_at_the_start",
        "test_two_methods_of_one_tool_are_refused_at_the_start_and_later",
        "test_a_socket_of_limited_age_ends_with_the_code_of_a_drain",
    }
)

#: Decisions of the outer servers: the test, and the servers that decide otherwise.
DIFFERENCES: dict[str, tuple[str, ...]] = {
    # They ask for a body before the application does.
    "test_a_caller_with_a_wrong_token_sends_no_long_body": ("hypercorn",),
    "test_a_client_that_asks_first_is_told_to_go_on_or_refused": ("hypercorn",),
    "test_a_body_is_asked_for_once_its_sender_is_known": ("hypercorn",),
    "test_a_request_without_a_body_whose_sender_is_found_out_slowly_is_answered": ("hypercorn",),
    # The connection is theirs, and so are the pieces of a message.
    "test_an_early_answer_closes_a_connection_with_unread_bytes": HOSTS,
    "test_half_a_message_outlasts_no_drain": HOSTS,
    "test_an_answer_before_the_end_of_a_file_closes": HOSTS,
    # httptools knows a few verbs; granian has no quotes in a target, and a malformed body is a client that left there.
    "test_another_verb_is_refused_with_what_is_allowed": ("uvicorn",),
    "test_arguments_stand_in_the_query": ("granian",),
    "test_queries_that_do_not_fit_are_refused": ("granian",),
    "test_a_malformed_chunk_cancels_the_call": ("granian",),
    # An answer to HTTP/1.0 has chunks or another version, one to HEAD no Transfer-Encoding.
    "test_old_clients_close_after_an_answer": ("granian",),
    "test_an_old_client_gets_the_head_of_a_stream": ("granian",),
    "test_an_old_client_gets_a_stream_to_the_end_of_the_connection": ("uvicorn", "granian"),
    "test_a_head_of_a_stream_equals_its_get_and_starts_no_handler": ("uvicorn", "granian"),
}

#: Single cases that the outer servers decide: the values of the test's parameters.
CASES: dict[str, Any] = {
    # A malformed chunk ends in the outer server.
    "test_the_refusal_of_a_broken_request_is_read_by_the_page_that_may_call": test_http_browsers.BROKEN[1],
    "test_an_id_of_a_request_that_is_refused_is_answered": test_http_browsers.BROKEN[1],
    # Most of them take no HTTP/2 without TLS.
    "test_calls_of_a_batch_that_outlast_their_client_leave_nothing": "2",
}

#: The tests that `make services` runs in servers without FastAPI; the other tests run in `make soak`.
ALWAYS = frozenset({"TestHttpSockets", "TestHttpStreams", "TestTools"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    differ = DIFFERENCES.get(metafunc.function.__name__, ())
    is_chosen = metafunc.cls is not None and metafunc.cls.__name__ in ALWAYS
    alone = [host for host in HOSTS if host not in differ]
    mounted = [f"{host}-mounted" for host in alone]
    rare = mounted if is_chosen else [*alone, *mounted]
    given: list[Any] = [*alone] if is_chosen else []
    given += [pytest.param(around, marks=pytest.mark.conformance) for around in rare]
    metafunc.parametrize("around", given, indirect=True)


@pytest.fixture(autouse=True)
def around(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server of another kind in place of ours."""
    name, _, mount = request.param.partition("-")
    served = type("Hosted", (HostedServer,), {"host": name, "is_mounted": bool(mount)})
    for module in (*MODULES, described):
        if hasattr(module, "Server"):
            monkeypatch.setattr(module, "Server", served)


def _tests_of(module: ModuleType) -> dict[str, Any]:
    return {
        name: staticmethod(_without(found, CASES[name]) if name in CASES else found)
        for name, found in vars(module).items()
        if name.startswith("test_")
        and getattr(found, "__module__", None) == module.__name__
        and name not in OF_SERVERS
        and DIFFERENCES.get(name) != HOSTS
    }


def _without(test: Any, case: Any) -> Any:
    """Return a test without one of its cases."""

    @functools.wraps(test)
    async def left(**arguments: Any) -> None:
        await test(**arguments)

    (cases,) = test.pytestmark
    names, values = cases.args
    assert case in values
    left.pytestmark = [pytest.mark.parametrize(names, [one for one in values if one != case]).mark]  # type: ignore[attr-defined]
    return left


for one in MODULES:
    title = "".join(part.title() for part in one.__name__.rpartition(".")[2].split("_"))
    globals()[title] = type(title, (), _tests_of(one))
