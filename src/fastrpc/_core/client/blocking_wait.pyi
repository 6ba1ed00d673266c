from typing import final

@final
class Wait:
    """What one thread of a blocking client waits for, and where it sleeps meanwhile. Of use in compiled code only."""
