"""Views of a client: those with a key of their own are made for each call, and used again when nobody has them."""

import gc
import inspect
import weakref
from typing import Any

import pytest

import fastrpc

ADDRESS = "tcp://127.0.0.1:9"
KEYS = ["customer:7", b"\x00raw", 42, -(2**70)]


@pytest.fixture(params=[fastrpc.Client, fastrpc.SyncClient])
def client(request: pytest.FixtureRequest) -> Any:
    return request.param(ADDRESS)


@pytest.mark.parametrize("key", KEYS)
def test_a_view_has_its_key_and_the_options_of_the_view_it_was_made_from(client: Any, key: Any) -> None:
    base = client.with_options(codec="json", metadata={"tenant": "acme"}, idempotent=True)
    view = base.with_options(hash_key=key)
    assert type(view) is type(client)
    assert (view.hash_key, view.codec, view.idempotent, view._is_view) == (key, "json", True, True)
    assert view.metadata == {"tenant": "acme"}
    assert (client.hash_key, client.codec, client.idempotent, client._is_view) == (
        None,
        "msgpack",
        None,
        False,
    )


def test_a_key_is_inherited_until_another_key_or_none_is_given(client: Any) -> None:
    view = client.with_options(hash_key="a")
    assert view.with_options(timeout=1).hash_key == "a"
    assert view.with_options(hash_key=None).hash_key is None
    assert view.with_options(hash_key="b", idempotent=True).hash_key == "b"
    assert view.hash_key == "a"


def test_views_that_are_kept_are_different_ones(client: Any) -> None:
    views = [client.with_options(hash_key=number) for number in range(100)]
    assert len({id(view) for view in views}) == 100
    assert [view.hash_key for view in views] == list(range(100))


def test_an_unreferenced_view_is_reused_without_its_old_state(client: Any) -> None:
    place = id(client.with_options(hash_key="first", idempotent=True))
    view = client.with_options(hash_key="second")
    assert id(view) == place
    assert (view.hash_key, view.idempotent) == ("second", None)


def test_attributes_of_ones_own_are_not_handed_on(client: Any) -> None:
    view = client.with_options(hash_key=1)
    view.call = "mine"
    del view
    assert client.with_options(hash_key=2).call != "mine"


def test_a_weak_reference_ends_with_the_view_it_was_made_of(client: Any) -> None:
    view = client.with_options(hash_key=1)
    reference = weakref.ref(view)
    del view
    other = client.with_options(hash_key=2)
    gc.collect()
    assert reference() is None
    assert other.hash_key == 2


def test_views_of_a_class_of_ones_own_are_always_new() -> None:
    ended: list[object] = []

    class Own(fastrpc.Client):
        def __del__(self) -> None:
            ended.append(self.hash_key)

    client = Own(ADDRESS)
    for number in range(3):
        assert type(client.with_options(hash_key=number)) is Own
    assert ended == [0, 1, 2]


def test_a_class_with_views_of_another_kind_is_refused() -> None:
    class Odd(fastrpc.Client):
        def __new__(cls, *arguments: Any) -> Any:
            return super().__new__(cls) if arguments else "no view"

    with pytest.raises(TypeError, match="CallerView"):
        Odd(ADDRESS).with_options(hash_key=1)


def test_a_weak_reference_callback_of_a_view_may_make_another_one(client: Any) -> None:
    keys: list[Any] = []
    references = []
    for number in range(100):
        view = client.with_options(hash_key=number)
        references.append(
            weakref.ref(view, lambda _: keys.append(client.with_options(hash_key="next").hash_key))
        )
    del view
    client.with_options(hash_key="last")
    assert keys == ["next"] * 100


@pytest.mark.parametrize("kind", [fastrpc.Client, fastrpc.SyncClient])
def test_unknown_options_are_refused(kind: Any) -> None:
    client = kind(ADDRESS)
    with pytest.raises(TypeError, match="by name"):
        client.with_options("customer:7")
    with pytest.raises(TypeError, match="no option colour"):
        client.with_options(colour="red")
    with pytest.raises(fastrpc.ConfigError, match="hash_key"):
        client.with_options(hash_key=1.5)
    assert list(inspect.signature(client.with_options).parameters) == ["options"]


def test_a_call_keeps_the_key_it_was_made_with() -> None:
    client = fastrpc.Client(ADDRESS)
    calls: list[Any] = [client.with_options(hash_key=number).call("echo.say") for number in range(3)]
    assert [call.hash_key for call in calls] == [0, 1, 2]
    for call in calls:
        call.close()
