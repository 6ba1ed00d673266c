"""Whatever the order of changes, a ring depends only on its nodes, and no node holds more than its bound."""

from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.balancing.hash_ring import HashRing

node_names = st.sampled_from([f"tcp://10.0.0.{number}:8972" for number in range(12)])
weights = st.dictionaries(node_names, st.integers(0, 5), max_size=12)
keys = st.text(max_size=20) | st.binary(max_size=40) | st.integers(-(2**70), 2**70)
bounds = st.sampled_from([1.0, 1.25, 2.0])


@given(st.lists(weights, min_size=1, max_size=6), st.lists(keys, max_size=20))
def test_ring_depends_on_its_nodes_and_not_on_their_history(
    history: list[dict[str, int]], sought: list[str]
) -> None:
    changed = HashRing()
    for nodes in history:
        changed.update(nodes)
    fresh = HashRing(history[-1])
    assert changed.fingerprint() == fresh.fingerprint()
    assert [changed.find_all(key, 3) for key in sought] == [fresh.find_all(key, 3) for key in sought]


@given(weights, st.lists(keys, min_size=1, max_size=20))
def test_removing_a_node_moves_only_its_keys(nodes: dict[str, int], sought: list[str]) -> None:
    ring = HashRing(nodes)
    before = {key: ring.find_all(key, 2) for key in sought}
    for gone in nodes:
        smaller = HashRing({name: weight for name, weight in nodes.items() if name != gone})
        for key, found in before.items():
            left = [name for name in found if name != gone]
            if left:
                assert smaller.find(key) == left[0]


@given(weights, bounds, st.lists(st.tuples(st.booleans(), keys), max_size=80), st.integers(0, 3))
def test_no_node_ever_holds_more_than_its_bound(
    nodes: dict[str, int], bound: float, steps: list[tuple[bool, str]], least_load: int
) -> None:
    total_weight = sum(nodes.values())
    if not total_weight:
        return
    ring = HashRing(nodes, bound=bound, least_load=least_load)
    taken: list[str] = []
    for acquires, key in steps:
        if not acquires and taken:
            ring.release(taken.pop(0))
            continue
        # The first node on the key's way that has room, by the definition.
        total = len(taken) + 1
        way = ring.find_all(key, len(nodes))
        expected = next(
            name
            for name in way
            if taken.count(name) < least_load
            or taken.count(name) * total_weight < bound * total * nodes[name]
        )
        assert ring.acquire(key) == expected
        taken.append(expected)
    assert ring.total_load == len(taken)
    assert all(ring.load(name) == taken.count(name) for name in nodes)


@given(st.dictionaries(st.text(max_size=8), st.integers(1, 3), min_size=1, max_size=6), st.integers(1, 9))
def test_points_follow_the_weights(nodes: dict[str, int], points_per_weight: int) -> None:
    ring = HashRing(nodes, points_per_weight=points_per_weight)
    assert ring.points == points_per_weight * sum(nodes.values())
    assert sorted(ring.find_all("key", len(nodes))) == sorted(nodes)
