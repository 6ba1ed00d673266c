"""The frames of the native protocol, their encoding, and SETTINGS.

MAP.md names the files of every new kind of frame. Some kinds need more of `_core/native`:

- one of a call: rows in the tables of `callee_states` and `caller_states`; one that may be cut: `message_assembler`;
- one that takes from the connection window: `_count` in `frame_reader`; one without credit: `output`;
- a long one: `count` of `DeficitRing` in `outgoing`; one with an effect on one side: a hook of `parts_owner`, for calls
  a method of `call_parts`, and of the harness.

The reference in `tests/support/wire_*.py` has the kind as well, and so have `violations` and `lockstep` beside it.
"""
