"""From a whole picture to the boxes of the hands in it, by MediaPipe's palm detector."""

from .. import image  # noqa: F401 - first, as it says in one line what to do where OpenCV cannot be imported
