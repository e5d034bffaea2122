"""A device profile: what a device can do, as typed data read from one TOML file. Every number names its source."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
UNVERIFIED = "unverified"

KINDS = ("cpu", "jetson", "apple")
FORMATS = ("onnx", "tensorrt", "coreml")
PRECISIONS = ("fp32", "fp16", "int8")
INT8_FLAVOURS = ("cpu", "trt", "coreml-w8")
DEPLOYMENT_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18")
FIGURES = (
    "memory_gb",
    "workspace_mib",  # that a TensorRT build may take
    "fp32_gflops",
    "fp16_gflops",
    "int8_gops",
    "memory_gb_s",
    "neural_engine_tops",
    "int8_speedup_peak",  # of int8 over fp32 products
)

# Ampere as in Orin: a TPC has 8 tensor cores and 256 CUDA cores. Tensor cores x 1024 x clock gives NVIDIA's own dense
# INT8 figures of every Orin module; FP16 is half of that, FP32 on CUDA cores one multiply-add a clock.
TENSOR_CORES_PER_TPC = 8
CUDA_CORES_PER_TPC = 256
INT8_OPS_PER_TENSOR_CORE_CLOCK = 1024


class TargetError(ValueError):
    """An unknown profile, or one that cannot be read; the message is one line."""


@dataclass(frozen=True)
class Figure:
    """A number with where it comes from. A source that starts with `unverified` is no measurement and no data sheet."""

    value: float
    source: str

    @property
    def verified(self) -> bool:
        """Whether anybody stands for it."""
        return not self.source.startswith(UNVERIFIED)


@dataclass(frozen=True)
class PowerMode:
    """One mode of nvpmodel: the most a module's GPU and memory may do in it."""

    name: str
    gpu_mhz: float
    tpcs: int  # texture processing clusters that are powered
    memory_mhz: float
    source: str


@dataclass(frozen=True)
class Peaks:
    """Dense arithmetic and memory peaks, for a roofline: a lower bound of the latency. None: nobody knows."""

    fp32_gflops: Figure | None = None
    fp16_gflops: Figure | None = None
    int8_gops: Figure | None = None
    memory_gb_s: Figure | None = None


@dataclass(frozen=True)
class Target:
    """One device profile, in one power mode where the device has several."""

    name: str
    description: str
    kind: str
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    int8_flavour: str | None  # which int8 file it runs, a name of compress.flavours or coreml-w8
    int8_saturates: bool  # uint8 x int8 products are summed in 16 bits, which overflow: weights must keep to 7 bits
    opset_max: int
    python: tuple[str, ...]
    tensorrt: tuple[str, ...]  # branches that its system brings
    compute_capability: str | None
    deployment_target: str | None  # the oldest iOS an export for it must run on
    compatible: tuple[str, ...]  # parts of /proc/device-tree/compatible that identify it
    memory_bus_bytes: int | None
    absent: dict[str, str]  # format or precision -> why there is none
    figures: dict[str, Figure]
    power_modes: tuple[PowerMode, ...] = ()
    power_mode: PowerMode | None = None

    def figure(self, name: str) -> float | None:
        """A number of FIGURES, or None where the profile has none."""
        found = self.figures.get(name)
        return None if found is None else found.value

    @property
    def int8_speedup_peak(self) -> float | None:
        """Of int8 over fp32 products, or None where nobody knows."""
        return self.figure("int8_speedup_peak")

    @property
    def peaks(self) -> Peaks:
        """Of the power mode, by the rule above; without modes the profile's own figures."""
        mode, bus = self.power_mode, self.memory_bus_bytes
        if mode is None or bus is None:
            own = {name: self.figures.get(name) for name in ("fp32_gflops", "fp16_gflops", "int8_gops", "memory_gb_s")}
            return Peaks(**own)
        int8 = mode.tpcs * TENSOR_CORES_PER_TPC * INT8_OPS_PER_TENSOR_CORE_CLOCK * mode.gpu_mhz / 1000
        fp32 = mode.tpcs * CUDA_CORES_PER_TPC * 2 * mode.gpu_mhz / 1000
        arithmetic = f"{mode.tpcs} TPCs at {mode.gpu_mhz:g} MHz ({mode.source})"
        memory = Figure(bus * 2 * mode.memory_mhz / 1000, f"{bus} bytes at 2 x {mode.memory_mhz:g} MHz ({mode.source})")
        return Peaks(Figure(fp32, arithmetic), Figure(int8 / 2, arithmetic), Figure(int8, arithmetic), memory)

    def in_mode(self, name: str) -> Target:
        """The same device in another power mode."""
        for mode in self.power_modes:
            if mode.name == name:
                return replace(self, power_mode=mode)
        modes = ", ".join(mode.name for mode in self.power_modes) or "none"
        raise TargetError(f"{self.name} has no power mode '{name}' (there are {modes})")


