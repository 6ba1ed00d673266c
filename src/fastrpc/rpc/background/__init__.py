"""Decorators for methods that servers call by themselves: on a schedule, or for each message of a topic."""
