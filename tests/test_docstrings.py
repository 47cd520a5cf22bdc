"""A docstring is a promise: it names the errors that its function raises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lakehouse", "quality", "streaming", "batch", "orchestration", "infra")
# A broken assumption of our own is no promise.
NOT_PROMISED = {"AssertionError"}


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods whose own name and whose class's name begin without an underscore."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the docstring is what `--help` shows: its readers meet errors as sentences, not by name."""
    return any("command" in ast.unparse(one) or "group" in ast.unparse(one) for one in function.decorator_list)


def raised(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names of the error classes in the raise statements of a function, also of a function inside it."""
    called = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc]
    names = {ast.unparse(one.func if isinstance(one, ast.Call) else one).rpartition(".")[2] for one in called}
    return {name for name in names if name[:1].isupper()} - NOT_PROMISED


def silent_about(source: str) -> list[str]:
    """`function: errors` of each public function that raises errors which its docstring does not name."""
    found = []
    for function in public_functions(ast.parse(source).body):
        promise = ast.get_docstring(function) or ""
        if missing := sorted(name for name in raised(function) if f"`{name}`" not in promise):
            found += [] if is_command(function) else [f"{function.name}: {', '.join(missing)}"]
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_public_function_names_the_errors_that_it_raises(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} {one}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for one in silent_about(path.read_text("utf-8"))
    ]
    assert wrong == []


def test_an_error_that_is_not_named_is_found() -> None:
    source = '''
class Log:
    def read(self):
        """The next line. Raises `NoMore`."""
        if self.is_closed:
            raise errors.Closed("it was closed")
        raise NoMore

@click.command
def show():
    """Show it."""
    raise NoMore

def _inner():
    raise NoMore
'''
    assert silent_about(source) == ["read: Closed"]
