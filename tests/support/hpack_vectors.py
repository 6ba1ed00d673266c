"""The examples of RFC 7541, Appendix C: header blocks with their fields and the table after each."""

__all__ = ["SEQUENCES", "SINGLE"]

Pair = tuple[bytes, bytes]

#: A block alone: its bytes, its field, whether the table has it, whether it is never indexed (C.2).
SINGLE: dict[str, tuple[str, Pair, bool, bool]] = {
    "C.2.1": (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        (b"custom-key", b"custom-header"),
        True,
        False,
    ),
    "C.2.2": ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), False, False),
    "C.2.3": ("100870617373776f726406736563726574", (b"password", b"secret"), False, True),
    "C.2.4": ("82", (b":method", b"GET"), False, False),
}

_REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"www.example.com"),
]
_SECURE = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
_HOST = (b":authority", b"www.example.com")
_NO_CACHE = (b"cache-control", b"no-cache")
_CUSTOM = (b"custom-key", b"custom-value")
_REQUESTS = [
    (_REQUEST, [_HOST], 57),
    ([*_REQUEST, _NO_CACHE], [_NO_CACHE, _HOST], 110),
    (_SECURE, [_CUSTOM, _NO_CACHE, _HOST], 164),
]

_PRIVATE = (b"cache-control", b"private")
_DATE = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
_LATER = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
_LOCATION = (b"location", b"https://www.example.com")
_FOUND, _MOVED = (b":status", b"302"), (b":status", b"307")
_GZIP = (b"content-encoding", b"gzip")
_COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
_ANSWERS = [
    ([_FOUND, _PRIVATE, _DATE, _LOCATION], [_LOCATION, _DATE, _PRIVATE, _FOUND], 222),
    ([_MOVED, _PRIVATE, _DATE, _LOCATION], [_MOVED, _LOCATION, _DATE, _PRIVATE], 222),
    (
        [(b":status", b"200"), _PRIVATE, _LATER, _LOCATION, _GZIP, _COOKIE],
        [_COOKIE, _GZIP, _LATER],
        215,
    ),
]

#: Blocks of one connection: the limit of the table, and for each block its bytes, its fields, the table, its size.
SEQUENCES: dict[str, tuple[int, list[tuple[str, list[Pair], list[Pair], int]]]] = {
    name: (limit, [(block, *rest) for block, rest in zip(blocks, results, strict=True)])
    for name, limit, results, blocks in (
        (
            "C.3",
            4096,
            _REQUESTS,
            (
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ),
        ),
        (
            "C.4",
            4096,
            _REQUESTS,
            (
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ),
        ),
        (
            "C.5",
            256,
            _ANSWERS,
            (
                (
                    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"
                ),
                "4803333037c1c0bf",
                (
                    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a6970"
                    "7738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d33363030"
                    "3b2076657273696f6e3d31"
                ),
            ),
        ),
        (
            "C.6",
            256,
            _ANSWERS,
            (
                (
                    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
                    "6e919d29ad171863c78f0b97c8e9ae82ae43d3"
                ),
                "4883640effc1c0bf",
                (
                    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab"
                    "77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
                ),
            ),
        ),
    )
}
