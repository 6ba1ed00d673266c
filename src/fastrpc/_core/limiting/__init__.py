"""Limits of callers: rates and calls in progress by key. It imports neither calls nor a clock."""
