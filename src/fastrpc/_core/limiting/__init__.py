"""Limits of callers: rates and calls in progress by key. It knows no call and no clock of its own."""
