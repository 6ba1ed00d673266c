# Return the google.rpc.Status of an error as the bytes of grpc-status-details-bin; None: it has no details, or details
# that no message can hold.
cpdef bytes encode_details(int status, str message, object details)

# Return the details in a google.rpc.Status: one value, or a list of AnyMessage; None for broken bytes or without details.
cpdef object decode_details(bytes data)

# Return the messages in a google.rpc.Status as AnyMessage. ValueError, OverflowError: the bytes are broken.
cpdef list messages_in(bytes data)
