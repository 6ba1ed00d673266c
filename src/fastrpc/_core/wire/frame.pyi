class WireProtocol:
    """Encodes and parses frames; one object per connection.

    Its methods are in C (`parse`, `write`, `write_answer` and `head_size` of the .pxd); Python sees its settings.
    """

    #: Bytes that the body of a frame may have; a larger frame is refused from its header alone.
    frame_limit: int
    #: Whether the next frame has to be the peer's first SETTINGS.
    needs_settings: bool
    #: Lowest bit of the call ids that the peer opens: 1 for a client's.
    peer_parity: int
