"""The rooms keep their borders: who may import whom, and no module is named like a library."""

from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lakehouse", "quality", "streaming", "batch", "orchestration", "infra")
MAY_IMPORT = {
    "lakehouse": {"lakehouse"},
    "quality": {"quality", "lakehouse"},
    "streaming": {"streaming", "quality", "lakehouse"},
    "batch": {"batch", "quality", "lakehouse"},
    "orchestration": {"orchestration", "lakehouse"},
    "infra": {"infra", "lakehouse"},
}
# The front door loads every room lazily; the driver's settings ask infra for the jars of this machine; the demo
# and the bench drive all.
EXCEPTIONS = {
    "lakehouse/spark_conf.py": {"infra"},
    "infra/demo": {"streaming", "batch"},
    "infra/bench": {"streaming", "batch"},
}
HEAVY = ("pyspark", "delta", "great_expectations")


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_may(room: str) -> None:
    wrong = []
    for path in modules(room):
        name = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[room] | {
            one for start, more in EXCEPTIONS.items() if name.startswith(start) for one in more
        }
        ours = {module.partition(".")[0] for module in imports_of(path)} & set(ROOMS)
        wrong += [f"{name} imports {one}" for one in sorted(ours - allowed)]
    assert wrong == []


def test_orchestration_imports_no_engine() -> None:
    found = [
        f"{path.name} imports {module}"
        for path in modules("orchestration")
        for module in imports_of(path)
        if module.partition(".")[0] in HEAVY
    ]
    assert found == []


def test_no_module_is_named_like_a_library() -> None:
    libraries = {name for names in importlib.metadata.packages_distributions() for name in [names]}
    stdlib_like = {"logging", "json", "types", "queue", "time", "signal"}
    ours = {path.stem for room in ROOMS for path in modules(room)} - {"__init__"}
    # Modules inside our packages can't shadow a library; the names would still mislead.
    assert ours & ({"delta", "kafka", "avro", "spark", "airflow", "dbt", "pyspark"} | stdlib_like) == set()
    rooms_that_shadow = set(ROOMS) & (libraries - set(ROOMS))
    assert rooms_that_shadow == set()


def test_dbt_folder_holds_no_python() -> None:
    assert sorted((ROOT / "dbt").rglob("*.py")) == []


def test_tests_hold_no_package_marker() -> None:
    assert sorted((ROOT / "tests").rglob("__init__.py")) == []
