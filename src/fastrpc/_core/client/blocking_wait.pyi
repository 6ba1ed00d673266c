from typing import final

@final
class Wait:
    """The events that one thread of a blocking client waits for, and the lock it sleeps at. For compiled code only."""
