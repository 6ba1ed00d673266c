"""Limits of callers: rates and calls in progress by key. This room imports neither calls nor a clock."""
