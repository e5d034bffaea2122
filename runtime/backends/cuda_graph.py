"""CUDA graphs: a stream's work, recorded once and replayed by one call. pycuda has none, NVIDIA's cuda-bindings has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.errors import UserError


class CudaGraph:
    """A recorded run, replayed by one call."""

    def __init__(self, driver: Any, stream: Any, graph: Any, executable: Any) -> None:
        self._driver, self._stream, self._graph, self._executable = driver, stream, graph, executable

    def launch(self) -> None:
        """On the session's stream."""
        _checked(self._driver.cuGraphLaunch(self._executable, self._stream.handle))

    def free(self) -> None:
        """Both the recording and what it was compiled to."""
        self._driver.cuGraphExecDestroy(self._executable)
        self._driver.cuGraphDestroy(self._graph)


def record_graph(stream: Any, enqueue: Callable[[], None]) -> CudaGraph:
    """Record what `enqueue` puts on the stream."""
    try:
        from cuda.bindings import driver
    except ImportError:
        raise UserError("CUDA graphs need cuda-bindings: pip install cuda-bindings, or leave the graph out") from None
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    _checked(driver.cuStreamBeginCapture(stream.handle, mode))
    try:
        enqueue()
    finally:
        graph = _checked(driver.cuStreamEndCapture(stream.handle))
    return CudaGraph(driver, stream, graph, _checked(driver.cuGraphInstantiate(graph, 0)))


def _checked(result: tuple[Any, ...]) -> Any:
    """The value of a driver call; a UserError where it failed."""
    if int(result[0]) != 0:
        raise UserError(f"a CUDA graph could not be made or run ({result[0]!r}): leave the graph out")
    return result[1] if len(result) > 1 else None
