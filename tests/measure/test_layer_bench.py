"""Tables of layer shapes: their widths, and what is measured of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.engine.ort_layers import NodeTime
from edgeprune.engine.runner import Runtime
from edgeprune.errors import EdgepruneError
from edgeprune.measure import layer_bench
from edgeprune.measure.layer_bench import Bench, axes_of, measure_layers, widths
from edgeprune.measure.probe import probe
from edgeprune.spec.layer_costs import Family, LayerShape

CONV = Family(op="conv", kernel=(3, 3), padding=(1, 1), height=8, width=8)
DEEP = Family(op="depthwise", kernel=(3, 3), padding=(1, 1), height=8, width=8)


def shape(name: str, family: Family, inputs: int, outputs: int) -> LayerShape:
    return LayerShape(
        name=name, family=family, inputs=inputs, outputs=outputs, whole_inputs=inputs, whole_outputs=outputs
    )


def test_widths_are_multiples_up_to_the_whole_and_one_between():
    found = widths({64}, (1 / 8, 1 / 2), 8)
    assert found == (4, 8, 32, 36, 64)
    assert widths({10}, (1 / 8, 1 / 2), 8) == (4, 8, 10)
    assert widths({24, 64}, (1 / 2,), 8) == (4, 24, 32, 36, 64)


def test_a_grid_for_each_kind_of_layer():
    shapes = [shape("a", CONV, 3, 16), shape("b", CONV, 16, 32), shape("c", DEEP, 1, 32)]
    axes = {each.family: each for each in axes_of(shapes, 8)}
    assert set(axes) == {CONV, DEEP}
    assert axes[CONV].inputs[-1] == 16
    assert 3 in axes[CONV].inputs
    assert axes[CONV].outputs[-1] == 32
    assert 16 in axes[CONV].outputs
    assert axes[DEEP].inputs == (1,)
    assert len({*axes[DEEP].outputs}) > 4


def bench(**fields) -> Bench:
    known = {"target": "cpu-x86-vnni", "precision": "fp32", "dialect": "float", "runtime": "cpu", "threads": 1}
    return Bench(**{**known, "exact": False, "multiple": 8, **fields})


def test_this_machine_s_table_grows_with_the_work(monkeypatch):
    monkeypatch.setattr(layer_bench, "ROUNDS", 1)
    monkeypatch.setattr(layer_bench, "CALLS", 5)
    wide = Family(op="conv", kernel=(3, 3), padding=(1, 1), height=28, width=28)
    seen = []
    found = measure_layers([shape("a", wide, 64, 64)], bench(), probe(), lambda *mark: seen.append(mark))
    (grid,) = found.grids
    assert found.threads == 1
    assert found.runtime.startswith("ONNX Runtime")
    ms = np.array(grid.ms)
    # 64 x 64 channels are 64 times the work of 8 x 8: even a busy machine shows that.
    assert ms[-1, -1] > 3 * ms[0, 0]
    assert seen[-1][1] == seen[-1][2]


def test_the_least_of_all_rounds_is_kept(monkeypatch):
    rng, every = np.random.default_rng(0), []

    class Fake:
        runtime, threads = "fake", 3

        def layer_times(self, _x, _calls):
            every.append(float(rng.uniform(1, 2)))
            return [NodeTime("layer + relu", every[-1]), NodeTime("reformat", 9.0)]

    monkeypatch.setitem(layer_bench.RUNTIMES, "cpu", Runtime(lambda *_: Fake(), lambda: True))
    found = measure_layers([shape("a", DEEP, 1, 8)], bench(), probe())
    (grid,) = found.grids
    cells = np.array(every).reshape(layer_bench.ROUNDS, -1)
    np.testing.assert_allclose(np.array(grid.ms).ravel(), cells.min(0), atol=1e-5)


def test_no_layers_and_no_profiler_are_told(monkeypatch):
    with pytest.raises(EdgepruneError, match="no layers to time"):
        measure_layers([], bench(), probe())

    class Mute:
        runtime, threads = "mute", 1

        def layer_times(self, _x, _calls):
            return None

    monkeypatch.setitem(layer_bench.RUNTIMES, "cpu", Runtime(lambda *_: Mute(), lambda: True))
    with pytest.raises(EdgepruneError, match="mute tells no time of single layers"):
        measure_layers([shape("a", DEEP, 1, 8)], bench(), probe())
