from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.compare.paths import ROOT
from bench.compare.readme import SECTIONS, MarkerError, Section, calls_block, write_readme

CALLS = SECTIONS[0]
BEGIN, END = CALLS.begin, CALLS.end


def test_only_what_is_between_the_markers_changes() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert CALLS.replace(text, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_replacing_again_changes_nothing() -> None:
    once = CALLS.replace(f"{BEGIN}\n{END}\n", "new")
    assert CALLS.replace(once, "new") == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_or_doubled_markers_are_refused(text: str) -> None:
    with pytest.raises(MarkerError, match="needs one line"):
        CALLS.replace(text, "new")


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_the_projects_readme_has_the_markers(section: Section) -> None:
    text = (ROOT / "README.md").read_text()
    assert "new" in section.replace(text, "new")


def test_the_block_tells_conditions_field_ratios_and_plots(result: Mapping[str, Any]) -> None:
    block = calls_block(result, ["bench/plots/w2.svg", "bench/plots/payload.svg"])
    assert "2026-01-01, a processor, 2 cores, Linux, CPython, commit abc: `make compare`" in block
    assert "| **fastrpc, uvloop** | **16,000 (62.5 µs)** | **400,000** | **2,621 MB/s** |" in block
    assert "| 32 B, 64 in flight | 400,000 | 50 × grpc.aio | 40% |" in block
    assert "| fastrpc, uvloop | 62.5 µs | C echo | 50.0 µs | 1.25 × |" in block
    assert '<img src="bench/plots/payload.svg" width="49%" alt="Payload, 4 in flight">' in block


def test_the_field_is_in_the_order_of_its_rates(result: Mapping[str, Any]) -> None:
    titles = [line.split("|")[1].strip(" *") for line in calls_block(result, []).splitlines() if "|" in line]
    field = titles[2 : titles.index("", 1)]
    assert field == ["C echo", "fastrpc, uvloop", "NATS & friends", "grpc.aio, uvloop"]


def test_one_call_writes_table_and_plots(result: Mapping[str, Any], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# project\n{BEGIN}\n{END}\nend\n")
    write_readme(result, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# project\n")
    assert text.endswith(f"{END}\nend\n")
    for name in ("w2", "w1", "payload"):
        assert f'src="bench/plots/{name}.svg"' in text
        assert (tmp_path / "bench" / "plots" / f"{name}.svg").read_text().startswith("<svg")
