"""Images from outside, the crop a network looks at, and drawing on them."""

from ..errors import UserError, first_line

try:
    import cv2  # noqa: F401
except ImportError as error:  # of a slim container, often: libGL.so.1 is missing
    raise UserError(
        f"OpenCV cannot be imported ({first_line(error)}): pip install opencv-python-headless, which needs no screen"
    ) from None

from .reading import read_image

__all__ = ["read_image"]
