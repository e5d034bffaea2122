"""SynthHands: rendered hands in InterHand2.6M's on-disk format, generated on the user's machine."""

from training.data.synthhands.generate import ensure_synthetic
from training.data.synthhands.schedule import SPLIT_IMAGES
from training.data.synthhands.table import TABLES

__all__ = ["SPLIT_IMAGES", "TABLES", "ensure_synthetic"]
