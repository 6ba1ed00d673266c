"""The compiled pass that puts defaults where encoders look."""

from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc._core.payload.field_defaults import DefaultFiller, FillingDecoder


@dataclass
class Money:
    amount: int
    currency: str = "EUR"


def money_filler() -> DefaultFiller:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": ("EUR", None, False)})
    return filler


def lacking() -> Money:
    """Return an object as decoders make it."""
    money = Money.__new__(Money)
    money.amount = 1
    return money


def test_a_missing_default_is_put_into_the_object() -> None:
    money = lacking()
    assert money_filler()(money) is money
    assert vars(money) == {"amount": 1, "currency": "EUR"}


def test_present_fields_keep_their_values() -> None:
    money = Money(1, "USD")
    assert vars(money_filler()(money)) == {"amount": 1, "currency": "USD"}


@pytest.mark.parametrize("value", [None, 1, "text", [lacking()], {"amount": 1}])
def test_values_of_other_classes_are_left_alone(value: Any) -> None:
    before = repr(value)
    assert money_filler()(value) is value
    assert repr(value) == before


def test_a_factory_makes_a_new_default_each_time() -> None:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": (None, list, False)})
    first, second = filler(lacking()), filler(lacking())
    assert first.currency == second.currency == []
    assert first.currency is not second.currency


def test_a_required_field_that_is_missing_is_an_error() -> None:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": (None, None, True)})
    with pytest.raises(ValueError, match="missing required field `currency`"):
        filler(lacking())


@pytest.mark.parametrize(
    ("definition", "value", "found"),
    [
        ({"kind": "collection", "each": True}, [lacking()], lambda value: value[0]),
        ({"kind": "collection", "each": True}, (lacking(),), lambda value: value[0]),
        ({"kind": "map", "each": True}, {"a": lacking()}, lambda value: value["a"]),
        ({"kind": "typed dict", "parts": "a"}, {"a": lacking(), "b": 1}, lambda value: value["a"]),
        ({"kind": "places", "parts": 1}, (0, lacking()), lambda value: value[1]),
        ({"kind": "union", "by_class": Money}, lacking(), lambda value: value),
    ],
)
def test_containers_of_objects_are_walked(definition: Any, value: Any, found: Any) -> None:
    given = dict(definition)
    filler = DefaultFiller()
    for name in ("each", "parts", "by_class"):
        if name in given:
            given[name] = money_filler() if name == "each" else {given[name]: money_filler()}
    filler.define(given.pop("kind"), **given)
    assert vars(found(filler(value))) == {"amount": 1, "currency": "EUR"}


def test_a_decoder_fills_in_missing_defaults() -> None:
    decode = FillingDecoder(lambda payload: lacking() if payload == b"x" else None, money_filler())
    assert vars(decode(b"x")) == {"amount": 1, "currency": "EUR"}
    assert decode(b"") is None
