"""From a checkpoint to artefacts that run on devices, each with a passport."""

from runtime.errors import explain_missing_packages
from runtime.machine import limit_threads

explain_missing_packages("export")
limit_threads()
