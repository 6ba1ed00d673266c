"""Wheels for each CPython and architecture of Linux, compiled by zig with headers of Debian: `python -m ci.wheels`.

The C of the core is written once; it is the same for every version.
"""
