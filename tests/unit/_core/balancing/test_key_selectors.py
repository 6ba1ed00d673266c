"""The promises of selectors with keys in addition to the contract of all selectors."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.balancing.hash_ring import go_key_hash, jump
from fastrpc.endpoint import Endpoint
from fastrpc.selectors import ConsistentHash, DoubleJump, JumpHash
from fastrpc.selectors.jump_hash import rpcx_key


def endpoint_set(*weights: int) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + index)}", weight=weight) for index, weight in enumerate(weights)]


def keyed(key: str | int) -> SimpleNamespace:
    return SimpleNamespace(hash_key=key)


# Consistent hash


def test_key_stays_with_its_endpoint() -> None:
    selector, elsewhere = ConsistentHash(), ConsistentHash()
    selector.update(endpoint_set(1, 1, 1, 1))
    elsewhere.update(reversed(endpoint_set(1, 1, 1, 1)))
    for key in range(200):
        picked = selector.pick(keyed(key))
        selector.observe(picked, 0.01, None)
        assert picked == elsewhere.pick(keyed(key))
        elsewhere.observe(picked, 0.01, None)


def test_key_whose_endpoint_was_tried_goes_to_the_next_on_the_ring() -> None:
    selector = ConsistentHash()
    endpoints = endpoint_set(1, 1, 1, 1)
    selector.update(endpoints)
    for key in range(100):
        way = selector.ring.find_all(key, 4)
        tried: list[Endpoint] = []
        for expected in way:
            picked = selector.pick(keyed(key), tried)
            selector.observe(picked, 0.01, None)
            assert str(picked) == expected
            tried.append(picked)


def test_bound_spreads_a_hot_key() -> None:
    selector = ConsistentHash(bound=1.25)
    endpoints = endpoint_set(*[1] * 8)
    selector.update(endpoints)
    counts = Counter(selector.pick(keyed("hot")) for _ in range(800))
    assert max(counts.values()) <= 125


def test_without_a_bound_a_hot_key_stays_at_its_endpoint() -> None:
    selector = ConsistentHash(bound=None)
    selector.update(endpoint_set(*[1] * 8))
    assert len({selector.pick(keyed("hot")) for _ in range(800)}) == 1


def test_few_calls_of_one_key_stay_at_one_endpoint() -> None:
    selector = ConsistentHash()
    selector.update(endpoint_set(*[1] * 8))
    assert len({selector.pick(keyed("hot")) for _ in range(4)}) == 1


def test_load_of_an_endpoint_that_left_and_came_back_is_not_counted_twice() -> None:
    selector = ConsistentHash()
    endpoints = endpoint_set(1, 1)
    selector.update(endpoints)
    old = [selector.pick_endpoint(keyed(key)) for key in range(8)]
    selector.update(endpoints[:1])
    selector.update(endpoints)
    selector.pick(keyed(0))
    for each in old:
        selector.observe_endpoint(each, 0.01, None)
    assert 0 <= selector.ring.total_load <= 1


# Go's selectors


def test_jump_hash_picks_by_sorted_address() -> None:
    selector = JumpHash()
    selector.update(reversed(endpoint_set(1, 1, 1, 1, 1)))
    for method, arguments, bucket in (
        ("Arith.Mul", (1,), 1),
        ("Arith.Mul", (42,), 4),
        ("Echo.Say", ("hello",), 1),
    ):
        call = SimpleNamespace(hash_key=None, method=method, arguments=arguments)
        assert selector.pick(call).address.path == chr(97 + bucket)


@given(
    st.integers() | st.integers(-100, 2**64) | st.text(max_size=30) | st.floats() | st.booleans(),
    st.sampled_from(["Arith.Mul", "a.b.C", "X."]),
)
def test_jump_hash_places_calls_by_the_key_of_rpcx(argument: int | str | float, method: str) -> None:
    selector = JumpHash()
    endpoints = endpoint_set(*[1] * 97)
    selector.update(endpoints)
    key = rpcx_key(method, (argument,))
    assert key is not None
    call = SimpleNamespace(hash_key=None, method=method, arguments=(argument,))
    expected = sorted(map(str, endpoints))[jump(go_key_hash(key), 97)]
    assert str(selector.pick(call)) == expected


def test_hash_key_goes_before_the_arguments() -> None:
    selector = JumpHash()
    selector.update(endpoint_set(*[1] * 10))
    call = SimpleNamespace(hash_key="customer:1", method="Arith.Mul", arguments=(1,))
    assert selector.pick(call).address.path == chr(97 + jump(go_key_hash("customer:1"), 10))


class DoubleJumpModel:
    """The double jump hash in plain words."""

    def __init__(self) -> None:
        self.loose: list[str | None] = []
        self.compact: list[str] = []
        self.holes: list[int] = []

    def update(self, names: set[str]) -> None:
        for name in sorted(names - set(self.compact)):
            self.compact.append(name)
            if self.holes:
                self.loose[self.holes.pop()] = name
            else:
                self.loose.append(name)
        for name in sorted(set(self.compact) - names):
            self.holes.append(self.loose.index(name))
            self.loose[self.holes[-1]] = None
            self.compact[self.compact.index(name)] = self.compact[-1]
            self.compact.pop()

    def find(self, key: str) -> str | None:
        hash = go_key_hash(key)
        return (
            self.loose[jump(hash, len(self.loose))]
            or (self.compact[jump(hash * 0xC6A4A7935BD1E995 % 2**64, len(self.compact))])
        )


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), min_size=1, max_size=8))
def test_double_jump_picks_like_its_model(history: list[set[str]]) -> None:
    selector, model = DoubleJump(), DoubleJumpModel()
    for names in history:
        selector.update([Endpoint(f"memory://{name}") for name in names])
        model.update({f"memory://{name}" for name in names})
        for key in map(str, range(30)):
            assert str(selector.pick(keyed(key))) == model.find(key)
