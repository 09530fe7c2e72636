"""Reading machines from copies of their /proc and /sys, and matching them with targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.engine.cores import physical_cores, usable_cpus
from edgeprune.errors import EdgepruneError
from edgeprune.measure.match import host_target, mismatch, target_mismatch
from edgeprune.measure.probe import Host, probe
from edgeprune.spec.target import load_target

X86 = "processor\t: 0\nmodel name\t: A CPU @ 3 GHz\nflags\t\t: fpu avx2 avx512bw avx512_vnni sse\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def host(*flags: str, device: str = "x86_64 Linux", gpus: tuple[str, ...] = ()) -> Host:
    return Host(device, "a CPU", gpus, 2, 2**30, flags, None)


def test_an_x86_machine(tmp_path):
    put(tmp_path, "proc/cpuinfo", X86)
    put(tmp_path, "proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n")
    put(tmp_path, f"sys/devices/system/cpu/cpu{usable_cpus()[0]}/cpufreq/scaling_governor", "performance\n")
    put(
        tmp_path,
        "proc/driver/nvidia/gpus/0000:01:00.0/information",
        "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: 1\n",
    )
    found = probe(tmp_path)
    assert found.processor == "A CPU @ 3 GHz"
    assert found.flags == ("avx2", "avx512bw", "avx512_vnni")
    assert found.memory_bytes == 2048 * 1024
    assert found.governor == "performance"
    assert found.gpus == ("NVIDIA GeForce RTX 4090",)
    assert not found.lacks_vnni
    assert host_target(found) == "cpu-x86-vnni"


def test_a_jetson(tmp_path):
    put(tmp_path, "proc/cpuinfo", ARM)
    put(
        tmp_path,
        "proc/device-tree/model",
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    )
    found = probe(tmp_path)
    assert found.device == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found.processor.endswith("(implementer 0x41, part 0xd42)")
    assert found.governor is None
    assert host_target(found) == "cpu-arm64"
    assert mismatch(found, load_target("jetson-orin-nano")) is None
    for other in ("jetson-orin-nx", "jetson-agx-orin", "jetson-thor"):
        assert "not Jetson" in str(mismatch(found, load_target(other)))


def test_a_machine_that_tells_nothing(tmp_path):
    found = probe(tmp_path)
    assert found.flags == ()
    assert found.memory_bytes > 0
    assert found.cores == len(usable_cpus())
    with pytest.raises(EdgepruneError, match="no shipped target"):
        host_target(found)


def test_two_threads_of_one_core_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1, 4, 5}, raising=False)
    for cpu, siblings in {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2,6"}.items():
        put(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings + "\n")
    assert physical_cores(tmp_path) == 2


@pytest.mark.parametrize(
    ("flags", "name", "word"),
    [
        (("avx2",), "cpu-x86-avx2", None),
        (("avx2", "avx_vnni"), "cpu-x86-vnni", None),
        (("avx2",), "cpu-x86-vnni", "none of avx512_vnni"),
        (("avx2", "avx512_vnni"), "cpu-x86-avx2", "is a cpu-x86-vnni"),
        (("asimddp",), "cpu-arm64", None),
        (("asimddp",), "cpu-x86-avx2", "none of avx2"),
        (("avx2",), "my-board", "does not ship"),
        (("avx2",), "rtx-4090", "no NVIDIA GPU"),
        (("avx2",), "jetson-orin", "not Jetson AGX Orin"),
    ],
)
def test_cpu_targets(flags, name, word):
    found = target_mismatch(host(*flags), name)
    assert found is None if word is None else word in str(found)


@pytest.mark.parametrize(
    ("gpu", "same"),
    [
        ("NVIDIA GeForce RTX 4070", True),
        ("NVIDIA GeForce RTX 4070 Ti", False),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", False),
    ],
)
def test_gpus_are_matched_by_their_whole_name(gpu, same):
    assert (mismatch(host(gpus=(gpu,)), load_target("rtx-4070")) is None) == same
