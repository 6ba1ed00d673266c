import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.compare.charts import Bar, Line, bar_chart, line_chart, short_count, short_time
from bench.compare.plots import draw_plots, write_plots
from bench.compare.svg import COLOURS, Drawing

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in parsed(picture).findall("svg:text", NAMESPACE)]


def dots(picture: str, role: str) -> list[tuple[float, float]]:
    return [
        (float(element.attrib["cx"]), float(element.attrib["cy"]))
        for element in parsed(picture).findall("svg:circle", NAMESPACE)
        if element.attrib["class"] == f"line-{role} dot"
    ]


def bar_widths(picture: str) -> list[float]:
    return [
        float(element.attrib["width"])
        for element in parsed(picture).findall("svg:rect", NAMESPACE)
        if element.attrib["class"].startswith("bar-")
    ]


def growth(*points: tuple[float, float]) -> str:
    return line_chart(
        "title", ("what grows", "what it costs"), [Line("ours", "ours", points)], (str, short_time)
    )


def test_bars_are_as_long_as_their_values_from_zero() -> None:
    picture = bar_chart("title", "unit", [Bar("a", 400, "ours"), Bar("b", 100, "other")], short_count)
    longest, other = bar_widths(picture)
    assert other == pytest.approx(longest / 4, abs=0.1)
    assert texts(picture) == ["title", "unit", "a", "400", "b", "100"]


def test_labels_are_escaped() -> None:
    picture = bar_chart('a "title" <&>', "unit", [Bar("C & <friends>", 1, "limit")], short_count)
    assert "C & <friends>" in texts(picture)
    assert parsed(picture).attrib["aria-label"] == 'a "title" <&>'


def test_equal_factors_are_equal_distances_on_both_axes() -> None:
    (x1, y1), (x2, y2), (x3, y3) = dots(growth((1, 1e-6), (10, 1e-5), (100, 1e-4)), "ours")
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)
    assert y1 > y2  # More is higher up.


def test_zero_stands_one_step_before_the_next_point() -> None:
    (x0, _), (x1, _), (x2, _) = dots(growth((0, 1e-6), (64, 1e-6), (1024, 1e-6)), "ours")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)


def test_axes_are_named_and_marked_with_units() -> None:
    shown = texts(growth((1, 2e-6), (10, 3e-4)))
    assert {"what grows", "what it costs", "1", "10", "1 µs", "10 µs", "100 µs", "1 ms"} <= set(shown)


def test_charts_with_one_point_and_without_points_are_drawn() -> None:
    assert len(dots(growth((1, 1e-6)), "ours")) == 1
    assert dots(growth(), "ours") == []


def test_every_class_has_a_colour_in_both_modes() -> None:
    picture = Drawing(10, 10, "empty").render()
    light, dark = picture.split("@media (prefers-color-scheme: dark)")
    for style in COLOURS:
        assert f".{style} {{" in light
        assert f".{style} {{" in dark
    used = set(re.findall(r'class="([a-z -]+)"', growth((1, 1e-6))))
    assert {name for names in used for name in names.split()} <= {*COLOURS, "heading", "dot"}


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (999, "999"), (12_345, "12.3 k"), (1_260_000, "1.26 M")]
)
def test_counts_are_short(value: float, text: str) -> None:
    assert short_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5e-8, "50 ns"), (4.72e-6, "4.72 µs"), (2.5e-4, "250 µs"), (0.01, "10 ms"), (2, "2 s")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert short_time(seconds) == text


def test_a_result_is_drawn_without_figures_that_were_not_measured(result: Mapping[str, Any]) -> None:
    pictures = draw_plots(result)
    # One point of a curve, as of the methods, shows no growth.
    assert list(pictures) == ["w2", "w1", "payload", "connections"]
    assert texts(pictures["w2"])[2::2] == ["C echo", "fastrpc, uvloop", "NATS & friends", "grpc.aio, uvloop"]
    assert len(dots(pictures["payload"], "ours")) == 3
    assert len(dots(pictures["payload"], "limit")) == 2


def test_plots_are_small_files(result: Mapping[str, Any], tmp_path: Path) -> None:
    paths = write_plots(result, tmp_path / "plots")
    assert [path.name for path in paths] == ["w2.svg", "w1.svg", "payload.svg", "connections.svg"]
    assert all(0 < path.stat().st_size < 10_000 for path in paths)
