"""Texts of users, made encodable before a protocol writes them."""

cdef extern from "Python.h":
    # A text of exactly `str`, also of an object of a subclass, none of whose methods is called.
    str PyUnicode_FromObject(object text)
    bint PyUnicode_IS_ASCII(object text) noexcept


cdef inline str sound_text(object text):
    """Return a text that UTF-8 can encode: "?" replaces each lone surrogate, as in undecodable names of files."""
    cdef str plain = PyUnicode_FromObject(text)
    return plain if PyUnicode_IS_ASCII(plain) else plain.encode("utf-8", "replace").decode()
