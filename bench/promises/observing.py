"""What observing calls costs: the access log, and OpenTelemetry without an SDK."""

from dataclasses import replace

from bench.promises.finding import Finding, call, serving, slowdown

__all__ = ["access_log", "open_telemetry"]


def access_log() -> Finding:
    """The access log with a sample of 1 %, of 95 % of the rate at least."""
    return _of_rate("AccessLog(sample=0.01) on the server", "access_log", share=0.95)


def open_telemetry() -> Finding:
    """OpenTelemetry's API without an SDK on both sides, of 60 % of the rate at least."""
    found = _of_rate("OpenTelemetry() on both sides, without an SDK", "open_telemetry", share=0.6)
    # An SDK is the choice of a program: its price is reported, not promised.
    recorded = _rate("open_telemetry_sdk") / _rate("")
    return replace(
        found, details=f"{found.details}; with an SDK that exports nothing {recorded:.0%} of the rate"
    )


def _of_rate(title: str, observer: str, *, share: float) -> Finding:
    return slowdown(
        title, lambda: _rate(""), lambda: _rate(observer), pairs=5, limit=round((1 / share - 1) * 100, 1)
    )


def _rate(observer: str) -> float:
    with serving(*filter(None, [observer])) as server:
        kind = {"open_telemetry": "traced", "open_telemetry_sdk": "recorded"}.get(observer, "rate")
        return call(server, kind, 0.6, 0)["calls_per_second"]
