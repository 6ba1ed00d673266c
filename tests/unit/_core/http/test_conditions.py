"""Dates as HTTP has them."""

import time

import pytest

from fastrpc._core.http.conditions import parsed_date

AT = 784_111_777


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", AT),
        ("Sunday, 06-Nov-94 08:49:37 GMT", AT),
        ("Sun Nov  6 08:49:37 1994", AT),
        ("Sun Nov 16 08:49:37 1994", AT + 10 * 86_400),
        ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800),
        # A leap second equals the second after it.
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62_135_596_800),
    ],
)
def test_a_date_is_read_in_each_of_its_three_forms(text: str, seconds: int) -> None:
    assert parsed_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Thu, 29 Feb 2023 00:00:00 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun Nov  0 08:49:37 1994",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, ０6 Nov 1994 08:49:37 GMT",
    ],
)
def test_another_text_is_no_date(text: str) -> None:
    assert parsed_date(text) is None


def test_two_digits_of_a_year_are_at_most_50_years_to_come() -> None:
    this = time.gmtime().tm_year
    for years, passed in ((50, 0), (51, 100), (0, 0), (-49, 0)):
        year = this + years
        text = f"Sunday, 06-Nov-{year % 100:02} 08:49:37 GMT"
        assert time.gmtime(parsed_date(text)).tm_year == year - passed, years
