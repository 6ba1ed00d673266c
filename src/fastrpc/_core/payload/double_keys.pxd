"""Finds a repeated key in one map of a payload."""

# Return the text of a repeated key, or None. `codec_id` is msgpack's or JSON's; the payload was scanned (payload_scan).
cdef object double_key(int codec_id, bytes payload)
