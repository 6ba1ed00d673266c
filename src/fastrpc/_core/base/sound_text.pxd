"""Conversion of users' texts to texts that UTF-8 can encode, before a protocol writes them."""

cdef extern from "Python.h":
    # Returns the text as exact `str`. For an object of a subclass no overridden method is called.
    str PyUnicode_FromObject(object text)
    bint PyUnicode_IS_ASCII(object text) noexcept


cdef inline str sound_text(object text):
    """Return a text that UTF-8 can encode: "?" replaces lone surrogates, which undecodable file names have."""
    cdef str plain = PyUnicode_FromObject(text)
    return plain if PyUnicode_IS_ASCII(plain) else plain.encode("utf-8", "replace").decode()