def target_names() -> list[str]:
    """All profiles that are files."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_target(name: str) -> Target:
    """The profile `NAME` or `NAME@MODE`; a TargetError with the nearest name where there is none."""
    name, _, mode = name.partition("@")
    names = target_names()
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TargetError(f"unknown target '{name}'{hint} (there are {', '.join(names)}, this-machine)")
    target = parse_target(name, tomllib.loads((FOLDER / f"{name}.toml").read_text()))
    return target.in_mode(mode) if mode else target


def parse_target(name: str, content: dict[str, Any]) -> Target:
    """A profile from its TOML table; a TargetError names the first thing that is wrong."""
    table = _Table(f"target {name}", content)
    modes = tuple(_power_mode(table.where, entry) for entry in table.list_of_tables("power_modes"))
    default = table.optional("default_power_mode", str)
    figures = {key: _figure(f"{table.where}: {key}", value) for key, value in table.table("figures").items()}
    if odd := sorted(set(figures) - set(FIGURES)):
        raise TargetError(f"{table.where}: unknown figures {', '.join(odd)}")
    target = Target(
        name=name,
        description=table.required("description", str),
        kind=table.one_of("kind", KINDS),
        formats=table.some_of("formats", FORMATS),
        precisions=table.some_of("precisions", PRECISIONS),
        int8_flavour=table.one_of("int8_flavour", INT8_FLAVOURS) if "int8_flavour" in content else None,
        int8_saturates=table.optional("int8_saturates", bool) or False,
        opset_max=table.required("opset_max", int),
        python=table.texts("python"),
        tensorrt=table.texts("tensorrt"),
        compute_capability=table.optional("compute_capability", str),
        deployment_target=table.one_of("deployment_target", DEPLOYMENT_TARGETS)
        if "deployment_target" in content
        else None,
        compatible=table.texts("compatible"),
        memory_bus_bytes=table.optional("memory_bus_bytes", int),
        absent={key: _text(f"{table.where}: absent.{key}", value) for key, value in table.table("absent").items()},
        figures=figures,
        power_modes=modes,
    )
    table.finish()
    _check(table.where, target, default)
    return target.in_mode(default) if default else target


def _check(where: str, target: Target, default: str | None) -> None:
    """What must fit together."""
    if ("int8" in target.precisions) != (target.int8_flavour is not None):
        raise TargetError(f"{where}: int8 and int8_flavour go together")
    unexplained = {*FORMATS, *PRECISIONS} - {*target.formats, *target.precisions} - set(target.absent)
    if unexplained or set(target.absent) & {*target.formats, *target.precisions}:
        raise TargetError(f"{where}: [absent] says why, for just what is missing: {', '.join(sorted(unexplained))}")
    if odd := sorted(set(target.absent) - {*FORMATS, *PRECISIONS}):
        raise TargetError(f"{where}: unknown in [absent]: {', '.join(odd)}")
    if bool(target.power_modes) != (default is not None) or bool(target.power_modes) != bool(target.memory_bus_bytes):
        raise TargetError(f"{where}: power_modes, default_power_mode and memory_bus_bytes go together")
    if ("coreml" in target.formats) != (target.deployment_target is not None):
        raise TargetError(f"{where}: coreml and deployment_target go together")


class _Table:
    """A TOML table whose keys are read once each, with types; what is left over is an error."""

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        self.where = where
        self._left = dict(content)

    def required(self, key: str, kind: type) -> Any:
        if self._left.get(key) is None:
            raise TargetError(f"{self.where}: {key} is missing")
        return self.optional(key, kind)

    def optional(self, key: str, kind: type) -> Any:
        value = self._left.pop(key, None)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise TargetError(f"{self.where}: {key} is {value!r}, not {kind.__name__}")
        return value

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value: str = self.required(key, str)
        if value not in known:
            raise TargetError(f"{self.where}: {key} is '{value}' (there are {', '.join(known)})")
        return value

    def some_of(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        values = tuple(self.required(key, list))
        if not values or any(value not in known for value in values):
            raise TargetError(f"{self.where}: {key} is {list(values)} (there are {', '.join(known)})")
        return values

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.optional(key, list) or []
        return tuple(_text(f"{self.where}: {key}", value) for value in values)

    def table(self, key: str) -> dict[str, Any]:
        return self.optional(key, dict) or {}

    def list_of_tables(self, key: str) -> list[dict[str, Any]]:
        values = self.optional(key, list) or []
        if any(not isinstance(value, dict) for value in values):
            raise TargetError(f"{self.where}: {key} is not a list of tables")
        return values

    def finish(self) -> None:
        if self._left:
            raise TargetError(f"{self.where}: unknown keys {', '.join(sorted(self._left))}")


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TargetError(f"{where} is {value!r}, not a text")
    return value


def _figure(where: str, value: object) -> Figure:
    if not isinstance(value, dict) or set(value) != {"value", "source"}:
        raise TargetError(f"{where} is not a table of value and source")
    return Figure(_positive(f"{where}.value", value["value"]), _text(f"{where}.source", value["source"]))


def _positive(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise TargetError(f"{where} is {value!r}, not a number above 0")
    return float(value)


def _power_mode(where: str, value: dict[str, Any]) -> PowerMode:
    table = _Table(f"{where}: power mode {value.get('name')}", value)
    mode = PowerMode(
        name=table.required("name", str),
        gpu_mhz=_positive(f"{table.where}: gpu_mhz", value.get("gpu_mhz")),
        tpcs=table.required("tpcs", int),
        memory_mhz=_positive(f"{table.where}: memory_mhz", value.get("memory_mhz")),
        source=table.required("source", str),
    )
    table.optional("gpu_mhz", object)
    table.optional("memory_mhz", object)
    table.finish()
    return mode
