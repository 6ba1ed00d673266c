"""Promises in figures, each measured by one module: what is true beside the headline of the comparison."""
