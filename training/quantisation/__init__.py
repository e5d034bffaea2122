"""Training for int8, and what of a network becomes int8: the exporter reads the same rules."""
