"""The messages of a stream as its user sends and receives them. May import `native`, and no socket."""
