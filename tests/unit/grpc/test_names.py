"""Names of methods, statuses and compressors, as grpcio writes them."""

import grpc
import pytest

from fastrpc.grpc.names import compressor_of, path_of, split_path, status_of
from fastrpc.status import Status


@pytest.mark.parametrize("path", ["/shop.v1.Orders/Get", b"/shop.v1.Orders/Get"])
def test_a_path_has_a_service_and_a_method(path: str | bytes) -> None:
    assert split_path(path) == ("shop.v1.Orders", "Get")
    assert path_of("shop.v1.Orders.Get") == "/shop.v1.Orders/Get"


@pytest.mark.parametrize("path", ["", "Get", "/Get", "Orders/Get", "/Orders/", "//Get", "/a/b/Get"])
def test_another_text_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a method: write /package.Service/Method"):
        split_path(path)


def test_a_status_is_known_in_every_form() -> None:
    for status in Status:
        assert status_of(grpc.StatusCode[status.name]) is status
        assert status_of(status) is status
        assert status_of(int(status)) is status


@pytest.mark.parametrize("code", [99, None, "NOT_FOUND"])
def test_anything_else_is_unknown(code: object) -> None:
    assert status_of(code) is Status.UNKNOWN


def test_compressors_have_the_names_of_grpcio() -> None:
    assert compressor_of(grpc.Compression.Gzip) == "gzip"
    assert compressor_of(grpc.Compression.Deflate) == "deflate"
    assert compressor_of(grpc.Compression.NoCompression) is None
    assert compressor_of(None) is None
