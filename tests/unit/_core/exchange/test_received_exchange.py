"""The steps that exchanges of all versions of HTTP have in common."""

import pytest

from fastrpc._core.exchange.received_exchange import ReceivedExchange
from fastrpc_harness.kept_exchange import attempt_exchange
from tests.support.driven_pages import served_pages


def test_a_version_of_http_implements_the_answer() -> None:
    with pytest.raises(NotImplementedError, match=r"^ReceivedExchange does not implement answer\(\)$"):
        attempt_exchange(ReceivedExchange(), "answer")


async def test_a_failed_application_that_has_begun_its_answer_ends_it_at_once() -> None:
    def fail(page: object) -> None:
        page.begin(200)  # type: ignore[attr-defined]
        raise KeyError("planted")

    async with served_pages(pages={"on_request": fail}) as link:
        answer = await link.end(link.ask("GET", "/page"))
        assert (answer.head[":status"], answer.is_ended, answer.reset) == ("200", False, 8)


async def test_a_skipped_body_is_handed_over_as_none() -> None:
    async with served_pages(pages={"takes_parts": True, "decides": True}) as link:
        stream = link.upload("/upload")
        link.send(stream, b"hello")
        await link.talk()
        link.page.skip()
        assert link.told == [("request", b"")]
