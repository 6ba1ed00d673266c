"""The file of a store in a folder: the journal that writes it, and its copies.

`folder` depends on no table, and serves other owners as well; `tables` are the tables of a store, and `journal` uses
both.
"""

from fastrpc.stores.sqlite.copies import StoreCopy, check_folder, copy_folder, restore_copy
from fastrpc.stores.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal", "StoreCopy", "check_folder", "copy_folder", "restore_copy"]
