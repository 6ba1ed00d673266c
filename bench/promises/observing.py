"""The cost of a server's features: the access log, OpenTelemetry without an SDK, other protocols."""

from dataclasses import replace

from bench.promises.finding import Finding, call, serving, slowdown, slowdown_in_turn

__all__ = ["access_log", "every_protocol", "open_telemetry"]


def access_log() -> Finding:
    """The access log with a sample of 1 %, of 95 % of the rate at least."""
    title = "AccessLog(sample=0.01) on the server"
    return slowdown_in_turn(title, "plain", "access_log", limit=_percent(0.95))


def every_protocol() -> Finding:
    """Native calls to a server with all protocols: at least 98 % of the rate of a server with no other protocol."""
    title = "native calls to a server of every protocol"
    return slowdown_in_turn(title, "plain", "every_protocol", limit=_percent(0.98))


def open_telemetry() -> Finding:
    """OpenTelemetry's API without an SDK on both sides, of 60 % of the rate at least."""
    title = "OpenTelemetry() on both sides, without an SDK"
    found = slowdown(title, lambda: _rate(""), lambda: _rate("open_telemetry"), pairs=5, limit=_percent(0.6))
    # An SDK is the choice of a program: its cost is reported, not promised.
    recorded = _rate("open_telemetry_sdk") / _rate("")
    return replace(
        found, details=f"{found.details}; with an SDK that exports nothing {recorded:.0%} of the rate"
    )


def _percent(share: float) -> float:
    """Return by how many percent a server may be slower that keeps so much of its rate."""
    return round((1 / share - 1) * 100, 1)


def _rate(observer: str) -> float:
    with serving(*filter(None, [observer])) as server:
        kind = {"open_telemetry": "traced", "open_telemetry_sdk": "recorded"}.get(observer, "rate")
        return call(server, kind, 0.6, 0)["calls_per_second"]
