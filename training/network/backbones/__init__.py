"""Backbones with their official parameter names."""
