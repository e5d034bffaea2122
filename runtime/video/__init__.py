"""Frames in, hands out: capture, tracking, smoothing, writing."""
