"""A detail of an error that is a protobuf message of any type."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from fastrpc.types.any_message import AnyMessage

DETAIL = AnyMessage("type.googleapis.com/google.protobuf.Duration", Duration(seconds=3).SerializeToString())


def test_it_is_unpacked_as_the_class_of_its_type() -> None:
    assert DETAIL.unpack(Duration) == Duration(seconds=3)


def test_as_another_class_it_is_none() -> None:
    assert DETAIL.unpack(Timestamp) is None


def test_objects_other_than_message_classes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"int.* is not a message class"):
        DETAIL.unpack(int)
