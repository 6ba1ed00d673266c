from typing import final

@final
class EncodedRequest:
    """The arguments of a call, encoded, and compressed once that is done."""
