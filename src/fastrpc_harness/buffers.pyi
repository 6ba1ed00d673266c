from fastrpc._core.base.buffer import Assembly, WriteBuffer
from fastrpc._core.base.output_buffer import OutputBuffer

def write(buffer: WriteBuffer, data: bytes) -> None:
    """Append bytes."""

def written(buffer: WriteBuffer) -> bytes:
    """Return what is in the buffer, and leave it there."""

def take(buffer: WriteBuffer) -> bytes:
    """Return what is in the buffer, and empty it."""

def keep(buffer: WriteBuffer, size: int) -> None:
    """Cut the buffer back to its first `size` bytes."""

def clear(buffer: WriteBuffer) -> None:
    """Empty the buffer."""

def release(buffer: WriteBuffer) -> None:
    """Free the memory of an empty buffer."""

def capacity(buffer: WriteBuffer | Assembly) -> int:
    """Return the bytes that fit in without further memory."""

def append(assembly: Assembly, data: bytes, trusted: int = 0) -> None:
    """Receive bytes; `trusted` is the size of the largest payload that this peer has delivered whole."""

def finish(assembly: Assembly) -> bytes:
    """Return the payload, and empty the assembly."""

def place(assembly: Assembly, left: int) -> int: ...
def note_memory(is_short: bool) -> None: ...
def write_output(output: OutputBuffer, data: bytes) -> None:
    """Write bytes behind what is there."""

def put(output: OutputBuffer, payload: bytes, offset: int, size: int) -> None:
    """Append a part of a payload."""

def output_size(output: OutputBuffer) -> int: ...
def plain_output(output: OutputBuffer) -> bytes | None:
    """Return the output if it is one piece of memory; None if it is empty or has several pieces."""

def take_output(output: OutputBuffer) -> bytes | list[bytes | memoryview]: ...
def skip_output(output: OutputBuffer) -> None: ...
def drop_output(output: OutputBuffer) -> None: ...
def output_capacity(output: OutputBuffer) -> int: ...
