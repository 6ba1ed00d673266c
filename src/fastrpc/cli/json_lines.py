"""Log records as JSON, one object per line."""

import enum
import json
import logging
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastrpc.escaping import printable_json

__all__ = ["JSONLines"]

#: The fields of every record; all others come from its `extra`.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: The depth of nesting at which values are written as text.
_DEPTH = 8


class JSONLines(logging.Formatter):
    """Formats each record as a JSON object on one line.

    The object has `time` (UTC, RFC 3339), `level`, `logger`, `message` and `process`, then each field of the record's
    `extra`; also `exception` and `stack` if the record has them. A field of `extra` with one of these names gets a
    trailing underscore. Values that JSON lacks are written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _USUAL:
                while name in fields:
                    name += "_"
                fields[name] = _plain(value, _DEPTH)
        # Characters that hide or reorder text are escaped, so that a terminal shows the line unaltered.
        return printable_json(json.dumps(fields, ensure_ascii=False))


def _plain(value: Any, depth: int) -> Any:
    """Return a value in a form that JSON can express."""
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth and isinstance(value, Mapping):
        return {_text(key): _plain(part, depth - 1) for key, part in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(part, depth - 1) for part in _ordered(value)]
    return _text(value)


def _ordered(values: Iterable[Any]) -> Iterable[Any]:
    return sorted(values, key=_text) if isinstance(values, set | frozenset) else values


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__} in its text>"
