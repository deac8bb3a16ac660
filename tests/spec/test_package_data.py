"""What an installed package needs beside its modules is in the wheel."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_a_package_that_is_no_module_is_package_data():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [ROOT / where for where in setuptools["packages"]["find"]["where"]]
    packaged = {
        file
        for package, patterns in setuptools["package-data"].items()
        for folder in folders
        for pattern in patterns
        for file in (folder / package).glob(pattern)
        if file.is_file()
    }
    beside = {
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert beside == packaged
