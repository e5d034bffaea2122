"""Annotated images, real or synthetic, in InterHand2.6M's format, and the training samples cut from them."""
