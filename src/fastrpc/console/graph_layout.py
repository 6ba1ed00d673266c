"""The positions of the nodes of a graph in layers.

Each edge leads to a layer further right, except an edge that closes a cycle.

::

    edges ──► cycles opened ──► layer = longest path from a start ──► few crossings ──► centres in pixels

After Sugiyama, Tagawa and Toda (1981), with the barycentre of neighbours as the order in a layer.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["NODE_HEIGHT", "NODE_WIDTH", "GraphLayout", "graph_layout"]

#: Lengths in pixels: the box of a node (NODE_WIDTH, NODE_HEIGHT), the distance from one centre to the next (_COLUMN,
#: _ROW), and the margin.
NODE_WIDTH: Final = 170.0
NODE_HEIGHT: Final = 28.0
_COLUMN: Final = 270.0
_ROW: Final = 40.0
_MARGIN: Final = 8.0

#: How often the order in the layers is improved, once from the left and once from the right.
_SWEEPS: Final = 4


class GraphLayout(NamedTuple):
    """Places in pixels."""

    #: The centre of each node's box.
    centres: dict[str, tuple[float, float]]
    width: float
    height: float


def graph_layout(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> GraphLayout:
    """Return the positions of nodes; there are at most a few hundred.

    Args:
        names: the nodes, each once.
        edges: the start and the end of each edge, both in `names`.
    """
    ends = _without_circles(names, [(begin, end) for begin, end in edges if begin != end])
    begins: dict[str, list[str]] = {name: [] for name in names}
    for begin, found in ends.items():
        for end in found:
            begins[end].append(begin)
    layers = _layers(names, begins)
    for _ in range(_SWEEPS):
        _sort(layers[1:], layers, begins)
        _sort(layers[-2::-1], layers, ends)
    most = max(map(len, layers), default=0)
    centres = {}
    for column, layer in enumerate(layers):
        for row, name in enumerate(layer):
            above = (most - len(layer)) / 2 + row
            x = _MARGIN + NODE_WIDTH / 2 + column * _COLUMN
            centres[name] = (x, _MARGIN + NODE_HEIGHT / 2 + above * _ROW)
    width = 2 * _MARGIN + NODE_WIDTH + max(0, len(layers) - 1) * _COLUMN
    return GraphLayout(centres, width, 2 * _MARGIN + NODE_HEIGHT + max(0, most - 1) * _ROW)


def _without_circles(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the successors of each node, without the edges that close a cycle."""
    ends: dict[str, list[str]] = {name: [] for name in names}
    for begin, end in edges:
        ends[begin].append(end)
    called = {end for _, end in edges}
    # `walked`: the nodes on the current path. `known`: the nodes from which all paths have been followed.
    walked, known = set[str](), set[str]()
    kept: dict[str, list[str]] = {name: [] for name in names}
    for start in sorted(names, key=lambda name: name in called):
        way = [] if start in known else [(start, iter(ends[start]))]
        walked.update(name for name, _ in way)
        while way:
            name, rest = way[-1]
            following = next(rest, None)
            if following is None:
                way.pop()
                walked.discard(name)
                known.add(name)
            elif following not in walked:
                kept[name].append(following)
                if following not in known:
                    walked.add(following)
                    way.append((following, iter(ends[following])))
    return kept


def _layers(names: Sequence[str], begins: dict[str, list[str]]) -> list[list[str]]:
    """Return the nodes by the length of the longest path that leads to them."""
    number: dict[str, int] = {}
    left = list(names)
    while left:
        # Without cycles there is always a node whose predecessors all have layers.
        ready = [name for name in left if all(one in number for one in begins[name])]
        number |= {name: 1 + max((number[one] for one in begins[name]), default=-1) for name in ready}
        left = [name for name in left if name not in number]
    layers: list[list[str]] = [[] for _ in range(1 + max(number.values(), default=-1))]
    for name in names:
        layers[number[name]].append(name)
    return layers


def _sort(sorted_layers: Iterable[list[str]], layers: list[list[str]], near: dict[str, list[str]]) -> None:
    """Sort layers by the mean position of each node's neighbours on one side.

    A node without neighbours keeps its position.
    """
    place = {name: row for layer in layers for row, name in enumerate(layer)}

    def middle(name: str) -> float:
        rows = [place[one] for one in near[name]]
        return sum(rows) / len(rows) if rows else place[name]

    for layer in sorted_layers:
        key: Callable[[str], float] = middle
        layer.sort(key=key)
        place.update({name: row for row, name in enumerate(layer)})
