"""The tables and bars of gRPC's wire, of figures that were not measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.compare.bars import bars_table
from bench.compare.grpc_report import AIO, BARS, grpc_headlines, grpc_tables
from bench.compare.headline import CHOICE
from bench.compare.measurement import Measurement
from bench.compare.paths import ROOT, TABLES
from bench.compare.readme import FIGURES, GRPC_FIGURES, OVER_GRPC, SECTIONS, write_readme
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Outcome
from bench.compare.workloads import GRPC, WORKLOADS
from tests.bench.conftest import CONDITIONS

RATES = {
    ("fastrpc", "grpc_echo"): 400_000,
    ("fastrpc_grpc", "grpc_echo"): 300_000,
    ("grpc_go", "grpc_echo"): 100_000,
    ("grpc_asyncio", "grpc_echo"): 4_000,
    ("grpc_uvloop", "grpc_echo"): 5_000,
    ("fastrpc_grpc_server", "grpc_echo"): 90_000,
    ("fastrpc_grpc", "grpc_record"): 100_000,
    ("grpc_go", "grpc_record"): 80_000,
    ("grpc_uvloop", "grpc_record"): 5_000,
    ("fastrpc_grpc", "grpc_stream"): 1_000_000,
}


def result_of(rates: Mapping[tuple[str, str], int]) -> Mapping[str, Any]:
    outcomes = [
        Outcome(
            peer=peer,
            workload=workload,
            round=1,
            measurement=Measurement(
                calls=rate,
                seconds=1.0,
                client_cpu_seconds=1.0,
                server_cpu_seconds=0.5,
                p50_seconds=0.001,
                p99_seconds=0.002,
                p999_seconds=0.003,
                samples=10,
            ),
        )
        for (peer, workload), rate in rates.items()
    ]
    peers = {peer: PeerNames(peer, peer) for peer, _ in rates}
    return build_result(CONDITIONS, peers, outcomes)


def test_each_workload_has_a_row_for_each_pair_the_fastest_first() -> None:
    lines = grpc_tables(result_of(RATES)).splitlines()
    first = lines.index("| 32 B, 64 in flight | rate | p50 µs | client µs | server µs |")
    assert lines[first + 2] == "| fastrpc | 400,000 | 1,000.00 | 2.50 | 1.25 |"
    assert lines[first + 3].startswith("| **fastrpc_grpc** | **300,000** |")
    assert lines[first + 7] == "| grpc_asyncio | 4,000 | 1,000.00 | 250.00 | 125.00 |"


def test_a_rate_is_held_against_the_faster_loop_and_times_against_the_least() -> None:
    lines = bars_table(result_of(RATES), BARS).splitlines()
    assert "| both sides ÷ native | 0.75 × | ≥ 0.65 | yes |" in lines
    assert "| both sides ÷ grpc.aio | 60 × | ≥ 45 | yes |" in lines
    assert "| grpc-go's client → our server ÷ its own | 0.90 × | ≥ 1.05 | **no** |" in lines
    assert "| the server's time for that | 1.11 × | ≤ 0.55 | **no** |" in lines
    assert not any("tonic" in line for line in lines)


def test_bars_name_workloads_and_the_peers_that_these_are_taken_to() -> None:
    for bar in BARS:
        assert {bar.ours, *bar.others} <= {*(GRPC[bar.workload].only_peers or ())}
    assert set(AIO) < {*(GRPC["grpc_echo"].only_peers or ())}


def test_a_result_renews_its_section_and_two_rows_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / TABLES).parent.mkdir()
    (tmp_path / TABLES).write_text(f"{OVER_GRPC.begin}\nold\n{OVER_GRPC.end}")
    (tmp_path / "README.md").write_text(f"{GRPC_FIGURES.begin}\nold\n{GRPC_FIGURES.end}")
    result = result_of(RATES)
    write_readme(result, tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "old" not in readme + (tmp_path / TABLES).read_text()
    assert (
        "| gRPC: 32 B, 64 in flight | **300,000** | 100,000 (3.00 ×) | 5,000 (60 ×) | `grpc_echo` |" in readme
    )
    assert grpc_tables(result) in markdown(result)


def test_one_result_renews_both_tables_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / TABLES).parent.mkdir()
    (tmp_path / TABLES).write_text("\n".join(f"{section.begin}\n{section.end}" for section in SECTIONS))
    (tmp_path / "README.md").write_text(
        "\n".join(f"{section.begin}\nold\n{section.end}" for section in (FIGURES, GRPC_FIGURES))
    )
    beside = {(WORKLOADS[headline.workload].base_family, headline.workload): 1_000 for headline in CHOICE}
    ours = {(headline.peer, headline.workload): 4_000 for headline in CHOICE}
    write_readme(result_of({**RATES, **ours, **beside}), tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "old" not in readme
    assert "echo of 32 B, 64 calls in flight" in readme
    assert "gRPC: 32 B, 64 in flight" in readme


def test_a_result_without_other_implementations_leaves_the_readme_unchanged() -> None:
    assert grpc_headlines(result_of({("fastrpc_grpc", "grpc_echo"): 1})) == ""
    assert grpc_tables(result_of({})) == ""


def test_the_documents_have_their_markers() -> None:
    assert GRPC_FIGURES.replace((ROOT / "README.md").read_text(), "new")
    assert OVER_GRPC.replace((ROOT / TABLES).read_text(), "new")
