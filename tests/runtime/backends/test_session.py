"""onnxruntime's defaults, as runtime/backends decides them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.backends.session import open_session


@pytest.mark.parametrize(
    ("given", "cores", "threads"),
    [(None, 3, 3), (2, 3, 2), (None, None, 0)],  # 0: the engine's own choice, where the system does not say
)
def test_defaults(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, given: int | None, cores: int | None, threads: int
) -> None:
    monkeypatch.setattr("runtime.backends.session.usable_cores", lambda: cores)
    options = open_session(tiny_model, given).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert (options.log_severity_level, options.enable_profiling) == (4, False)
    assert (options.graph_optimization_level.name, options.execution_mode.name) == ("ORT_ENABLE_ALL", "ORT_SEQUENTIAL")
