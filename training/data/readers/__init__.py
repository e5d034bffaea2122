"""Readers of annotation files, one per data set."""
