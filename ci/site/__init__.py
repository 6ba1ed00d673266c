"""The site of `make docs`: pages of the guide, and a reference that is read from sources and stubs.

Sphinx with Furo renders it. The alternative was Zensical, whose reference is made by mkdocstrings: that needs MkDocs 1
and reads compiled modules before their stubs, so it listed `__pyx_vtable__`, lost the types and overloads that only the
stubs have, and left out fields that a `#:` comment describes, such as those of `Reply`. Sphinx takes entries that a
program writes, links them and lists them in `objects.inv`, which a test compares with `__all__`.
"""
