"""Sides that take turns in one run, with bars that compare the times of one operation."""
