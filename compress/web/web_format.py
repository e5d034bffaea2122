"""Pages for browsers: a folder that any static server serves, proven and measured in node with the page's own code."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from compress.artefact import NOT_RUN, PARITY_FAILED, WEIGHTS_ONLY, Artefact, Verdict
from compress.coreml.hand_json import to_json
from compress.crops import Crops
from compress.material import Material
from compress.web.engine_package import LITERT, ONNXRUNTIME, write_engine, write_litert
from compress.web.node_backend import NodeBackend
from runtime.backends.contract import OUTPUT_SHAPES, ModelInfo
from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.hand.decode import decode
from runtime.hand.hand_model import HandPair
from runtime.hand.joints import MANO_TO_JOINTS
from runtime.hand.presence import presence_rule
from runtime.image.crop import crop_of_image
from runtime.runner import Runner, graph_input
from training.evaluation.predictions import Predictor, runner_predictor

CHECKED_CROPS = 64
TOLERANCE_MM, TOLERANCE_PX = 0.01, 0.01  # JavaScript against Python, on the same outputs
MODEL, LITERT_MODEL, FACTS = "model.onnx", "model.tflite", "model.json"
_RUNTIME = Path(runtime.__file__).parent


def make(artefact: Artefact, material: Material, made: tuple[Artefact, ...]) -> Artefact:
    """Write the folder around the ONNX file of the same precision, and hold its JavaScript against Python."""
    source = next(a for a in made if a.precision == artefact.precision and a.flavour in (None, "cpu", WEIGHTS_ONLY))
    litert = next((a.path for a in made if a.format == "litert" and a.verdict.passed), None)
    facts = material.facts | {"precision": artefact.precision}
    try:
        write_page(artefact.path, source.path, facts, material.hands, litert)
        parity = check_page(artefact.path, material.info(artefact), material.hands, material.test.crops[:CHECKED_CROPS])
    except UserError as error:  # npm or node is missing: the other formats are there
        return replace(artefact, verdict=Verdict(NOT_RUN, (str(error),)))
    notes = (
        f"it holds the hand model '{material.hands.right.name}': show it where that licence lets you",
        f"next: python runtime/web.py {material.request.output_dir / artefact.path.name}",
    )
    details = {"onnx": source.path.name, "litert": litert.name if litert else None, "notes": notes}
    details["onnxruntime_web"] = ONNXRUNTIME.version
    artefact = replace(artefact, parity=parity, details=details)
    if not (parity["vertex_mm"] <= TOLERANCE_MM and parity["projection_px"] <= TOLERANCE_PX):  # nor nan
        artefact = replace(artefact, verdict=Verdict(PARITY_FAILED, ("the page's hands are not the runner's",)))
    return artefact


def write_page(folder: Path, model: Path, facts: dict[str, Any], hands: HandPair, litert: Path | None = None) -> None:
    """Write the folder; `facts`: the model's passport; `litert`: the same model for LiteRT.js, WASM's engine then."""
    shutil.copytree(_RUNTIME / "web", folder)
    write_engine(folder / "ort", small=litert is not None)
    shutil.copyfile(model, folder / MODEL)
    for name in ("palm_detector.onnx", "NOTICE-palm-detector.txt", "LICENSE-hand-CC0.txt"):
        if name != "LICENSE-hand-CC0.txt" or "CC0" in hands.right.name:
            shutil.copyfile(_RUNTIME / "assets" / name, folder / name)
    (folder / "hand.json").write_text(to_json(hands), encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}\n', encoding="utf-8")  # node goes by it
    page = {key: facts[key] for key in ("variant", "input_px", "heatmap")}
    page |= {"name": model.stem, "outputs": list(OUTPUT_SHAPES), "joint_order": MANO_TO_JOINTS.tolist()}
    page |= {"tips": [hand.tips.tolist() for hand in hands]}
    page["runtime"] = {"name": ONNXRUNTIME.name, "version": ONNXRUNTIME.version}
    if litert is not None:
        write_litert(folder / "litert")
        shutil.copyfile(litert, folder / LITERT_MODEL)
        page["litert"] = {"runtime": {"name": "LiteRT.js", "version": LITERT.version}}
        page["litert"]["artifact"] = {"path": litert.name}
    page["presence"] = asdict(presence_rule(facts["variant"]))
    page["artifact"] = {"path": model.name, "format": "web", "precision": facts["precision"], "opset": facts["opset"]}
    page["artifact"] |= {"params_m": facts["parameters_m"], "gmac": facts["gmac"]}
    page["artifact"]["weights_sha256"] = facts.get("weights", {}).get("sha256")
    _write_facts(folder, page)


def _write_facts(folder: Path, page: dict[str, Any]) -> None:
    """Write `model.json`: what the page must know, and what its records say of the model as it lies there."""
    for model, facts in ((folder / MODEL, page), (folder / LITERT_MODEL, page.get("litert"))):
        if facts is not None:
            facts["artifact"] |= {"bytes": model.stat().st_size, "sha256": file_sha256(model)}
    (folder / FACTS).write_text(json.dumps(page, allow_nan=False), encoding="utf-8")


def check_page(folder: Path, info: ModelInfo, hands: HandPair, crops: Crops) -> dict[str, Any]:
    """Compare the hands that the page's JavaScript makes of the network's outputs with Python's; worst differences."""
    backend = NodeBackend(folder, info)
    vertex_mm = projection_px = 0.0
    for crop in crops:
        side = crop.shape[0]
        outputs = backend.run(graph_input(crop))
        page = backend.page_hands
        pair = decode(outputs, crop_of_image(side, side, side), backend.info.heatmap, hands)
        for i, hand in enumerate(pair):
            for ours, theirs in ((hand.vertices, page.vertices[i]), (hand.joints, page.joints[i])):
                vertex_mm = max(vertex_mm, 1000 * float(np.linalg.norm(ours - theirs, axis=-1).max()))
            apart = hand.joints_image - page.joints_image[i], hand.joints_heatmap - page.joints_heatmap[i]
            projection_px = max(projection_px, *(float(np.abs(px).max()) for px in apart))
    backend.close()
    return {"vertex_mm": vertex_mm, "projection_px": projection_px, "n_images": len(crops)}


def open_predictor(artefact: Artefact, material: Material) -> Predictor:
    """The network in onnxruntime-web, in the runner."""
    return runner_predictor(Runner(NodeBackend(artefact.path, material.info(artefact)), material.hands))


def embed(artefact: Artefact, facts: dict[str, Any]) -> dict[str, Any]:
    """Into the page's facts; the models have theirs by now, and their bytes are the page's."""
    for name, source in ((MODEL, artefact.details["onnx"]), (LITERT_MODEL, artefact.details["litert"])):
        if source is not None:
            shutil.copyfile(artefact.path.with_name(source), artefact.path / name)
    page = json.loads((artefact.path / FACTS).read_text(encoding="utf-8"))
    if facts["accuracy"]:
        measured = facts["accuracy"] | {"synthetic": facts["synthetic"]}
        page["accuracy"] = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in measured.items()}
    _write_facts(artefact.path, page)
    return {"sha256": page["artifact"]["sha256"]}
