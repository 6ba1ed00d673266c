"""The lines that `fastrpc dev` prints: one per request, and one per call that is not a request."""

from datetime import datetime

from fastrpc.cli.output import shown, stdout
from fastrpc.server.watching import Ended

__all__ = ["print_ended"]


def print_ended(ended: Ended) -> None:
    """Print method, path, status and duration of a request, or protocol, method, status and duration of a call."""
    status = (ended.status, "red" if ended.is_error else "green")
    reason = f"  {ended.reason}" if ended.reason else ""
    stdout.print(
        (f"{datetime.now().astimezone():%H:%M:%S} ", "dim"),
        shown(ended.what),
        " ",
        status,
        f" {ended.seconds * 1e3:.1f} ms",
        shown(reason, "dim"),
    )
