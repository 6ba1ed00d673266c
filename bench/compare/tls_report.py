"""The table of measurements over TLS: each cipher, and its cost."""

from collections.abc import Mapping
from typing import Any

from bench.compare.tables import NOTHING, share_cell, table, times_cell

__all__ = ["encrypted_table"]

#: The name of a peer over TLS is that of the same peer without, and this.
SUFFIX = "_tls"

#: The base of comparison over TLS.
BASE = "grpc_go_tls"
LIMIT = "c_echo_tls"


def encrypted_table(result: Mapping[str, Any]) -> str:
    """Return a row for each measurement over TLS, with the agreed cipher; empty without measurements."""
    rates = {(row["peer"], row["workload"]): row["calls_per_second"] for row in result["summary"]}
    body = []
    for row in result["summary"]:
        if not row["cipher"]:
            continue
        peer, workload, rate = row["peer"], row["workload"], row["calls_per_second"]
        plain, base, limit = (
            rates.get((name, workload)) for name in (peer.removesuffix(SUFFIX), BASE, LIMIT)
        )
        body.append(
            [
                f"{workload} {result['peers'][peer]['title']}",
                f"{rate:,.0f}",
                row["cipher"],
                share_cell(rate / plain) if plain else NOTHING,
                times_cell(rate / base) if base else NOTHING,
                share_cell(rate / limit) if limit else NOTHING,
            ]
        )
    header = ["", "calls/s", "cipher", "of itself without TLS", "grpc-go over TLS", "of the OpenSSL echo"]
    return table(header, body) if body else ""
