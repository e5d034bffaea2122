"""The parametric hand for training: a differentiable layer, and the script that builds the embedded hand."""
