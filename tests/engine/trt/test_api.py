"""(a) Only names that exist in the API of every supported release are used.

By running everything on a fake TensorRT that has the names of one real release and no others (`tensorrt_api.json`, read
from NVIDIA's own bindings), for each of ten releases; and by looking for enums that are given as numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.trt.conftest import HERE, ROOT, Fake

API = json.loads((HERE / "tensorrt_api.json").read_text(encoding="utf-8"))
GONE_IN_11 = {
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "BuilderFlag.INT8", "BuilderFlag.FP16", "TacticSource.CUBLAS", "TacticSource.CUBLAS_LT", "TacticSource.CUDNN",
}  # fmt: skip
"""What a release needs where it has it; in 11 it is how everything works, or there is nothing of it."""


RELEASES = {"bindings": [*API][::2], "pycuda": [*API][1::2]}
"""Shared out between the two CUDA packages."""


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    """Names that each release was asked for; filled by the tests below, in their order."""
    return {}


@pytest.mark.parametrize("cuda", RELEASES)
def test_every_way_to_build_and_run_uses_names_that_the_release_has(
    cuda: str, fake: Fake, made_bundle: Path, tmp_path: Path, used: dict[str, set[str]]
) -> None:
    model = str(made_bundle / "model.onnx")
    done = fake("10.3.0", cuda, str(HERE / "drive.py"), model, str(tmp_path), *RELEASES[cuda])
    assert done.code == 0, done.err
    for release in RELEASES[cuda]:
        used[release] = set((tmp_path / release).read_text(encoding="utf-8").split())
        assert {"Builder.build_serialized_network", "IExecutionContext.execute_async_v3"} <= used[release]


def test_the_names_and_where_they_exist(
    used: dict[str, set[str]], record_property: Callable[[str, object], None]
) -> None:
    assert len(used) == len(API), "run this file as a whole: the names come from the tests above"
    names = sorted(set().union(*used.values()))
    table = [f"{name:<50} {' '.join(release for release in API if _has(release, name))}" for name in names]
    record_property("tensorrt_api", "\n".join(table))
    assert len(names) > 50
    for name in names:
        having = [release for release in API if _has(release, name)]
        since = [*API][[*API].index(having[0]) :]
        assert having == since or name in GONE_IN_11, name


def _has(release: str, name: str) -> bool:
    if name == "init_libnvinfer_plugins":  # a function; every release lists it
        return True
    kind, _, member = name.partition(".")
    found = API[release]["classes"].get(kind, API[release]["enums"].get(kind))
    return found is not None and (not member or member in found)


def test_enums_are_named_and_never_numbered() -> None:
    for path in (ROOT / "edgeprune" / "engine" / "trt").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"set_flag\(\d|create_network\([1-9]|OnnxParserFlag|trt\.\w+\(\d", text), path.name


def test_the_numbers_of_enums_do_differ_between_releases() -> None:
    numbers = {release: API[release]["enums"]["BuilderFlag"]["SPARSE_WEIGHTS"] for release in API}
    assert len(set(numbers.values())) > 1
