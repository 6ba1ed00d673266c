"""A connection of the native protocol, sans-IO: it turns bytes into states of calls, and calls into bytes."""
