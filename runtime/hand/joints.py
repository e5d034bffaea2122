"""The one joint order of the project, and the maps into it from the orders found in files.

A hand has 21 joints: wrist, then thumb, index, middle, ring, pinky, each from base to tip (the order of OpenPose,
FreiHAND and MediaPipe).
"""

from __future__ import annotations

import numpy as np

FINGER_NAMES = ("thumb", "index", "middle", "ring", "pinky")
JOINT_NAMES = ("wrist", *(f"{finger}_{level}" for finger in FINGER_NAMES for level in (1, 2, 3, 4)))
JOINT_COUNT = len(JOINT_NAMES)
WRIST = JOINT_NAMES.index("wrist")
MIDDLE_MCP = JOINT_NAMES.index("middle_1")

# (parent, child) pairs, parents first.
BONES = tuple((WRIST if (child - 1) % 4 == 0 else child - 1, child) for child in range(1, JOINT_COUNT))


# joints = mano[..., MANO_TO_JOINTS, :], mano being the 16 skeleton joints (wrist, index, middle, pinky, ring, thumb)
# followed by the 5 fingertips (index, middle, pinky, ring, thumb).
MANO_TO_JOINTS = np.array([0, 13, 14, 15, 20, 1, 2, 3, 16, 4, 5, 6, 17, 10, 11, 12, 19, 7, 8, 9, 18])

# joints = interhand[..., INTERHAND_TO_JOINTS, :], interhand being the 21 joints of one hand, tip first, wrist last.
INTERHAND_TO_JOINTS = np.array([20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16])
