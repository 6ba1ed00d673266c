"""Errors of calls by HTTP: problems (RFC 9457) and their statuses."""

from typing import Final

from fastrpc.rpc.schema.json_schema import JsonSchema, object_schema
from fastrpc.status import Status

__all__ = ["HTTP_STATUS", "PROBLEM"]

#: The HTTP statuses of problem responses, with their phrases.
HTTP_STATUS: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

#: The schema of a problem.
PROBLEM: Final[JsonSchema] = {
    "title": "Problem",
    "description": "Why a call failed (RFC 9457).",
    **object_schema(
        [
            ("type", {"type": "string", "const": "about:blank"}, True),
            ("title", {"type": "string", "description": "The phrase of the HTTP status."}, True),
            ("status", {"type": "integer", "description": "The HTTP status."}, True),
            ("code", {"type": "string", "enum": [one.name for one in Status if one.value]}, True),
            ("detail", {"type": "string", "description": "The cause of the error."}, False),
            (
                "processed",
                {"enum": ["no", "yes", "unknown"], "description": "Whether the handler may have run."},
                False,
            ),
            (
                "retry_after",
                {"type": "number", "description": "Seconds until another try may succeed."},
                False,
            ),
            ("details", {"description": "Details from the handler beside the text; any value."}, False),
        ],
        is_closed=False,
    ),
}
