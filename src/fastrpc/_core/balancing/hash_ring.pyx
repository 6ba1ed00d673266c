"""Consistent hashing with bounded load.

Each node has points on a circle of 2**64 positions, and a key belongs to the first point at or after its hash (Karger
and others, STOC 1997). A node of weight 1 has 256 points, which keep its share within 6 % of the fair share (one
standard deviation) and within 25 % at four standard deviations.

A search starts at the bucket of the hash's highest bits. There are as many buckets as points, so a bucket holds about
one point; a bucket with many points is searched by halving. Points are sorted the same way: distributed to buckets,
then sorted within them.

A ring is a function of names and weights alone, so incremental changes and a fresh start give the same ring. Beyond
2**20 points every node has half as many points; more keys move only when that limit is crossed.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from fastrpc.errors import ConfigError


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    # NULL, with an error set, for a text with lone surrogates.
    const char* utf8_or_null "PyUnicode_AsUTF8AndSize"(object text, Py_ssize_t* size) noexcept
    void PyErr_Clear() noexcept
    long long PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1


cdef extern from "base/bits.h" nogil:
    int fastrpc_highest_bit(uint64_t word) noexcept
    void prefetch "fastrpc_prefetch"(const void* place) noexcept


cdef enum:
    # Points a ring may have, 16 MiB with its buckets.
    MOST_POINTS = 1 << 20
    MOST_POINTS_PER_WEIGHT = 1 << 16
    MOST_WEIGHT = 1 << 16
    # Buckets of up to this many points are searched linearly.
    SHORT_BUCKET = 8

cdef uint64_t NAME_SEED = 0x6e616d65            # "name": a key that equals a node's name does not fall on its point
cdef uint64_t LARGE_NUMBER_SEED = 0x6c61726765


cdef bytes whole_form(object text):
    """Return the bytes of a text that has no UTF-8: names of files, for example, may have lone surrogates."""
    PyErr_Clear()
    return text.encode("utf-8", "surrogatepass")


cdef uint64_t hash_text(object text, uint64_t seed) except? 0:
    cdef Py_ssize_t size = 0
    # The text owns these bytes, and the caller holds the text.
    cdef const char* form = utf8_or_null(text, &size)
    if form is NULL:
        whole = whole_form(text)
        return hash_bytes(PyBytes_AS_STRING(whole), <size_t>PyBytes_GET_SIZE(whole), seed)
    return hash_bytes(form, <size_t>size, seed)


cdef uint64_t hash_key(object key) except? 0:
    cdef int overflow = 0
    cdef long long number
    if isinstance(key, str):
        return hash_text(key, 0)
    if isinstance(key, int):
        number = PyLong_AsLongLongAndOverflow(key, &overflow)
        if not overflow:
            return hash_number(<uint64_t>number, 0)
        large = key.to_bytes(key.bit_length() // 8 + 1, "little", signed=True)
        return hash_bytes(PyBytes_AS_STRING(large), <size_t>PyBytes_GET_SIZE(large), LARGE_NUMBER_SEED)
    if isinstance(key, bytes):
        return hash_bytes(PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), 0)
    raise TypeError(f"a hash key is str, bytes or int, this one is {type(key).__name__}")


cdef uint64_t fnv_key(object key) except? 0:
    if isinstance(key, int):
        return fnv_number(FNV_EMPTY, key)
    if isinstance(key, str):
        return fnv_text(FNV_EMPTY, key)
    if isinstance(key, bytes):
        return fnv1a(FNV_EMPTY, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key))
    raise TypeError(f"a hash key is str, bytes or int, this one is {type(key).__name__}")


cdef uint64_t fnv_call(str method, object argument) except? 0:
    """Hash rpcx's key of a method "Path.Method" and an argument that is an int or a text: "/Path/Method/argument"."""
    cdef Py_ssize_t size = 0, name
    cdef const char* text = PyUnicode_AsUTF8AndSize(method, &size)
    cdef uint64_t hash = fnv1a(FNV_EMPTY, "/", 1)
    name = size
    while name > 0 and text[name - 1] != c".":
        name -= 1
    hash = fnv1a(fnv1a(hash, text, <size_t>max(name - 1, 0)), "/", 1)
    hash = fnv1a(fnv1a(hash, text + name, <size_t>(size - name)), "/", 1)
    return fnv_number(hash, argument) if isinstance(argument, int) else fnv_text(hash, argument)


