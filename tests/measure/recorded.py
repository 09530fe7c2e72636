"""Copies of the /proc and /sys of machines: labels, units and places as the kernel's drivers have them.

Values are those of the drivers' documented units (millivolts, milliamperes, microwatts, microjoules); the rails are
those of the boards' device trees. The watts beside them were computed by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CPUINFO = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"
SUPER_CONF = """< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=3 NAME=7W >
# mandatory section to configure the default power mode
< PM_CONFIG DEFAULT=1 >
"""
AGX_CONF = """< POWER_MODEL ID=0 NAME=MAXN >
< POWER_MODEL ID=1 NAME=MODE_15W >
< POWER_MODEL ID=2 NAME=MODE_30W >
< POWER_MODEL ID=3 NAME=MODE_50W >
< PM_CONFIG DEFAULT=2 >
"""
THOR_CONF = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n"


@dataclass(frozen=True)
class Tree:
    """Files by their paths; and what they must be read as."""

    name: str
    files: dict[str, str]
    rails_w: dict[str, float]
    total: tuple[str, ...]
    total_w: float
    target: str | None = None
    mode: str | None = None
    jetpack: str | None = None
    l4t: str | None = None
    module: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def lay(self, root: Path) -> Path:
        """Write the files below a folder."""
        for path, content in (self.files | self.extra).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
        return root


def _ina3221(address: str, hwmon: int, channels: dict[int, tuple[str, int, int]]) -> dict[str, str]:
    """Channel -> label, millivolts, milliamperes; channel 7 is the driver's sum of shunt voltages."""
    base = f"sys/bus/i2c/drivers/ina3221/{address}/hwmon/hwmon{hwmon}"
    files = {f"{base}/name": "ina3221\n", f"{base}/in7_label": "sum of shunt voltages\n", f"{base}/in7_input": "40\n"}
    for channel, (label, volts, amperes) in channels.items():
        files |= {
            f"{base}/in{channel}_label": f"{label}\n",
            f"{base}/in{channel}_input": f"{volts}\n",
            f"{base}/curr{channel}_input": f"{amperes}\n",
        }
    return files


def _jetson(model: str, compatible: list[str], release: str, jetpack: str, mode: int, conf: str) -> dict[str, str]:
    return {
        "proc/cpuinfo": CPUINFO,
        "proc/meminfo": "MemTotal:        7802140 kB\nMemAvailable:    6201000 kB\n",
        "proc/device-tree/model": f"{model}\0",
        "proc/device-tree/compatible": "\0".join(compatible) + "\0",
        "etc/nv_tegra_release": f"# {release}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8\n",
        "etc/nvpmodel.conf": conf,
        "var/lib/nvpmodel/status": f"pmode:{mode:04d}\n",
        "var/lib/dpkg/status": (
            "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2.11\n\n"
            f"Package: nvidia-jetpack\nStatus: install ok installed\nVersion: {jetpack}\n\n"
        ),
    }


ORIN_NANO = Tree(
    "orin nano",
    _jetson(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
        "R36 (release), REVISION: 4.3",
        "6.2+b77",
        2,
        SUPER_CONF,
    )
    | _ina3221(
        "1-0040",
        3,
        {1: ("VDD_IN", 5080, 1480), 2: ("VDD_CPU_GPU_CV", 5072, 488), 3: ("VDD_SOC", 5072, 320)},
    ),
    {"VDD_IN": 7.5184, "VDD_CPU_GPU_CV": 2.475136, "VDD_SOC": 1.62304},
    ("VDD_IN",),
    7.5184,
    target="jetson-orin-nano",
    mode="MAXN_SUPER",
    jetpack="6.2",
    l4t="36.4.3",
    module="p3767-0005",
    extra={
        "sys/class/devfreq/17000000.gpu/cur_freq": "1020000000\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
        "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48250\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "-256000\n",
        "sys/class/hwmon/hwmon4/oc1_event_cnt": "0\n",
    },
)
ORIN_NX = Tree(
    "orin nx",
    _jetson(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"],
        "R36 (release), REVISION: 4.0",
        "6.1+b123",
        0,
        "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=10W >\n< POWER_MODEL ID=2 NAME=15W >\n",
    )
    | _ina3221(
        "1-0040",
        1,
        {1: ("VDD_IN", 19304, 576), 2: ("VDD_CPU_GPU_CV", 19296, 168), 3: ("VDD_SOC", 19296, 136)},
    ),
    {"VDD_IN": 11.119104, "VDD_CPU_GPU_CV": 3.241728, "VDD_SOC": 2.624256},
    ("VDD_IN",),
    11.119104,
    target="jetson-orin-nx",
    mode="MAXN",
    jetpack="6.1",
    l4t="36.4.0",
    module="p3767-0000",
)
AGX_ORIN = Tree(
    "agx orin",
    _jetson(
        "NVIDIA Jetson AGX Orin Developer Kit",
        ["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"],
        "R36 (release), REVISION: 4.3",
        "6.2+b77",
        2,
        AGX_CONF,
    )
    | _ina3221(
        "1-0040",
        2,
        {1: ("VDD_GPU_SOC", 19232, 288), 2: ("VDD_CPU_CV", 19232, 48), 3: ("VIN_SYS_5V0", 5016, 720)},
    )
    | _ina3221("1-0041", 5, {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5008, 200), 3: ("NC", 0, 0)}),
    {"VDD_GPU_SOC": 5.538816, "VDD_CPU_CV": 0.923136, "VIN_SYS_5V0": 3.61152, "VDDQ_VDD2_1V8AO": 1.0016},
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    10.073472,
    target="jetson-agx-orin",
    mode="MODE_30W",
    jetpack="6.2",
    l4t="36.4.3",
    module="p3701-0005",
)
THOR = Tree(
    "thor",
    _jetson(
        "NVIDIA Jetson AGX Thor Developer Kit",
        ["nvidia,p3971-0089+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"],
        "R38 (release), REVISION: 4.0",
        "7.1-b40",
        1,
        THOR_CONF,
    )
    | _ina3221(
        "2-0040",
        7,
        {1: ("VDD_GPU", 11984, 164), 2: ("VDD_CPU_SOC_MSS", 11984, 491), 3: ("VIN_SYS_5V0", 5016, 1123)},
    )
    | {
        "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon8/name": "ina238\n",
        "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon8/in1_input": "19980\n",
        "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon8/curr1_input": "990\n",
        "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon8/power1_input": "19780200\n",
    },
    {"VDD_GPU": 1.965376, "VDD_CPU_SOC_MSS": 5.884144, "VIN_SYS_5V0": 5.632968, "VIN": 19.7802},
    ("VIN",),
    19.7802,
    target="jetson-thor",
    mode="120W",
    jetpack="7.1-b40",
    l4t="38.4.0",
    module="p3834-0008",
)
JETSONS = (ORIN_NANO, ORIN_NX, AGX_ORIN, THOR)

LAPTOP: dict[str, str] = {
    "proc/cpuinfo": "model name\t: A laptop\nflags\t\t: fpu avx2 avx_vnni\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "400000\n",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:2/name": "dram\n",
    "sys/class/powercap/intel-rapl:0:2/energy_uj": "200000\n",
    "sys/class/powercap/intel-rapl:0:2/max_energy_range_uj": "65532610987\n",
    "sys/class/powercap/intel-rapl:1/name": "psys\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "9000000\n",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "262143328850\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
}
"""A machine with RAPL: a package with its cores and memory, and the whole platform once more."""


def lay(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return root
