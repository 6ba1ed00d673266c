"""The stacks that are compared, one file each, named after what it is; `base` holds what they implement.

A file here is found by itself: it sets `PEERS`, and that is all. It may import its own stack at the top;
where that is not installed the file is reported as left out.
"""
