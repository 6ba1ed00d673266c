class OutputBuffer:
    """Bytes that wait to be sent, in order; compiled code fills and takes it."""
