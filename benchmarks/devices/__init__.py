"""The device that is measured: what it says of itself, and its sensors."""
