"""Core ML: packages written from a network, and proven on a machine that cannot run them."""
