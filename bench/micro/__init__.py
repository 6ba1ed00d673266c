"""Benchmarks of single parts of the core: their cost for a call, timed around loops in C."""
