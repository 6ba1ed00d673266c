"""The frames of the native protocol, their encoding, and SETTINGS.

MAP.md lists the files to change for a new kind of frame. Some kinds also need changes in `_core/native`:

- a frame of a call needs rows in the tables of `callee_states` and `caller_states`; - a frame that may be split:
`message_assembler`; - a frame that uses the connection window: `_count` in `frame_reader`; - a frame without credit:
`output`; - a long frame: `count` of `DeficitRing` in `outgoing`; - a frame with an effect on one side only: a hook of
`Side` in `hooks` (for calls a method of `call_parts`), and the harness; - a frame of the connection itself: the kinds
that `recording_parts` of the harness accepts.

Add the kind to the reference in `tests/support/wire_*.py`, and to `violations` and `lockstep` beside it.
"""
