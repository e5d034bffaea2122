"""Records of measured figures, on disk and on screen."""
