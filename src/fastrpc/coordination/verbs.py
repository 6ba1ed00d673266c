"""The end of each verb of a store, whose failures are StoreErrors."""

from typing import Final

from fastrpc.errors import StoreError
from fastrpc.hosted.verbs import Verbs

__all__ = ["finish"]

finish: Final = Verbs(StoreError).finish
