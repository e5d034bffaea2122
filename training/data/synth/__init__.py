"""SynthHands: rendered hands in InterHand2.6M's on-disk format, generated on the user's machine."""

from training.data.synth.plan import GENERATOR_VERSION, SPLIT_IMAGES
from training.data.synth.write import ensure_synthetic

__all__ = ["GENERATOR_VERSION", "SPLIT_IMAGES", "ensure_synthetic"]
