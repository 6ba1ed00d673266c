from typing import final

@final
class SenderCheck:
    """The check of the sender of a long request, by its beginning, before the rest of it is received."""
