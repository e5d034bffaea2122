"""A device profile: what a device can do, as typed data. Every number names its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    int8_flavour: str | None  # which int8 file it runs, a name of compress.onnx.flavours or coreml-w8
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
