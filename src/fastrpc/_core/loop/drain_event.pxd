"""A subclass of `asyncio.Event`, so a class of Python: it has nothing for other modules of C."""
