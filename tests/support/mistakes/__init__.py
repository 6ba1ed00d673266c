"""Mistakes of users, and faults around them: each ends in an error whose text a page of the guide explains."""
