"""The messages of a stream as its user sends and receives them. This room may import `native`, but no socket."""
