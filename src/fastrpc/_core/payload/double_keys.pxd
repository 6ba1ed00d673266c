"""Find a repeated key in one map of a payload."""

# Return the text of a repeated key, or None. `codec_id` is msgpack's or JSON's; `prescan` has accepted the payload.
cdef object double_key(int codec_id, bytes payload)
