"""Marks of methods that servers start by themselves, at instants of the clock."""
