"""A connection of the native protocol, sans-IO: from bytes to the states of calls, and back."""
