cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http2.header_block cimport HeaderBlock, HeaderField
from fastrpc._core.http2.hpack cimport HeaderTemplate

cdef enum:
    # Compressors by their names in grpc-encoding, with the numbers that the gate has for them; one that is not known here.
    ENCODING_IDENTITY = 0
    ENCODING_GZIP = 1
    ENCODING_DEFLATE = 4
    ENCODING_UNKNOWN = 255


@cython.final
cdef class GrpcHead:
    cdef:
        # The method by its name here, `service.method`; the path as it came where no method can have it.
        readonly bytes name

        # Whether messages are JSON.
        readonly bint is_json

        # The status of HTTP that refuses a request which is no call of gRPC, and its text; 0: it is one.
        readonly int http_status

        # The status of gRPC that refuses the call, and its text; 0: it may go on. The text goes with both.
        readonly int status
        readonly str fault

        # The caller's timeout as a native request states it (`Call.stated_timeout_us`); whether it is over at once.
        readonly uint64_t timeout_us
        readonly bint is_late

        # The compressor of the messages, and its name where it is not known; a bit for each compressor that answers may
        # have.
        readonly uint8_t compressor
        readonly uint8_t accepted
        readonly str encoding

        # The number of attempts before this one.
        readonly uint8_t attempt

        # The metadata in native form, None without any; names of entries that were left out.
        readonly bytes metadata
        list dropped

    cdef int understand(self, HeaderBlock block, uint32_t metadata_bytes) except -1
    cdef int take_over(self, GrpcHead twin, HeaderBlock block) except -1
    cdef int _refuse(self, int status, str text) except -1
    cdef int _take_timeout(self, HeaderField field) except -1
    cdef int _take_encodings(self, HeaderField encoding, HeaderField accepted) except -1
    cdef int _take_metadata(self, HeaderBlock block, uint32_t metadata_bytes) except -1


# Return the head that a block stands for; equal blocks give one object.
cdef GrpcHead head_of(HeaderBlock block, uint32_t metadata_bytes)

# Return the name of a compressor in grpc-encoding, None: it has none.
cdef bytes encoding_name(int compressor)


@cython.final
cdef class RequestHeads:
    cdef:
        # The fields in front of :path and behind it, but for content-type; the credential, or None.
        tuple _first
        tuple _last
        bytes _credential

        # The heads of this connection by route: as usual, and without the fields that metadata of a call replaces.
        dict _usual
        dict _bare

    # Return the fields of a request that are the same in each call of a method. `metadata`: that of the call, or None.
    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata)

    # Show another token from now on.
    cdef int present(self, bytes credential) except -1
    cdef HeaderTemplate _head_beside(self, MethodRoute route, bytes metadata)
    cdef HeaderTemplate _made(self, MethodRoute route, tuple replaced)

    # Return the bytes of a head, as MAX_HEADER_LIST_SIZE counts them, without metadata.
    cdef Py_ssize_t size_of(self, MethodRoute route) except -1
