"""What a frame of the native protocol is, how it becomes bytes, and what SETTINGS announces."""
