"""A student learns from a teacher: what the terms are, who teaches, and what of it is kept on disk."""
