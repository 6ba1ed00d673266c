# Nothing to cimport: Python calls these functions.
