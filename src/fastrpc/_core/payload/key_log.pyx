"""The positions of the keys of long maps and the values of long arrays in a payload.

The pre-scan records them for `hash_flood`, which decodes them separately. Containers nest, so the entries of open
containers form a stack; when a container ends, its entries are kept or dropped.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef enum:
    FIRST_SPANS = 256
    FIRST_GROUPS = 16


cdef bint grow_open(KeyLog* log) noexcept nogil:
    cdef Py_ssize_t capacity = 2 * log.capacity if log.capacity else FIRST_SPANS
    cdef Span* spans = <Span*>realloc(log.open, capacity * sizeof(Span))
    if spans is NULL:
        return False
    log.open = spans
    log.capacity = capacity
    return True


cdef bint grow_kept(KeyLog* log, Py_ssize_t count) noexcept nogil:
    """Make room for `count` spans and for a group."""
    cdef Py_ssize_t capacity = log.kept_capacity
    cdef Span* spans
    cdef Group* groups
    if log.kept_size + count > capacity:
        capacity = max(2 * capacity, log.kept_size + count)
        spans = <Span*>realloc(log.kept, capacity * sizeof(Span))
        if spans is NULL:
            return False
        log.kept = spans
        log.kept_capacity = capacity
    if log.group_count == log.group_capacity:
        capacity = 2 * log.group_capacity if log.group_capacity else FIRST_GROUPS
        groups = <Group*>realloc(log.groups, capacity * sizeof(Group))
        if groups is NULL:
            return False
        log.groups = groups
        log.group_capacity = capacity
    return True


cdef bint close_group(KeyLog* log, Py_ssize_t base, bint is_map, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t count = log.size - base, index
    cdef Group* group
    log.size = base
    if count <= UNNOTED_ENTRIES:
        return True
    if not grow_kept(log, count):
        return False
    if not is_map:
        for index in range(base, base + count - 1):
            log.open[index].end = log.open[index + 1].start
        log.open[base + count - 1].end = end
    memcpy(log.kept + log.kept_size, log.open + base, count * sizeof(Span))
    group = &log.groups[log.group_count]
    group.first = log.kept_size
    group.count = count
    group.is_map = is_map
    log.group_count += 1
    log.kept_size += count
    log.comparisons += <double>count * <double>count
    return True


cdef void release(KeyLog* log) noexcept nogil:
    free(log.open)
    free(log.kept)
    free(log.groups)
    memset(log, 0, sizeof(KeyLog))
