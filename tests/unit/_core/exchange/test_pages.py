"""Pages and exchanges: a method that an implementation leaves out raises, and does not answer 0."""

import pytest

from fastrpc._core.exchange.exchange import Exchange, HttpApplication
from fastrpc._core.exchange.pages import Pages
from fastrpc_harness.kept_exchange import attempt_application, attempt_exchange, attempt_pages
from tests.support import widths

PAGES = ("join", "begin", "answer", "fail", "refuse", "judged")


def methods_of(kind: type) -> list[str]:
    """Return the methods of an interface, without the inline ones."""
    return sorted(widths.own_methods()[kind.__name__] - {"engine", "date"})


@pytest.mark.parametrize("method", methods_of(Exchange))
def test_a_method_that_an_exchange_leaves_out_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^Exchange does not implement {method}\(\)$"):
        attempt_exchange(Exchange(), method)


@pytest.mark.parametrize("method", methods_of(HttpApplication))
def test_a_method_that_an_application_leaves_out_raises(method: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"^HttpApplication does not implement {method}\(\)$"):
        attempt_application(HttpApplication(), method)


@pytest.mark.parametrize("method", PAGES)
def test_a_method_that_pages_leave_out_raises(method: str) -> None:
    assert set(methods_of(Pages)) == set(PAGES)
    with pytest.raises(NotImplementedError, match=rf"^Pages does not implement {method}\(\)$"):
        attempt_pages(Pages(), method)
