"""Payload types beyond msgspec's: of the standard library, numpy arrays, pydantic models, and your own.

One file for each library of types; nothing here imports a library before a program did. May import errors.
"""

from fastrpc.types.base import register

__all__ = ["register"]
