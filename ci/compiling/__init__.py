"""Compile the core: requirements, flags, translation, freshness, cache and progress.

setup.py builds with it, so `pip install` does what `ci/build` does. It imports the standard library, setuptools and
Cython only, and the source distribution carries it.
"""
