"""The inference engines behind one interface, and the contract their files keep.

What each engine does unless told otherwise, and what is decided about it. A new engine adds its lines here.

onnxruntime (session.py)
    telemetry: off. From 1.29 on it writes a device id into the home folder and looks a host up (runtime/__init__.py).
    threads: the physical cores that this process may use, not the machine's; 1 between operators; not pinned.
    waiting threads spin for a moment: kept, latency is what counts here. Memory arena, pattern and reuse: kept.
    graph: all optimisations, in sequence; the files are checked at that level. Denormal numbers: computed, as in torch.
    log: fatal only, as errors come back as exceptions. Profiling: off.
    provider: the CPU's behind CUDA's, and an error where that was asked for by name and is not used.
    CUDA: fp32 in TF32 on GPUs that have it: kept; NVIDIA_TF32_OVERRIDE=0 in the environment switches it off.
OpenVINO (openvino_engine.py; compress/openvino converts)
    telemetry: off, that of NNCF as well (runtime/__init__.py).
    precision: fp32. Its own default on a CPU with AMX is bf16, which moves some hands by more than a millimetre; the
    device `cpu-bf16` asks for it. Hint: latency. Files: read into memory, not mapped.
    threads: the physical cores that this process may use, not pinned: beside other programs a pinned thread waits for
    its own core, and one frame of er-xs in four took 20 ms, not 2.
LiteRT (litert_engine.py; compress/litert converts)
    no telemetry in its Python package. XNNPACK on the CPU, in fp32 or the file's integers; one line on standard error.
    threads: the physical cores that this process may use.
TensorRT (trt_api.py, tensorrt_engine.py; compress/tensorrt builds)
    log: collected, in place of standard error. TF32 for what is fp32: kept, and its parity is measured with that.
    threads: the GPU's own; `--threads` is an error.
Core ML (coreml.py; compress/coreml converts)
    units: all, CPU, GPU and Neural Engine, as Core ML chooses; `--device cpu` holds it to the CPU.
    fp16 computation of ML programs: decided at conversion, operation by operation. `--threads` is an error.
"""
