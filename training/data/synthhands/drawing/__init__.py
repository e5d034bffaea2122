"""How a synthetic scene is drawn."""
