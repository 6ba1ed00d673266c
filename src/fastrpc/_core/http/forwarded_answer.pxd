"""The HTTP status and fields that a handler sets on a server behind a gateway."""
