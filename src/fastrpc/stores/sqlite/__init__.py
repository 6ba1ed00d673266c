"""A store's file in a folder: the journal that writes it, and copies of it.

`folder` is independent of the tables, and brokers use it, too. `tables` are the tables of a store. `journal` uses both.
"""

from fastrpc.stores.sqlite.copies import StoreCopy, check_folder, copy_folder, restore_copy
from fastrpc.stores.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal", "StoreCopy", "check_folder", "copy_folder", "restore_copy"]
