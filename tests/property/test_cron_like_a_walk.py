"""Instants of cron texts in the nights in which clocks change, against a walk over the minutes of UTC."""

import bisect
import random
import re
from collections import Counter
from itertools import pairwise

import pytest

from fastrpc.errors import ConfigError
from fastrpc.rpc.background.cron import CronText
from tests.conftest import IS_SHARE, Scale
from tests.support.cron_model import ZONES, Night, instants_of, nights_of, random_text

TEXTS = 1_000

#: The productions of a field.
PRODUCTIONS = {
    "any": r"(^| )\*( |$)",
    "value": r"(^| )\d+( |$)",
    "list": r"\d,",
    "range": r"\d-\d",
    "step over all": r"\*/\d",
    "step over a range": r"\d-\d+/\d",
    "step from a value": r"(^|[ ,])\d+/\d",
    "month": r"[A-Z]{3} +[^ ]+$",
    "range of names": r"[A-Z]{3}-[A-Z]{3}",
    "step from a name": r"[A-Z]{3}/\d",
    "weekday": r" ([A-Z]{3})$",
    "weekday by number": r"#\d",
    "last weekday of its name": r"\dL",
    "Sunday as 7": r" 7$",
    "last day": r" L ",
    "last working day": r" LW ",
    "last day with a step": r" L/2 ",
    "both kinds of days": r" [^* ][^ ]* +[^ ]+ +[^* ][^ ]*$",
    "seconds": r"^([^ ]+ +){5}[^ ]+$",
}


@pytest.fixture(scope="module")
def nights() -> list[Night]:
    return [night for zone in ZONES for night in nights_of(zone, 2026)]


def moments_near(night: Night, source: random.Random, expected: list[int]) -> list[float]:
    """Return instants before, at and after a change and the instants of a text, except near the ends of the window."""
    ends = night.begin + 3_600, night.end - 3_600
    near = [night.change + shift for shift in (-7_200, -3_600, -1_800, -1, 0, 1, 1_800, 3_600, 7_200)]
    drawn = [source.uniform(-3 * 3_600, 3 * 3_600) + night.change for _ in range(5)]
    far = [source.randint(*ends) for _ in range(2)]
    known = source.sample(expected, min(3, len(expected)))
    around = [one + shift for one in known for shift in (-1, -0.5, 0, 0.5)]
    return [moment for moment in near + drawn + far + around if ends[0] < moment < ends[1]]


def is_refused(schedule: CronText, instant: float) -> bool:
    """Return whether a text has no instant, such as the fifth Saturday on one of the first 27 days of a month."""
    try:
        schedule.after(instant)
    except ConfigError as error:
        return "has no instant" in error.message
    return False


def check(text: str, night: Night, source: random.Random) -> None:
    expected = instants_of(text, night)
    schedule = CronText(text, night.zone)
    if is_refused(schedule, night.change):
        assert expected == []
        return
    for moment in moments_near(night, source, expected):
        number = bisect.bisect_right(expected, moment)
        fault = f"{text!r} in {night.zone} at {moment}"
        following, latest = schedule.after(moment), schedule.latest(moment)
        assert following > moment >= latest, fault
        assert following == expected[number] if number < len(expected) else following >= night.end, fault
        assert latest == expected[number - 1] if number else latest < night.begin, fault


def test_clocks_of_each_zone_change_in_two_nights(nights: list[Night]) -> None:
    assert Counter(night.zone.key for night in nights) == Counter(2 * ZONES)


@pytest.mark.parametrize("name", ZONES)
def test_instants_match_a_walk_by_minutes(name: str, scale: Scale) -> None:
    seeds, nights = scale.seeds(TEXTS), nights_of(name, 2026)
    # A normal run tries each text in one zone.
    for seed in seeds[ZONES.index(name) :: len(ZONES)] if IS_SHARE else seeds:
        source = scale.random(seed)
        text = random_text(source)
        for night in nights:
            check(text, night, source)


@pytest.mark.parametrize(
    "text",
    ["30 2 * * *", "0,30 0-3 * * *", "30 * * * *", "*/7 * * * *", "* 2 * * *", "15 */2 * * *", "59 23 * * *",
     "0 0 * * *", "0 1 * * SUN", "*/20 */10 2 * * *", "* * * * *"],
)  # fmt: skip
def test_usual_texts_have_the_instants_of_the_walk_in_each_night(
    text: str, scale: Scale, nights: list[Night]
) -> None:
    source = scale.random(7)
    for night in source.sample(nights, 4) if IS_SHARE else nights:
        check(text, night, source)


def test_texts_use_each_production() -> None:
    texts = [random_text(random.Random(seed)).upper() for seed in range(TEXTS)]
    counts = {name: sum(bool(re.search(form, text)) for text in texts) for name, form in PRODUCTIONS.items()}
    assert {name: count for name, count in counts.items() if count < 5} == {}


@pytest.mark.parametrize("text", ["30 2 * * *", "0,30 0-3 * * *", "*/20 * * * *", "15,45 */3 * * *"])
def test_instants_rise_through_a_change_and_are_found_from_both_sides(text: str, nights: list[Night]) -> None:
    for night in nights[::4]:
        schedule = CronText(text, night.zone)
        instant, found = night.change - 10_800.0, []
        while instant < night.change + 10_800:
            instant = schedule.after(instant)
            found.append(instant)
        for earlier, later in pairwise(found):
            assert earlier < later
            assert schedule.latest(later) == later
            assert schedule.latest(later - 0.5) == schedule.latest(later - 1) == earlier
