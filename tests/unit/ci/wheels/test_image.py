"""The image of a container, tried with the wheel of its base's CPython."""

from ci.wheels.__main__ import VERSIONS
from ci.wheels.headers import SUITES
from ci.wheels.image import based_on


def test_the_image_is_tried_with_one_wheel_that_has_a_chroot() -> None:
    (version,) = filter(based_on, VERSIONS)
    assert version in SUITES
