"""Kernels compile for a real GPU: types that the simulator does not check. Needs the extra `gpu`, no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from training.data.synthhands.drawing import develop, paint, raster

pytest.importorskip("numba_cuda", reason="the extra 'gpu' is not installed")


def test_kernels_compile_for_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba.cuda.dispatcher
    from numba import cuda, types

    from training.data.synthhands.gpu import kernel_of

    h100 = (9, 0)
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=h100))

    def array(letter: str, dimensions: int) -> Any:
        of = {"f": types.float32, "i": types.int32, "k": types.int64, "b": types.uint8}
        return types.Array(of[letter], dimensions, "C")

    def named(kind: Any, letters: str, dimensions: str) -> Any:
        return types.NamedTuple([array(a, int(n)) for a, n in zip(letters, dimensions, strict=True)], kind)

    mesh = named(raster.Mesh, "iifibbbiif", "1112111112")
    drawn = named(paint.Drawn, "fffkffffbf", "3333332441")
    takes = {
        raster.place_vertices: (mesh, array("f", 3), array("f", 2), array("f", 3), array("f", 3)),
        raster.find_normals: (mesh, array("f", 3), array("f", 3), array("f", 3)),
        raster.rasterise: (mesh, array("b", 2), array("f", 3), array("k", 3)),
        raster.cast_shadows: (mesh, array("b", 2), array("f", 3), array("f", 3), array("f", 3)),
        paint.paint: (mesh, drawn, array("f", 4)),
        develop.develop: (array("f", 4), array("f", 2), array("f", 2), array("b", 4)),
    }
    for body, arrays in takes.items():
        code, _ = cuda.compile_ptx(kernel_of(body).py_func, types.void(types.Tuple((types.int64, *arrays))), cc=h100)
        assert ("atom" in code) == (body in (raster.rasterise, raster.cast_shadows))
