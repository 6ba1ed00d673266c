# Nothing to cimport: Python derives from these classes.
