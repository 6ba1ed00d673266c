"""TLS: the cost of a handshake, and new certificates while calls run."""

import statistics
import sys
import tempfile
from pathlib import Path

from bench.compare.processes import RunningServer, choose_cores, run_client, running_server
from bench.promises.certificates import make_certificate
from bench.promises.finding import Finding

__all__ = ["handshakes", "rotations"]

#: Connections of one measurement, and the number of measurements, whose median counts.
COUNT = 150
LOOKS = 5

ROTATIONS = 10


def handshakes() -> Finding:
    """Full handshakes with RSA-2048, against `openssl s_server`: the server's processor time."""
    with tempfile.TemporaryDirectory() as folder:
        shown = make_certificate(Path(folder), "rsa", key="rsa:2048")
        files = [str(shown.cert_file), str(shown.key_file)]
        ours, plain = _each_connection("serve", files)
        theirs, theirs_plain = _each_connection("s_server", files)
    return Finding(
        "a full handshake with RSA-2048, less a plain connection",
        (ours - plain) / theirs,
        1.3,
        "times the processor time of openssl s_server",
        f"{ours * 1e6:,.0f} - {plain * 1e6:,.0f} and {theirs * 1e6:,.0f} µs, of which s_server takes "
        f"{theirs_plain * 1e6:,.0f} to refuse a connection that says nothing; medians of {LOOKS} × {COUNT}",
    )


def _each_connection(kind: str, files: list[str]) -> tuple[float, float]:
    """Return the server's processor time for a connection with TLS and for one without, in seconds."""
    command = [sys.executable, "-m", "bench.promises.handshakes"]
    with running_server([*command, kind, *files], choose_cores().server) as server:
        encrypted, plain = server.address.split()
        looks = [(_look(server, encrypted, files[0]), _look(server, plain, "")) for _ in range(LOOKS)]
    return statistics.median(look[0] for look in looks), statistics.median(look[1] for look in looks)


def _look(server: RunningServer, place: str, authority: str) -> float:
    arguments = ["connect", place, authority, str(COUNT), str(server.processes[-1])]
    command = [sys.executable, "-m", "bench.promises.handshakes", *arguments]
    return float(run_client(command, choose_cores().client, 30)["seconds"])


def rotations() -> list[Finding]:
    """Ten new certificates under 1,000 calls/s over connections that are replaced twice a second."""
    command = [sys.executable, "-m", "bench.promises.rotated"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = make_certificate(folder, "authority")
        for number in range(ROTATIONS + 1):
            make_certificate(folder, str(number), authority=authority)
        with running_server([*command, "serve", name], choose_cores().server) as server:
            found = run_client([*command, server.address, name, str(ROTATIONS)], choose_cores().client, 60)
    details = (
        f"{found['calls']:.0f} calls in {found['seconds']:.1f} s over {found['connections']:.0f} connections"
    )
    return [
        Finding("ten certificates under 1,000 calls/s: failed", found["failed"], 0, "calls", details),
        Finding("the same: calls that were not made", found["missing"], 1, "% of 1,000/s", details),
        Finding(
            "the same: until a new certificate is used",
            found["slowest"],
            3,
            "s, the slowest",
            f"median {found['median']:.1f} s",
        ),
    ]
