"""Declares nothing: `DrainEvent` is a Python class, as it derives from `asyncio.Event`."""
