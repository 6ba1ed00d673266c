"""Acts on the records of a server: their bodies, their values, and their replay."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.registries import StaticRegistry
from fastrpc.server.admin.acts import ACTS, ActRefusedError, Parts, Setting, check_was, values_of
from fastrpc.server.override import CONFIGURED, Override
from fastrpc.server.registrar import Record, Registrar
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.scoreboard import Scoreboard

pytestmark = pytest.mark.one_loop

NAMES = ("out", "in", "weight")


def setting(name: str) -> Setting:
    act = ACTS[name]
    assert not isinstance(act, tuple)
    return act


def records(*weights: int) -> dict[Record, Endpoint]:
    """Return one record of a service for each weight."""
    endpoints = [Endpoint(f"tcp://127.0.0.1:{port}", weight=one) for port, one in enumerate(weights, 1)]
    return {("arith", one.address): one for one in endpoints}


class Made:
    """Notes the override."""

    def __init__(self) -> None:
        self.is_leaving = False
        self.override = CONFIGURED

    def set_override(self, override: Override) -> None:
        self.override = override

    def configured_weights(self) -> list[int]:
        return [3]

    async def problem(self, seconds: float) -> str:
        return ""


def acted(made: Made, name: str, **values: Any) -> None:
    """Carry out an act as one process does."""
    one, parts = setting(name), Parts(records=made)
    values = values_of(one, json.dumps(values).encode())
    subject, wanted = one.wanted(values)
    check_was(values["was"], wanted, {1: one.look(parts, subject)})
    one.set(parts, subject, wanted)


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("out", {"was": 0}, "was must be true or false"),
        ("in", {"was": False, "weight": 3}, "unknown: weight"),
        ("weight", {"weight": 3}, "missing: was"),
        ("weight", {"weight": True, "was": 3}, "weight must be a whole number from 0 to 65535"),
        ("weight", {"weight": 65_536, "was": 3}, "weight must be a whole number from 0 to 65535"),
        ("weight", {"weight": -1, "was": 3}, "weight must be a whole number from 0 to 65535"),
        ("weight", {"weight": 1.0, "was": 3}, "weight must be a whole number from 0 to 65535"),
        ("weight", {"weight": 3, "was": [3, "4"]}, "was must be a whole number, or a list of them"),
        ("weight", {"weight": 3, "was": True}, "was must be a whole number, or a list of them"),
    ],
)
def test_a_wrong_body_is_refused(name: str, body: dict[str, Any], text: str) -> None:
    with pytest.raises(ActRefusedError) as caught:
        values_of(setting(name), json.dumps(body).encode())
    assert (caught.value.status, caught.value.text) == (400, text)


def test_a_server_that_is_put_in_has_its_configured_weight() -> None:
    made = Made()
    acted(made, "weight", weight=5, was=3)
    # Its weight alone is another one than the configured one.
    acted(made, "in", was=False)
    assert made.override == CONFIGURED
    acted(made, "weight", weight=5, was=3)
    acted(made, "out", was=False)
    assert made.override == Override(True, 5)
    acted(made, "in", was=True)
    assert made.override == CONFIGURED


@pytest.mark.parametrize(
    ("name", "values", "now"),
    [
        ("out", {"was": True}, False),
        ("in", {"was": True}, False),
        ("weight", {"weight": 5, "was": 4}, 3),
        ("weight", {"weight": 5, "was": [3, 4]}, 3),
    ],
)
def test_an_act_that_saw_another_value_changes_no_record(name: str, values: dict[str, Any], now: Any) -> None:
    made = Made()
    with pytest.raises(ActRefusedError) as caught:
        acted(made, name, **values)
    assert (caught.value.status, caught.value.now, made.override) == (409, now, CONFIGURED)


def test_a_server_that_is_out_gets_no_weight() -> None:
    made = Made()
    acted(made, "out", was=False)
    with pytest.raises(ActRefusedError) as caught:
        acted(made, "weight", weight=5, was=3)
    assert (caught.value.status, caught.value.text) == (409, "the server is out: put it in first")
    assert made.override == Override(True)


def test_a_server_that_drains_keeps_its_records() -> None:
    made = Made()
    made.is_leaving = True
    assert [setting(name).look(Parts(records=made), "") for name in NAMES] == [None] * 3


@pytest.mark.parametrize("name", NAMES)
def test_a_server_without_a_registry_refuses_acts_on_records(name: str) -> None:
    with pytest.raises(ActRefusedError) as caught:
        setting(name).look(Parts(), "")
    assert (caught.value.status, caught.value.text) == (409, "the server has no registry")


@pytest.mark.parametrize(("weights", "seen"), [((3, 3), 3), ((9, 3, 9), [3, 9]), ((), [])])
async def test_the_weight_that_a_caller_sees_is_the_configured_one(
    weights: tuple[int, ...], seen: Any
) -> None:
    registrar = Registrar(StaticRegistry())
    registrar.want(records(*weights))
    parts, weight = Parts(records=registrar), setting("weight")
    assert weight.look(parts, "") == seen
    weight.set(parts, "", 65_535)
    assert weight.look(parts, "") == 65_535
    await registrar.close()


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    made = Scoreboard(1)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(20))
def test_the_last_of_each_act_makes_the_same_records_as_all_of_them(seed: int, board: Scoreboard) -> None:
    chance = random.Random(seed)
    running = Made()
    followed = KeptSettings(board, Parts(records=running))
    is_out, weight = False, None
    for _ in range(chance.randrange(1, 40)):
        name = chance.choice(NAMES)
        if name == "weight":
            weight = value = chance.randrange(65_536)
        else:
            is_out = value = name == "out"
            weight = weight if is_out else None
        board.keep(followed.with_further(name, "", value))
        if chance.random() < 0.5:
            # At a beat; the other ones come together.
            followed.catch_up()
        later = Made()
        KeptSettings(board, Parts(records=later)).catch_up()
        assert later.override == Override(is_out, weight)
    followed.catch_up()
    assert running.override == Override(is_out, weight)
