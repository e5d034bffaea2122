"""The parametric hand for training: a differentiable layer, and the conversion of MANO's files."""

HANDS = 2  # [right, left]
