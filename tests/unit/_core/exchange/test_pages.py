"""Pages and exchanges: a method that an implementation leaves out raises, and does not answer 0."""

import pytest

from fastrpc._core.exchange.exchange import Exchange, HttpApplication
from fastrpc._core.exchange.pages import Pages
from fastrpc_harness.kept_exchange import attempt_application, attempt_exchange, attempt_pages
from tests.support import widths

METHODS = {
    Exchange: (
        *("is_open", "answer", "begin_parts", "send_part", "end_parts", "cut", "abort"),
        *(
            "is_full",
            "has_output",
            "unsent",
            "await_room",
            "admit_body",
            "skip_body",
            "count_messages",
            "hold_body",
            "ask_body",
        ),
        *(
            "open_tunnel",
            "send",
            "takes_more",
            "go_on",
            "wait_by",
            "look_by",
            "count_messages",
            "note_refused",
        ),
    ),
    HttpApplication: (
        *("head_came", "request_came", "refusal_of", "request_dropped", "request_due", "room_came"),
        *(
            "exchange_over",
            "part_came",
            "body_awaited",
            "body_grew",
            "tunnel_came",
            "tunnel_due",
            "end_tunnel",
        ),
    ),
    Pages: ("join", "begin"),
}


def test_each_method_is_listed() -> None:
    for kind, methods in METHODS.items():
        assert widths.own_methods()[kind.__name__] >= set(methods)


@pytest.mark.parametrize("method", METHODS[Exchange])
def test_a_method_that_an_exchange_leaves_out_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^Exchange does not implement {method}\(\)$"):
        attempt_exchange(Exchange(), method)


@pytest.mark.parametrize("method", METHODS[HttpApplication])
def test_a_method_that_an_application_leaves_out_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^HttpApplication does not implement {method}\(\)$"):
        attempt_application(HttpApplication(), method)


@pytest.mark.parametrize("method", METHODS[Pages])
def test_a_method_that_pages_leave_out_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^Pages does not implement {method}\(\)$"):
        attempt_pages(Pages(), method)