cdef uint64_t fnv_number(uint64_t hash, object number) except? 0:
    """Continue a hash with the decimal digits of an int."""
    cdef char[20] digits
    cdef char* end = digits + sizeof(digits)
    cdef char* digit = end
    cdef int overflow = 0
    cdef long long rest = PyLong_AsLongLongAndOverflow(number, &overflow)
    if rest < 0 or overflow:
        return fnv_text(hash, str(int(number)))
    while digit == end or rest:
        digit -= 1
        digit[0] = <char>(c"0" + rest % 10)
        rest //= 10
    return fnv1a(hash, digit, <size_t>(end - digit))


cdef uint64_t fnv_text(uint64_t hash, object text) except? 0:
    cdef Py_ssize_t size = 0
    cdef const char* encoded = utf8_or_null(text, &size)
    if encoded is NULL:
        whole = whole_form(text)
        return fnv1a(hash, PyBytes_AS_STRING(whole), <size_t>PyBytes_GET_SIZE(whole))
    return fnv1a(hash, encoded, <size_t>size)


def key_hash(key):
    return hash_key(key)


def go_key_hash(key):
    return fnv_key(key)


def jump(uint64_t hash, uint32_t buckets):
    if not buckets:
        raise ValueError("the number of buckets is 0, it must be positive")
    return jump_hash(hash, buckets)


cdef inline bint comes_before(Point* left, Point* right, Node* nodes) noexcept nogil:
    # Two nodes may have a point at the same position; their order must not depend on the numbers of the nodes.
    if left.position != right.position:
        return left.position < right.position
    return nodes[left.node].identity < nodes[right.node].identity


cdef int bucket_shift(uint64_t size) noexcept nogil:
    """Return the shift from a position to its bucket, for about one point in each."""
    return 63 - fastrpc_highest_bit(size) if size > 1 else 63


cdef int sort_points(Point* points, Py_ssize_t size, Node* nodes) except -1:
    """Sort points. They are spread evenly, so distributing them to buckets leaves little to sort."""
    cdef int shift = bucket_shift(<uint64_t>size)
    cdef Py_ssize_t buckets = <Py_ssize_t>1 << (64 - shift)
    cdef uint32_t* ends = <uint32_t*>PyMem_Calloc(buckets + 1, sizeof(uint32_t))
    cdef Point* dealt = <Point*>PyMem_Malloc(max(size, 1) * sizeof(Point))
    cdef Py_ssize_t index, place
    cdef Point moving
    try:
        if ends is NULL or dealt is NULL:
            raise MemoryError
        for index in range(size):
            ends[(points[index].position >> shift) + 1] += 1
        for index in range(buckets):
            ends[index + 1] += ends[index]
        for index in range(size):
            place = <Py_ssize_t>(points[index].position >> shift)
            dealt[ends[place]] = points[index]
            ends[place] += 1
        for index in range(size):
            moving = dealt[index]
            place = index
            while place and comes_before(&moving, &points[place - 1], nodes):
                points[place] = points[place - 1]
                place -= 1
            points[place] = moving
    finally:
        PyMem_Free(ends)
        PyMem_Free(dealt)
    return 0


cdef int halvings_for(uint64_t weight, uint32_t points_per_weight) noexcept:
    cdef int halvings = 0
    while (weight * points_per_weight) >> halvings > MOST_POINTS:
        halvings += 1
    return halvings


