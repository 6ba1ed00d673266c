"""Frames, settings and streams of HTTP/2 for Python code."""
