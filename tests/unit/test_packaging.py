from __future__ import annotations

import ast
import configparser
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, metadata, packages_distributions, version
from pathlib import Path

import pytest

import dedupd

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "dedupd"


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> dict[str, str]:
    """Name and range of each, the range as the documentation writes it."""
    lines = (line.split(maxsplit=1) for line in text.strip().splitlines())
    return {name: ranges[0] if ranges else "any" for name, *ranges in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imports() -> set[str]:
    """The top-level modules that the package imports, its own and Python's excepted."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    tops = {name.split(".")[0] for name in names}
    return tops - sys.stdlib_module_names - {"dedupd"}


def test_the_version_is_the_installed_one() -> None:
    assert version("dedupd") == dedupd.__version__, "install again: pip install -e '.[test,lint]'"
    assert re.fullmatch(r"\d+\.\d+\.\d+", dedupd.__version__)


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[([^]]+)\]", changelog, flags=re.MULTILINE)
    assert headings[0] in ("Unreleased", dedupd.__version__)


def test_the_metadata_that_an_index_shows() -> None:
    shown = metadata("dedupd")
    assert shown["License-Expression"] == "Apache-2.0"
    assert shown["Requires-Python"] == ">=3.11"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_every_entry_point_can_be_loaded() -> None:
    own = distribution("dedupd").entry_points
    assert {"console_scripts", "oslo.config.opts", "dedupd.commands"} == set(own.groups)
    for point in own:
        assert callable(point.load()), point


def test_what_is_imported_is_required_and_the_other_way_round(
    setup: configparser.ConfigParser,
) -> None:
    required = {normal(name) for name in requirements(setup["options"]["install_requires"])}
    providers = packages_distributions()
    used = {normal(name) for module in imports() for name in providers[module]}
    assert used == required


def test_the_documentation_names_every_dependency(setup: configparser.ConfigParser) -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([\w.-]+) \| `?([^`|]+?)`? \| .{5,} \|$", text, flags=re.MULTILINE)
    declared = requirements(setup["options"]["install_requires"])
    for extra in setup["options.extras_require"].values():
        declared |= requirements(extra)
    assert [row for row in rows if row[0] != "package"] == list(declared.items())


def test_every_directory_of_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_other_programs_see_the_types() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_the_makefile_knows_the_pure_modules() -> None:
    line = re.search(r"^PURE := (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert line
    paths = line[1].split(",")
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = {line.split()[0] for line in shown.splitlines()}
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    assert listed == set(phony[1].split())


def test_ci_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_every_warning_that_is_let_pass_is_explained() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    settings = tomllib.loads(text)["tool"]["pytest"]["ini_options"]
    assert settings["filterwarnings"][0] == "error"
    assert list(unexplained(text.splitlines())) == []


def unexplained(lines: list[str]) -> Iterator[str]:
    for above, line in itertools.pairwise(lines):
        if line.strip().startswith('"ignore:') and not above.strip().startswith("#"):
            yield line
