cdef object call_handler(object handler, object given)
