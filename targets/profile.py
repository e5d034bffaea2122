"""A device profile: what a device can do, as typed data. Every number names its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Format = Literal["onnx", "tensorrt", "coreml"]
Precision = Literal["fp32", "fp16", "int8"]
Int8Flavour = Literal["cpu", "trt", "coreml-w8"]
Missing = Literal[Format, Precision]
DeploymentTarget = Literal["iOS16", "iOS17", "iOS18"]
FigureName = Literal[
    "memory_gb",
    "workspace_mib",  # that a TensorRT build may take
    "fp32_gflops",
    "fp16_gflops",
    "int8_gops",
    "memory_gb_s",
]
PRECISIONS: tuple[str, ...] = get_args(Precision)

# Ampere as in Orin: a TPC has 8 tensor cores and 256 CUDA cores. Tensor cores x 1024 x clock gives NVIDIA's own dense
# INT8 figures of every Orin module; FP16 is half of that, FP32 on CUDA cores one multiply-add a clock.
TENSOR_CORES_PER_TPC = 8
CUDA_CORES_PER_TPC = 256
INT8_OPS_PER_TENSOR_CORE_CLOCK = 1024


@dataclass(frozen=True)
class Figure:
    """A number with where it comes from. A source that starts with `unverified` is no measurement and no data sheet."""

    value: float
    source: str


@dataclass(frozen=True)
class PowerMode:
    """One mode of nvpmodel: the most a module's GPU and memory may do in it."""

    name: str
    gpu_mhz: float
    tpcs: int  # texture processing clusters that are powered
    memory_mhz: float
    source: str


@dataclass(frozen=True)
class Target:
    """One device profile, in one power mode where the device has several: the fields of a TOML file and its name."""

    name: str
    description: str
    formats: tuple[Format, ...]
    precisions: tuple[Precision, ...]
    absent: dict[Missing, str]  # why there is none, for each format and precision that is missing
    int8_flavour: Int8Flavour | None = None  # which int8 file it runs
    int8_saturates: bool = False  # uint8 x int8 products are summed in 16 bits and overflow: weights are smaller
    tensorrt: tuple[str, ...] = ()  # branches that its system brings
    deployment_target: DeploymentTarget | None = None  # the oldest iOS an export for it must run on
    compatible: tuple[str, ...] = ()  # parts of /proc/device-tree/compatible that identify it
    figures: dict[FigureName, Figure] = field(default_factory=dict)
    memory_bus_bytes: int | None = None
    mode: str | None = None  # the power mode: in a file, the one that the module is delivered in
    power_modes: tuple[PowerMode, ...] = ()

    @property
    def power_mode(self) -> PowerMode | None:
        """The mode that the profile is in; None for a device without modes."""
        return next((mode for mode in self.power_modes if mode.name == self.mode), None)

    @property
    def peaks(self) -> dict[FigureName, Figure]:
        """The figures, with the dense arithmetic and memory peaks of the power mode, by the rule above."""
        mode, bus = self.power_mode, self.memory_bus_bytes
        if mode is None or bus is None:
            return self.figures
        int8 = mode.tpcs * TENSOR_CORES_PER_TPC * INT8_OPS_PER_TENSOR_CORE_CLOCK * mode.gpu_mhz / 1000
        fp32 = mode.tpcs * CUDA_CORES_PER_TPC * 2 * mode.gpu_mhz / 1000
        arithmetic = f"{mode.tpcs} TPCs at {mode.gpu_mhz:g} MHz ({mode.source})"
        memory = f"{bus} bytes at 2 x {mode.memory_mhz:g} MHz ({mode.source})"
        return {
            **self.figures,
            "fp32_gflops": Figure(fp32, arithmetic),
            "fp16_gflops": Figure(int8 / 2, arithmetic),
            "int8_gops": Figure(int8, arithmetic),
            "memory_gb_s": Figure(bus * 2 * mode.memory_mhz / 1000, memory),
        }

    def refusal(self, *, precision: str | None, format: str) -> str | None:
        """Return why a request does not fit, in one line with what does; None where it fits."""
        for asked, has in ((format, self.formats), (precision, self.precisions)):
            if asked is not None and asked not in has:
                return f"{self.name} has no {asked}: {self.absent[asked]}; it takes {', '.join(has)}"  # type: ignore[index]
        return None
