"""The parametric hand: models, skinning, what is found, meshes on disk."""
