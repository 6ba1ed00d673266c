"""The file of a store in a folder: the journal that writes it, and its copies."""

from fastrpc.stores.sqlite.copies import StoreCopy, check_folder, copy_folder, restore_copy
from fastrpc.stores.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal", "StoreCopy", "check_folder", "copy_folder", "restore_copy"]
