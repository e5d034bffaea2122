"""Protocols, predictions and tables of accuracy."""
