"""Benchmarks of single parts of the core: what a call pays for each of them, timed around loops in C."""
