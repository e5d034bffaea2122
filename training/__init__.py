"""Networks, hand layers, data and recipes: from annotated images to a checkpoint."""
