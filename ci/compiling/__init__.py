"""Compile the core: requirements, flags, translation, freshness, cache and progress.

setup.py builds with it, so `pip install` does the same as `ci/build`. It imports only the standard library, setuptools
and Cython, and the source distribution contains it.
"""
