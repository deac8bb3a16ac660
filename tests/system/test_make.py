"""The Makefile: which commands its targets run, and what it says where no Python fits."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make looks at, without an environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def pythons(folder: Path, working: str | None) -> str:
    """A folder of Pythons that are too old, but for ``working``, which records what it is told."""
    folder.mkdir()
    for name in PYTHONS:
        script(folder, name, f'echo "{name} $@" >> calls; exit {0 if name == working else 1}')
    return str(folder)


def test_no_python_is_said_in_one_line(clone: Path) -> None:
    outcome = make(clone, "lint", path=pythons(clone / "bin", working=None))
    assert outcome.returncode != 0
    assert outcome.stderr.startswith(
        "error: PATH: no Python 3.11 or newer; install one, or name it with make PYTHON="
    )
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("working", PYTHONS)
def test_first_fitting_python_makes_the_environment(clone: Path, working: str) -> None:
    outcome = make(clone, ".venv/.installed", path=pythons(clone / "bin", working))
    calls = (clone / "calls").read_text().splitlines()
    assert calls[-1] == f"{working} -m venv .venv"
    # The stand-in made none, so installing into it fails: no stamp says that all is well.
    assert outcome.returncode != 0
    assert not (clone / ".venv" / ".installed").exists()


def test_environment_is_stamped_once_everything_is_installed(clone: Path) -> None:
    path = pythons(clone / "bin", working="python3.12")
    pip = r'printf "#!/bin/sh\necho pip \$@ >> calls\n" > .venv/bin/pip; chmod +x .venv/bin/pip'
    script(clone / "bin", "python3.12", f'case "$1" in -m) mkdir -p .venv/bin; {pip};; esac')
    outcome = make(clone, ".venv/.installed", path=path)
    assert outcome.returncode == 0, outcome.stderr
    assert (clone / ".venv" / ".installed").exists()
    call = (clone / "calls").read_text().splitlines()[-1]
    assert call.startswith("pip install --quiet --constraint constraints.txt --editable .[")
    assert make(clone, ".venv/.installed", path=path).stdout.startswith(
        "make: '.venv/.installed' is up to date"
    )


def installed(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".installed").touch()


def test_second_run_starts_at_once(clone: Path) -> None:
    installed(clone)
    assert "pip" not in make(clone, "--dry-run", "test").stdout
    newer = (clone / ".venv" / ".installed").stat().st_mtime_ns + 10**9
    os.utime(clone / "constraints.txt", ns=(newer, newer))
    assert "pip install" in make(clone, "--dry-run", "test").stdout


def test_test_lints_first_and_demo_takes_a_file_and_a_device(clone: Path) -> None:
    installed(clone)
    lines = make(clone, "--dry-run", "test").stdout.splitlines()
    assert [Path(line.split()[0]).name for line in lines] == [
        "ruff",
        "ruff",
        "mypy",
        "lint-imports",
        "pytest",
    ]
    (line,) = make(clone, "--dry-run", "demo", "INPUT=my own.fasta", "DEVICE=emulator:").stdout.splitlines()
    assert '"my own.fasta" --device "emulator:"' in line
    assert ROOT / line.split('"')[1] == ROOT / "host" / "adakern" / "bundled" / "demo.safetensors"
    assert (ROOT / line.split('"')[1]).exists()


def test_demo_prints_every_sequence_and_draws(tmp_path: Path) -> None:
    """The demonstration's own command with this environment's Python."""
    dry = ("--dry-run", "--assume-old=.venv/.installed", "demo", "DEVICE=emulator:")
    (line,) = make(ROOT, *dry).stdout.splitlines()
    picture = tmp_path / "demo.png"
    _, arguments = line.replace("build/demo.png", str(picture)).split(" ", 1)
    command = f'"{sys.executable}" -c "from adakern.cli import main; main()" {arguments}'
    outcome = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert all(f"design_{index:02}" in outcome.stdout for index in range(1, 13))
    assert f"picture in {picture}" in outcome.stderr
    assert picture.stat().st_size > 10_000


def test_demo_of_adaptation_learns_the_symbols_and_draws(tmp_path: Path) -> None:
    """Its two commands: what adapts them in float, what the device then answers."""
    dry = ("--dry-run", "--assume-old=.venv/.installed", "demo-adapt", "DEVICE=emulator:")
    lines = make(ROOT, *dry).stdout.replace("\\\n", " ").replace("build/", f"{tmp_path}/").splitlines()
    assert len(lines) == 2
    for line in lines:
        _, arguments = line.split(" ", 1)
        command = f'"{sys.executable}" -c "from adakern.cli import main; main()" {arguments}'
        outcome = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
    right, total = re.search(r"(\d+) of (\d+) right", outcome.stderr).groups()  # type: ignore[union-attr]
    assert total == "30"
    # Chance is 6. The float network is right about 30, Omniglot's mean is 96%.
    assert int(right) >= 27
    assert (tmp_path / "symbols.png").stat().st_size > 10_000


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with what `make browser` needs of the system, and nothing else; the user is root."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "make"):
        (folder / name).symlink_to(shutil.which(name) or "")
    script(folder, "id", "echo 0")
    return folder


def browser(clone: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "browser"]
    return subprocess.run(
        command, cwd=clone, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_browser_that_is_there_is_taken(clone: Path, tools: Path, name: str) -> None:
    script(tools, name, "")
    script(tools, "apt-get", "exit 1")
    assert browser(clone, tools).returncode == 0


def test_root_gets_debians_browser(clone: Path, tools: Path) -> None:
    script(tools, "apt-get", 'echo "$@" >> calls')
    assert browser(clone, tools).returncode == 0
    calls = (clone / "calls").read_text().splitlines()
    assert calls[0].startswith("update")
    assert calls[1].startswith("install")
    assert calls[1].endswith("chromium")


def test_failed_installation_of_the_browser_fails(clone: Path, tools: Path) -> None:
    script(tools, "apt-get", '[ "$1" = update ]')
    assert browser(clone, tools).returncode != 0


def test_missing_browser_is_said_in_one_line(clone: Path, tools: Path) -> None:
    script(tools, "apt-get", "")
    script(tools, "id", "echo 1000")
    outcome = browser(clone, tools)
    assert outcome.returncode != 0
    assert outcome.stderr.startswith("error: PATH: no Chromium; install it")


def test_continuous_integration_runs_make_test() -> None:
    text = (ROOT / ".ci" / "run").read_text().splitlines()
    assert text[0].startswith("#!")
    assert text[1] == "set -eu"
    assert text[-3:] == ["make browser", "export ADAKERN_BROWSER_REQUIRED=1", "make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
