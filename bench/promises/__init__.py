"""Promises in figures, each measured by one module, in addition to the headline of the comparison."""