@cython.final
cdef class HashRing:

    def __cinit__(self, nodes=None, *, bound=None, int64_t least_load=0, int64_t points_per_weight=256):
        if bound is not None and not 1 <= bound <= 1e6:
            raise ValueError(f"bound is {bound!r}, it must be a number from 1 to 1,000,000, or None")
        if not 0 <= least_load <= 1 << 40:
            raise ValueError(f"least_load is {least_load}, it must be a whole number from 0 to 2**40")
        if not 1 <= points_per_weight <= MOST_POINTS_PER_WEIGHT:
            raise ValueError(f"points_per_weight is {points_per_weight}, it must be 1 to {MOST_POINTS_PER_WEIGHT:,}")
        self._names = []
        self._free = []
        self._numbers = {}
        self._bound = 0.0 if bound is None else bound
        self._least_load = least_load
        self.points_per_weight = <uint32_t>points_per_weight
        self._shift = 63
        if nodes is not None:
            self.update(nodes)

    def __dealloc__(self):
        PyMem_Free(self._nodes)
        PyMem_Free(self._positions)
        PyMem_Free(self._owners)
        PyMem_Free(self._starts)

    def __len__(self):
        return len(self._numbers)

    def __contains__(self, name):
        return name in self._numbers

    @property
    def points(self):
        return self._size

    @property
    def numbers(self):
        return len(self._names)

    # Changes

    def update(self, nodes):
        self.set_nodes(dict(nodes))

    def add(self, str name not None, weight=1):
        self.set_nodes({**self._weights(), name: weight})

    def remove(self, name):
        nodes = self._weights()
        del nodes[name]
        self.set_nodes(nodes)

    def _weights(self):
        return {name: self._nodes[<Py_ssize_t>number].weight for name, number in self._numbers.items()}

    cdef int set_nodes(self, dict weights) except -1:
        """Replace the nodes. All checks come before the first change."""
        cdef uint64_t total = 0
        cdef Py_ssize_t number
        cdef uint8_t* is_fresh
        for name, weight in weights.items():
            if not isinstance(name, str):
                raise TypeError(f"the name of a node is str, this one is {type(name).__name__}")
            if not isinstance(weight, int) or not 0 <= weight <= MOST_WEIGHT:
                raise ValueError(f"weight of {name!r} is {weight!r}, it must be 0 to {MOST_WEIGHT:,}")
            total += <uint64_t>weight
        for name in [name for name in self._numbers if name not in weights]:
            number = self._numbers.pop(name)
            self.set_shut(number, False)
            self.total_load -= self._nodes[number].load
            self._names[number] = None
            self._free.append(number)
        is_fresh = <uint8_t*>PyMem_Calloc(len(self._names) + len(weights) + 1, 1)
        if is_fresh is NULL:
            raise MemoryError
        try:
            for name, weight in weights.items():
                number = self.number_of(name)
                if number < 0:
                    number = self._add_node(name, weight)
                    is_fresh[number] = True
                elif self._nodes[number].weight != <uint32_t>weight:
                    if self._nodes[number].is_shut:
                        self._shut_weight += <uint64_t>weight - self._nodes[number].weight
                    self._nodes[number].weight = weight
                    is_fresh[number] = True
            if halvings_for(total, self.points_per_weight) != self._halvings:
                self._halvings = halvings_for(total, self.points_per_weight)
                memset(is_fresh, True, <size_t>len(self._names))
            self._total_weight = total
            self._rebuild(is_fresh)
        finally:
            PyMem_Free(is_fresh)
        return 0

    cdef Py_ssize_t number_of(self, str name) except -2:
        found = self._numbers.get(name)
        return -1 if found is None else <Py_ssize_t>found

    cdef int _add_node(self, str name, uint32_t weight) except -1:
        """Assign a number to a new node, and return the number."""
        cdef Py_ssize_t number
        cdef Node* grown
        if self._free:
            number = self._free.pop()
            self._names[number] = name
        else:
            number = len(self._names)
            if not number & (number - 1):  # Full at each power of two.
                grown = <Node*>PyMem_Realloc(self._nodes, max(2 * number, 1) * sizeof(Node))
                if grown is NULL:
                    raise MemoryError
                self._nodes = grown
            self._names.append(name)
        self._nodes[number] = Node(
            identity=hash_text(name, NAME_SEED), points=0, weight=weight, load=0, is_avoided=False,
            is_shut=False,
        )
        self._numbers[name] = number
        return <int>number

    cdef int _rebuild(self, uint8_t* is_fresh) except -1:
        """Rebuild the points: compute the points of fresh nodes, keep the points of other nodes."""
        cdef Py_ssize_t number, index, place = 0
        cdef uint64_t fresh = 0
        cdef uint64_t kept = 0
        cdef uint32_t amount
        cdef Node* node
        cdef Point* points
        for number in range(len(self._names)):
            node = &self._nodes[number]
            if self._names[number] is None:
                is_fresh[number] = True  # The points of the node are removed, and no new ones are added.
                node.points = 0
            elif is_fresh[number]:
                amount = <uint32_t>((<uint64_t>node.weight * self.points_per_weight) >> self._halvings)
                node.points = max(amount, 1) if node.weight else 0
                fresh += node.points
            else:
                kept += node.points
        points = <Point*>PyMem_Malloc((fresh + 1) * sizeof(Point))
        if points is NULL:
            raise MemoryError
        try:
            for number in range(len(self._names)):
                if is_fresh[number]:
                    for index in range(self._nodes[number].points):
                        points[place] = Point(hash_number(<uint64_t>index, self._nodes[number].identity), <uint32_t>number)
                        place += 1
            sort_points(points, place, self._nodes)
            self._merge(points, place, <Py_ssize_t>kept, is_fresh)
        finally:
            PyMem_Free(points)
        return 0

    cdef int _merge(self, Point* fresh, Py_ssize_t fresh_size, Py_ssize_t kept, uint8_t* is_fresh) except -1:
        """Replace the points by the fresh points, merged with the kept points of all other nodes."""
        cdef Py_ssize_t size = fresh_size + kept
        cdef uint64_t* positions = <uint64_t*>PyMem_Malloc((size + 1) * sizeof(uint64_t))
        cdef uint32_t* owners = <uint32_t*>PyMem_Malloc((size + 1) * sizeof(uint32_t))
        cdef int shift = bucket_shift(<uint64_t>size)
        cdef uint32_t* starts = <uint32_t*>PyMem_Malloc(((<Py_ssize_t>1 << (64 - shift)) + 1) * sizeof(uint32_t))
        cdef Py_ssize_t index, place = 0
        cdef Py_ssize_t old = 0
        cdef Point point
        if positions is NULL or owners is NULL or starts is NULL:
            PyMem_Free(positions)
            PyMem_Free(owners)
            PyMem_Free(starts)
            raise MemoryError
        for index in range(size):
            while old < self._size and is_fresh[self._owners[old]]:
                old += 1
            if old < self._size:
                point = Point(self._positions[old], self._owners[old])
            if old >= self._size or (place < fresh_size and comes_before(&fresh[place], &point, self._nodes)):
                point = fresh[place]
                place += 1
            else:
                old += 1
            positions[index] = point.position
            owners[index] = point.node
        fill_starts(starts, positions, size, shift)
        PyMem_Free(self._positions)
        PyMem_Free(self._owners)
        PyMem_Free(self._starts)
        self._positions, self._owners, self._starts = positions, owners, starts
        self._size, self._shift = <uint32_t>size, shift
        return 0

    # Searches

    cdef uint32_t _locate(self, uint64_t hash) noexcept:
        """Return the first point at or after a hash; the ring must have points."""
        cdef uint64_t bucket = hash >> self._shift
        cdef uint32_t low = self._starts[bucket]
        cdef uint32_t high = self._starts[bucket + 1]
        cdef uint32_t middle
        # In a large ring neither position nor owner is in the cache: both are fetched together.
        prefetch(&self._owners[low])
        while high - low > SHORT_BUCKET:
            middle = low + (high - low) // 2
            if self._positions[middle] < hash:
                low = middle + 1
            else:
                high = middle
        while low < high and self._positions[low] < hash:
            low += 1
        return low if low < self._size else 0

    cdef bint _has_room(self, Node* node) noexcept:
        if self._bound == 0 or node.load < self._least_load:
            return True
        # load < ceil(bound * (total + 1) * weight / total weight), without the rounding that a division brings.
        return <double>node.load * <double>(self._total_weight - self._shut_weight) < (
            self._bound * <double>(self.total_load - self._shut_load + 1) * <double>node.weight
        )

    cdef Py_ssize_t take(self, uint64_t hash) noexcept:
        """Count a key on the first node with room, avoided nodes last, and return its number; -1: the ring is empty."""
        cdef uint32_t start, point, owner, last
        cdef Py_ssize_t spare = -1
        if not self._size:
            return -1
        start = point = self._locate(hash)
        last = <uint32_t>-1
        while True:
            owner = self._owners[point]
            if owner != last and not (self._nodes[owner].is_avoided or self._nodes[owner].is_shut):
                if self._has_room(&self._nodes[owner]):
                    break
                if spare < 0:
                    spare = owner
            last = owner
            point = point + 1 if point + 1 < self._size else 0
            if point == start:
                # All are avoided only if threads that pick at the same time avoid different ones.
                owner = <uint32_t>spare if spare >= 0 else self._owners[start]
                break
        self.set_load(owner, self._nodes[owner].load + 1)
        return owner

    cdef void give_back(self, Py_ssize_t number) noexcept:
        if self._nodes[number].load > 0:
            self.set_load(number, self._nodes[number].load - 1)

    cdef void set_load(self, Py_ssize_t number, int64_t load) noexcept:
        """Set the number of calls in flight at a node, including calls from before its removal."""
        self.total_load += load - self._nodes[number].load
        if self._nodes[number].is_shut:
            self._shut_load += load - self._nodes[number].load
        self._nodes[number].load = load

    cdef void set_shut(self, Py_ssize_t number, bint is_shut) noexcept:
        """Set whether searches skip a node. The others share its keys, so their bounds follow from their own sums."""
        cdef Node* node = &self._nodes[number]
        if node.is_shut != is_shut:
            node.is_shut = is_shut
            self._shut_load += node.load if is_shut else -node.load
            self._shut_weight += node.weight if is_shut else -<uint64_t>node.weight

    def find(self, key):
        cdef uint64_t hash = hash_key(key)
        if not self._size:
            raise LookupError("the ring has no node that takes keys")
        return self._names[self._owners[self._locate(hash)]]

    def find_all(self, key, Py_ssize_t count):
        cdef uint64_t hash = hash_key(key)
        cdef uint32_t point, index
        found = {}
        if self._size and count > 0:
            point = self._locate(hash)
            for index in range(self._size):
                found[self._names[self._owners[(point + index) % self._size]]] = None
                if len(found) >= count:
                    break
        return list(found)

    def acquire(self, key):
        cdef Py_ssize_t number = self.take(hash_key(key))
        if number < 0:
            raise LookupError("the ring has no node that takes keys")
        return self._names[number]

    def release(self, name):
        cdef Py_ssize_t number = self.number_of(name)
        if number >= 0:
            self.give_back(number)

    def load(self, name):
        cdef Py_ssize_t number = self.number_of(name)
        return self._nodes[number].load if number >= 0 else 0

    def fingerprint(self):
        cdef uint64_t state = self._size
        cdef uint32_t index
        for index in range(self._size):
            state = hash_number(self._positions[index] ^ self._nodes[self._owners[index]].identity, state)
        return state


cdef void fill_starts(uint32_t* starts, uint64_t* positions, Py_ssize_t size, int shift) noexcept:
    cdef Py_ssize_t buckets = <Py_ssize_t>1 << (64 - shift)
    cdef Py_ssize_t bucket
    cdef Py_ssize_t index = 0
    for bucket in range(buckets):
        while index < size and (positions[index] >> shift) < <uint64_t>bucket:
            index += 1
        starts[bucket] = <uint32_t>index
    starts[buckets] = <uint32_t>size


cdef int check_number(str name, object value, object kind, object lowest, object highest, str allowed) except -1:
    """Refuse an option that is not a number of this kind between these bounds."""
    if not isinstance(value, kind) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ConfigError(f"{name} is {value!r}, it must be {allowed}")
    return 0
