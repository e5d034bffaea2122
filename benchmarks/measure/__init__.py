"""Measuring candidates: time, memory, power, accuracy, and how far figures can be trusted."""
