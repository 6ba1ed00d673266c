from collections.abc import Mapping
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.plots import draw_plots
from bench.compare.readme import streams_block
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Outcome
from bench.compare.stream_report import stream_rates, stream_ratios

PEERS = {
    "c_sink": PeerNames("C, one way", "C, one way"),
    "fastrpc": PeerNames("fastrpc, uvloop", "fastrpc"),
    "fastrpc_blocking": PeerNames("fastrpc, blocking client", "fastrpc"),
    "grpc_asyncio": PeerNames("grpc.aio, asyncio", "grpc.aio"),
    "grpc_uvloop": PeerNames("grpc.aio, uvloop", "grpc.aio"),
    "grpc_sync": PeerNames("grpcio, threads", "grpcio sync"),
    "grpc_go": PeerNames("grpc-go", "grpc-go"),
}

#: Messages per second.
RATES = {
    ("c_sink", "server_stream"): 100_000_000,
    ("c_sink", "server_stream_64K"): 100_000,
    ("fastrpc", "server_stream"): 1_000_000,
    ("fastrpc", "server_stream_many"): 3_000_000,
    ("fastrpc", "server_stream_64K"): 60_000,
    ("fastrpc", "both_ways"): 300_000,
    ("fastrpc_blocking", "server_stream"): 900_000,
    ("grpc_asyncio", "server_stream"): 20_000,
    ("grpc_uvloop", "server_stream"): 25_000,
    ("grpc_sync", "server_stream"): 10_000,
    ("grpc_go", "server_stream"): 800_000,
}


@pytest.fixture
def streams(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run that measured `RATES`."""
    outcomes = [
        Outcome(
            peer=peer,
            workload=workload,
            round=1,
            measurement=Measurement(
                calls=rate,
                seconds=1.0,
                client_cpu_seconds=0.5,
                server_cpu_seconds=0.5,
                p50_seconds=0.0,
                p99_seconds=0.0,
                p999_seconds=0.0,
                samples=0,
            ),
        )
        for (peer, workload), rate in RATES.items()
    ]
    conditions = {name: result[name] for name in ("machine", "settings", "left_out")}
    return build_result(conditions, PEERS, outcomes)


def test_peers_are_in_the_order_of_their_server_streams(streams: dict[str, Any]) -> None:
    lines = stream_rates(streams).splitlines()
    assert lines[0] == "|  | server stream, 32 B | 64 KiB | both ways, 32 B |"
    assert lines[2] == "| C, one way | 100,000,000 | 6,554 MB/s | – |"
    assert lines[3] == "| **fastrpc, uvloop** | **1,000,000** | **3,932 MB/s** | **300,000** |"
    assert [line.split("|")[1].strip(" *") for line in lines[4:]] == [
        "fastrpc, blocking client",
        "grpc-go",
        "grpc.aio, uvloop",
        "grpc.aio, asyncio",
        "grpcio, threads",
    ]


def test_ratios_are_of_each_stack_and_of_the_one_way_limit(streams: dict[str, Any]) -> None:
    lines = stream_ratios(streams).splitlines()
    assert lines[0] == "|  | measured | grpc.aio | grpcio | grpc-go | tonic | of C, one way |"
    assert lines[2] == "| server stream, 32 B | 1,000,000 | 40 × | 100 × | 1.25 × | – | 1.0% |"
    assert lines[4] == "| server stream, 64 KiB | 3,932 MB/s | – | – | – | – | 60% |"
    assert lines[6] == "| server stream, 32 B, SyncClient | 900,000 | 36 × | 90 × | 1.12 × | – | 0.9% |"


def test_a_stream_that_only_we_offer_is_compared_with_a_stand_in(streams: dict[str, Any]) -> None:
    lines = stream_ratios(streams).splitlines()
    assert (
        lines[3]
        == "| server stream through `receive_many()`, 32 B | 3,000,000 | 120 × | 300 × | 3.75 × | – | 3.0% |"
    )


def test_the_summary_holds_the_share_of_the_one_way_limit(streams: dict[str, Any]) -> None:
    shares = {
        (row["peer"], row["workload"]): (row["times_base"], row["share_of_limit"])
        for row in streams["summary"]
    }
    assert shares["fastrpc", "server_stream_64K"] == (None, 0.6)
    assert shares["fastrpc", "server_stream"] == (40.0, 0.01)


def test_the_report_and_the_page_of_results_show_streams(streams: dict[str, Any]) -> None:
    for text in (markdown(streams), streams_block(streams, [])):
        assert stream_rates(streams) in text
        assert stream_ratios(streams) in text
    assert (
        "- server_stream_many: server stream through `receive_many()`, 32 B; held against server_stream"
        in (markdown(streams))
    )


def test_bars_of_streams_leave_out_the_yardstick(streams: dict[str, Any]) -> None:
    picture = draw_plots(streams)["server_stream"]
    assert "messages per second" in picture
    assert "grpc-go" in picture
    assert "C, one way" not in picture


def test_without_streams_there_is_no_table_of_streams(result: Mapping[str, Any]) -> None:
    assert stream_rates(result) == ""
    assert stream_ratios(result) == ""
    assert "One stream" not in markdown(result)
