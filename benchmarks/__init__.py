"""Measured figures, and what is made of them."""

from runtime.errors import explain_missing_packages
from runtime.machine import limit_threads

explain_missing_packages("export,report")
limit_threads()
