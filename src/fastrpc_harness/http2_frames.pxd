"""Frames, settings and streams of HTTP/2 in Python's reach."""
