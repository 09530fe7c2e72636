"""What is in the wheel, and that it finds its data where it is installed."""

from __future__ import annotations

import configparser
import email
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def _file(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = [entry for entry in archive.namelist() if entry.endswith(f".dist-info/{name}")]
        return archive.read(found).decode()


def test_it_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "edgeprune").rglob("*.py")}
    expected |= {
        str(path.relative_to(ROOT)) for path in (ROOT / "edgeprune/packaging/templates").rglob("*") if path.is_file()
    }
    expected = {name for name in expected if "__pycache__" not in name} | {"edgeprune/spec/bundle.schema.json"}
    expected |= {f"edgeprune/targets/{path.name}" for path in (ROOT / "targets").glob("*.toml")}
    expected |= {f"edgeprune/{path.relative_to(ROOT)}" for path in (ROOT / "profiles").rglob("*.json")}
    inside = {name for name in names if ".dist-info/" not in name}
    assert expected <= inside
    assert inside - expected <= {"edgeprune/py.typed", "edgeprune/profiles/.gitkeep"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_device_half_depends_on_nothing_heavy(wheel: Path) -> None:
    metadata = email.message_from_string(_file(wheel, "METADATA"))
    needed = metadata.get_all("Requires-Dist") or []
    base = {line.split(";")[0].split(">")[0].split("=")[0].strip() for line in needed if "extra ==" not in line}
    assert base == {"numpy", "pydantic", "rich", "typer", "tomli"}
    assert any(line.startswith("torch") and "extra == 'host'" in line for line in needed)
    assert metadata["Requires-Python"] == ">=3.10"


def test_the_command_is_installed(wheel: Path) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(_file(wheel, "entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"edgeprune": "edgeprune.cli:main"}


def test_installed_it_finds_its_targets(wheel: Path, tmp_path: Path) -> None:
    where = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(where)]
    subprocess.run([*install, str(wheel)], check=True)
    code = (
        "import edgeprune.spec.target as target; print(target.__file__); print(*target.known_targets());"
        "print(*[target.load_target(name).name for name in target.known_targets()])"
    )
    # Before the site packages, in which a checkout may be installed for development.
    environment = os.environ | {"PYTHONPATH": str(where)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    origin, listed, loaded = done.stdout.splitlines()
    assert Path(origin).is_relative_to(where)
    assert listed.split() == sorted(path.stem for path in (ROOT / "targets").glob("*.toml"))
    assert loaded == listed
