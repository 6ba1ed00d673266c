"""Decorators for methods that servers call on a schedule."""
