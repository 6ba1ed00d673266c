from typing import final

@final
class UpwardFrames:
    """The frames for the connection above a translation; compiled code makes and takes it."""
