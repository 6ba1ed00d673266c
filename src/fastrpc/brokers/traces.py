"""Carry the trace context of a publisher in the headers of its message, so that the handler joins the trace.

The global propagator of OpenTelemetry writes the fields; their names get the prefix `frpc-`.
"""

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fastrpc._core.payload.metadata import encode_metadata
from fastrpc.brokers.base.texts import OWN_PREFIX

__all__ = ["metadata_of", "with_trace"]


def with_trace(headers: dict[str, str], most_bytes: int) -> dict[str, str]:
    """Return headers with the current trace context, or without it if they would be too long."""
    # If this module is not imported, the program does not trace.
    propagate: Any = sys.modules.get("opentelemetry.propagate")
    if propagate is None:
        return headers
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if not carrier:
        return headers
    traced = headers | {f"{OWN_PREFIX}{name.lower()}": text for name, text in carrier.items()}
    size = sum(len(name) + len(text.encode()) for name, text in traced.items())
    return traced if size <= most_bytes else headers


def metadata_of(headers: Mapping[str, str]) -> bytes | None:
    """Return the encoded metadata of a delivery: its headers, and the trace context under its usual names.

    Raises:
        TypeError, ValueError: the headers are not metadata.
    """
    if len(headers) == 1:
        # Most messages have only `content-type`.
        ((only, value),) = headers.items()
        if not only.startswith(OWN_PREFIX):
            return _encoded(only, value)
    metadata = {name: text for name, text in headers.items() if not name.startswith(OWN_PREFIX)}
    propagate: Any = sys.modules.get("opentelemetry.propagate")
    if propagate is not None and len(metadata) < len(headers):
        for field in propagate.get_global_textmap().fields:
            text = headers.get(f"{OWN_PREFIX}{field.lower()}")
            if text is not None:
                metadata[field.lower()] = text
    return encode_metadata(metadata) if metadata else None


@lru_cache(maxsize=64)
def _encoded(name: str, text: str) -> bytes:
    return encode_metadata({name: text})
