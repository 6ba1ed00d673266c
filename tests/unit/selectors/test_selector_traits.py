"""The attributes of a selector that clients read, for any class."""

from typing import Any

import pytest

from fastrpc.selectors import ConsistentHash, LeastLoaded, RoundRobin, selector_for
from fastrpc.selectors.base import selector_names

KEYED = {"consistent_hash", "jump_hash", "double_jump"}


class OwnPick(ConsistentHash):
    def pick(self, call: Any, tried: Any = ()) -> Any:
        return super().pick(call, tried)


class OwnKey(ConsistentHash):
    def key_of(self, call: Any) -> Any:
        return call.method


class Foreign:
    def update(self, endpoints: Any) -> None: ...

    def pick(self, call: Any) -> Any: ...

    def observe(self, endpoint: Any, seconds: float, error: Any) -> None: ...


@pytest.mark.parametrize("name", selector_names())
def test_built_in_selectors_need_only_the_key(name: str) -> None:
    selector = selector_for(name)
    assert selector.is_keyed is (name in KEYED)
    assert not selector.needs_whole_call
    assert not selector.observes_each_pick


@pytest.mark.parametrize("choice", [Foreign(), OwnPick()], ids=["foreign", "derived"])
def test_selectors_of_users_see_the_whole_call_and_each_outcome(choice: object) -> None:
    selector = selector_for(choice)
    assert selector.is_keyed
    assert selector.needs_whole_call
    assert selector.observes_each_pick


def test_classes_that_replace_no_method_of_the_pick_inherit_the_traits() -> None:
    assert selector_for(OwnKey()).is_keyed
    assert not selector_for(OwnKey()).needs_whole_call
    assert not selector_for(type("Loaded", (LeastLoaded,), {})()).is_keyed


def test_a_class_may_state_a_trait_of_its_own() -> None:
    assert selector_for(type("Sticky", (RoundRobin,), {"is_keyed": True})()).is_keyed
