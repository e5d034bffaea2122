"""From a whole picture to the boxes of the hands in it, by MediaPipe's palm detector."""
