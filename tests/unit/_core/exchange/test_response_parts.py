"""The parts of responses that all versions of HTTP have in common."""

import email.utils
import re

from tests.support.driven_pages import served_pages


async def test_a_date_has_the_form_of_a_field() -> None:
    """RFC 9110, section 5.6.7."""
    async with served_pages() as link:
        stream = link.ask("GET", "/page")
        await link.talk()
        link.page.answer(200)
        date = (await link.end(stream)).head["date"]
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
        assert email.utils.format_datetime(email.utils.parsedate_to_datetime(date), usegmt=True) == date
