"""Keys of metadata that came by protocols of Go programs."""


# Return whether a key, in small letters, is one of ours as well.
cdef bint has_form(bytes key) except -1

# Count entries that were left out, and log the first one unless that was told before.
cdef int note_dropped(list dropped, str protocol, object logger, bint is_told) except -1

# Return the beginning of a key for a text.
cdef str shown_key(bytes key)
