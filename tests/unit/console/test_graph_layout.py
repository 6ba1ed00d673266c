"""The places of a graph's nodes: layers, circles, no two boxes in one place."""

import itertools
import random

import pytest

from fastrpc.console.graph_layout import NODE_HEIGHT, NODE_WIDTH, GraphLayout, graph_layout


def check_apart(layout: GraphLayout) -> None:
    """No two boxes touch, and all lie in the drawing."""
    for (x, y), (other_x, other_y) in itertools.combinations(layout.centres.values(), 2):
        assert abs(x - other_x) > NODE_WIDTH or abs(y - other_y) > NODE_HEIGHT
    for x, y in layout.centres.values():
        assert NODE_WIDTH / 2 <= x <= layout.width - NODE_WIDTH / 2
        assert NODE_HEIGHT / 2 <= y <= layout.height - NODE_HEIGHT / 2


def test_calls_lead_to_the_right() -> None:
    edges = [("front", "orders"), ("orders", "stock"), ("front", "stock")]
    layout = graph_layout(["stock", "orders", "front"], edges)
    across = {name: x for name, (x, _) in layout.centres.items()}
    assert across["front"] < across["orders"] < across["stock"]
    check_apart(layout)


def test_callers_are_left_of_a_service_and_callees_right_of_it() -> None:
    callers, callees = [f"in-{one}" for one in range(30)], [f"out-{one}" for one in range(29)]
    edges = [*((one, "it") for one in callers), *(("it", one) for one in callees)]
    layout = graph_layout(["it", *callers, *callees], edges)
    middle = layout.centres["it"][0]
    assert all(layout.centres[one][0] < middle for one in callers)
    assert all(layout.centres[one][0] > middle for one in callees)
    check_apart(layout)


@pytest.mark.parametrize(
    "edges", [[("a", "b"), ("b", "a")], [("a", "a")], [("a", "b"), ("b", "c"), ("c", "a")], []]
)
def test_circles_end(edges: list[tuple[str, str]]) -> None:
    layout = graph_layout(["a", "b", "c"], edges)
    assert layout.centres.keys() == {"a", "b", "c"}
    check_apart(layout)


def test_parallel_chains_do_not_cross() -> None:
    rows = range(6)
    edges = [(f"{begin}{row}", f"{end}{row}") for row in rows for begin, end in ("ab", "bc")]
    # The last layer is given in the opposite order.
    names = [f"{layer}{row}" for layer in "ab" for row in rows] + [f"c{row}" for row in reversed(rows)]
    layout = graph_layout(names, edges)
    orders = [sorted(rows, key=lambda row: layout.centres[f"{layer}{row}"][1]) for layer in "abc"]
    assert orders[0] == orders[1] == orders[2]


def test_any_graph_of_sixty_nodes_is_placed() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        names = [f"n{number}" for number in range(60)]
        edges = [(chance.choice(names), chance.choice(names)) for _ in range(chance.randrange(200))]
        check_apart(graph_layout(names, edges))


def test_nothing_needs_no_place() -> None:
    assert graph_layout([], []).centres == {}
