"""Networks, hand layers, data and recipes: from annotated images to a checkpoint."""

from runtime.errors import explain_missing_packages
from runtime.machine import limit_threads

explain_missing_packages("train")
limit_threads()
