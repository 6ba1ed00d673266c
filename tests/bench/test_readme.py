import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.compare.headline import CHOICE, LENGTH
from bench.compare.paths import ROOT, TABLES
from bench.compare.readme import FIGURES, SECTIONS, MarkerError, Section, calls_block, write_readme
from bench.compare.workloads import WORKLOADS

#: A figure of speed in prose or in a table.
_FIGURE = re.compile(r"\d ?×|\d (?:[kMG]B|calls|requests|messages)/s|\d (?:µs|ms)\b")

CALLS = SECTIONS[0]
BEGIN, END = CALLS.begin, CALLS.end


def test_only_text_between_the_markers_changes() -> None:
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
def test_the_page_of_results_has_the_markers(section: Section) -> None:
    assert "new" in section.replace((ROOT / TABLES).read_text(), "new")


def test_the_projects_readme_has_its_figures() -> None:
    text = (ROOT / "README.md").read_text()
    assert "new" in FIGURES.replace(text, "new")
    block = text.split(FIGURES.begin)[1].split(FIGURES.end)[0]
    assert sum(line.startswith("| ") for line in block.splitlines()) == LENGTH + 2
    assert block.count("<img ") == 2


def figures_without_a_command(text: str) -> list[str]:
    """Return the paragraphs, and the rows of tables, with a figure of speed and without its command.

    The row of a table ends in the name of a workload, and the paragraph before the table has the command.
    """
    wrong = []
    before = ""
    for block in re.split(r"\n{2,}", text):
        if block.startswith("| "):
            rows = [line for line in block.splitlines() if _FIGURE.search(line)]
            is_named = "`make compare " in before
            wrong += [row for row in rows if not (is_named and row.split("|")[-2].strip(" `") in WORKLOADS)]
        elif _FIGURE.search(block) and "`make " not in block:
            wrong.append(block)
        before = block
    return wrong


def test_each_figure_of_the_readme_has_its_command_next_to_it() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(_FIGURE.findall(text)) > 10
    assert figures_without_a_command(text) == []


def test_a_figure_without_a_command_is_found() -> None:
    rows = "| echo | 2.5 × | `W1` |\n| other | 3 × | `none` |"
    page = f"It is 3 × as fast.\n\n`make compare ARGS=…`, 2 ms.\n\n{rows}\n"
    assert figures_without_a_command(page) == ["It is 3 × as fast.", "| other | 3 × | `none` |"]


def test_the_block_tells_conditions_field_ratios_and_plots(result: Mapping[str, Any]) -> None:
    block = calls_block(result, ["w2", "payload"])
    assert "2026-01-01, a processor, 2 cores, Linux, CPython, commit abc: `make compare`" in block
    assert "| **fastrpc, uvloop** | **16,000 (62.5 µs)** | **400,000** | **2,621 MB/s** |" in block
    assert "| 32 B, 64 in flight | 400,000 | 50 × grpc.aio | 40% |" in block
    assert "| fastrpc, uvloop | 62.5 µs | C echo | 50.0 µs | 1.25 × |" in block
    assert '<img src="plots/payload.svg" width="49%" alt="Payload, 4 in flight">' in block


def test_the_field_is_in_the_order_of_its_rates(result: Mapping[str, Any]) -> None:
    titles = [line.split("|")[1].strip(" *") for line in calls_block(result, []).splitlines() if "|" in line]
    field = titles[2 : titles.index("", 1)]
    assert field == ["C echo", "fastrpc, uvloop", "NATS & friends", "grpc.aio, uvloop"]


def written(result: Mapping[str, Any], root: Path) -> tuple[str, str]:
    """Write a result into a README and a page of results without any figures; return both."""
    (root / "bench").mkdir()
    (root / "README.md").write_text(f"# project\n{FIGURES.begin}\nold\n{FIGURES.end}\nend\n")
    sections = "\n".join(f"{section.begin}\nold\n{section.end}" for section in SECTIONS)
    (root / TABLES).write_text(f"# results\n{sections}\nend\n")
    write_readme(result, root)
    return (root / "README.md").read_text(), (root / TABLES).read_text()


def test_one_call_writes_tables_and_plots(
    result: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, tables = written(result, tmp_path)
    assert tables.startswith("# results\n")
    assert tables.endswith("end\n")
    for name in ("w2", "w1", "payload"):
        assert f'src="plots/{name}.svg"' in tables
        assert (tmp_path / "bench" / "plots" / f"{name}.svg").read_text().startswith("<svg")
    # Two of its workloads are rows of the README: too few.
    assert "README.md stays as it is" in capsys.readouterr().err
    assert f"{FIGURES.begin}\nold\n{FIGURES.end}" in readme


def test_the_readme_gets_the_first_eight_rows_and_two_pictures(
    result: Mapping[str, Any], tmp_path: Path
) -> None:
    readme, _ = written(
        {
            **result,
            "peers": {
                "fastrpc": {"title": "fastrpc, uvloop", "family": "fastrpc"},
                "fastrpc_http": {"title": "fastrpc, HTTP", "family": "fastrpc, HTTP"},
                **{name: {"title": name, "family": name} for name in ("grpc.aio", "FastAPI", "rpcx")},
            },
            "summary": [
                {
                    **result["summary"][0],
                    "peer": peer,
                    "workload": headline.workload,
                    "calls_per_second": rate,
                }
                for headline in CHOICE
                if headline.peer != "fastrpc_rpcx"
                for peer, rate in (
                    (headline.peer, 4_000.0),
                    (WORKLOADS[headline.workload].base_family, 1_000.0),
                )
            ],
        },
        tmp_path,
    )
    rows = [line.split(" | ") for line in readme.splitlines() if line.startswith("| ")][2:]
    assert [row[0].strip("| ") for row in rows] == [
        headline.title for headline in CHOICE if headline.peer != "fastrpc_rpcx"
    ][:LENGTH]
    assert rows[1][1:4] == ["**4,000**", "grpc.aio: 1,000", "4.00 ×"]
    assert readme.count("<img ") == 2
    assert 'src="bench/plots/server_stream.svg"' in readme
    assert "Commit abc, 2026-01-01, a processor, 2 cores, CPython: `make compare`." in readme
