"""SynthHands: rendered hands in InterHand2.6M's on-disk format, generated on the user's machine."""

from training.data.synthhands.generate import ensure_synthetic
from training.data.synthhands.schedule import GENERATOR_VERSION, SPLIT_IMAGES

__all__ = ["GENERATOR_VERSION", "SPLIT_IMAGES", "ensure_synthetic"]
