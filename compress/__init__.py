"""From a checkpoint to artefacts that run on devices, each with a passport."""
