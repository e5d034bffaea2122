"""One training run: its steps, its folder, its curves, and how several processes share it."""
