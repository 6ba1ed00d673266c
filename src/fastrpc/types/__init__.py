"""Payload types that msgspec lacks: types of the standard library, numpy arrays, pydantic models, and your own.

There is one file per library. No library is imported before the program imports it. This package may import `errors`.
"""

from fastrpc.types.base import register

__all__ = ["register"]
