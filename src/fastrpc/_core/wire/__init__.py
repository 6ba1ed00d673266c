"""The frames of the native protocol, their encoding, and SETTINGS.

MAP.md names the files of every new kind of frame. Some kinds need more of `_core/native`:

- a frame of a call: rows in the tables of `callee_states` and `caller_states`;
- a frame that may be cut: `message_assembler`;
- a frame that takes from the connection window: `_count` in `frame_reader`;
- a frame without credit: `output`;
- a long frame: `count` of `DeficitRing` in `outgoing`;
- a frame with an effect on one side: a hook of `Side` in `hooks`, for calls a method of `call_parts`, and the harness;
- a frame of the connection itself: the kinds that `recording_parts` of the harness takes.

The reference in `tests/support/wire_*.py` has the kind as well; so do `violations` and `lockstep` beside it.
"""
