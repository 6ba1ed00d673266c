"""Conversion of names of methods and statuses between grpcio and fastrpc."""

from typing import Any

from fastrpc.status import Status

__all__ = ["compressor_of", "path_of", "split_path", "status_of"]


def split_path(path: str | bytes) -> tuple[str, str]:
    """Return service and method of a path, `/package.Service/Method`.

    Raises:
        ValueError: the path has another form.
    """
    text = path.decode() if isinstance(path, bytes) else path
    begin, _, method = text.rpartition("/")
    if not begin.startswith("/") or "/" in begin[1:] or not begin[1:] or not method:
        raise ValueError(f"{text!r} is not the path of a method: write /package.Service/Method")
    return begin[1:], method


def path_of(full_name: str) -> str:
    """Return the path of a method by its full name, `package.Service.Method`."""
    service, _, method = full_name.rpartition(".")
    return f"/{service}/{method}"


def status_of(code: Any) -> Status:
    """Return the status for a `grpc.StatusCode`, a `Status` or a number; UNKNOWN for anything else."""
    value = getattr(code, "value", code)
    try:
        return Status(value[0] if isinstance(value, tuple) else value)
    except ValueError:
        return Status.UNKNOWN


def compressor_of(compression: Any) -> str | None:
    """Return the name of the compressor for a `grpc.Compression`; None for no compression."""
    name = None if compression is None else str(compression.name).lower()
    return None if name == "nocompression" else name
