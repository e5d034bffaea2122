"""Measured figures, and what is made of them."""
