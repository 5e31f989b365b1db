"""
Looks for tests that can't fail, or that only pass by luck: `python -m tests.lint [FILE…]`, part of `make check`.

- a test without an assertion, of its own or of a helper that asserts;
- `monkeypatch` that is asked for and not used;
- assertions in a loop over what may be empty, where nothing says that it isn't;
- a fixed sleep: poll with a deadline instead.

What is meant so says why on the line: `# fine: …`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXCUSE = "# fine: "
# What fails by itself when something is not so.
CHECKS = {
    "raises",
    "warns",
    "fail",
    "eventually",
    "until",
    "run_state_machine_as_test",
    "validate",
    "call_and_validate",
    "expect",
    "skip",
}
# Their length is what they are given.
SIZED = {"range", "zip", "enumerate", "reversed", "sorted", "product", "pairwise", "chain", "list", "tuple"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def findings(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of *path* with what is wrong there."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    asserting = _asserting(tree)
    for node in ast.walk(tree):
        if isinstance(node, Function) and node.name.startswith("test_"):
            found = [*_of_test(node, asserting), *_empty_loops(node)]
        elif isinstance(node, Function):
            found = [*_fixed_sleeps(node)]
        else:
            continue
        if isinstance(node, Function) and node.name.startswith("test_"):
            found += _fixed_sleeps(node)
        yield from ((line, what) for line, what in found if EXCUSE not in lines[line - 1])


def _name(call: ast.AST) -> str:
    target = call.func if isinstance(call, ast.Call) else call
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def _calls(node: ast.AST) -> set[str]:
    return {_name(call) for call in ast.walk(node) if isinstance(call, ast.Call)}


def _asserts(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Assert | ast.Raise) for one in ast.walk(node)) or bool(CHECKS & _calls(node))


def _asserting(tree: ast.AST) -> set[str]:
    """Functions and methods of the module that assert, by themselves or by calling one that does."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    names = {node.name for node in functions if _asserts(node)}
    while more := {node.name for node in functions if node.name not in names and names & _calls(node)}:
        names |= more
    return names


def _of_test(test: Function, asserting: set[str]) -> Iterator[tuple[int, str]]:
    called = _calls(test)
    imported = {name for name in called if name.startswith(("assert_", "check_"))}
    if not (_asserts(test) or asserting & called or imported):
        yield test.lineno, f"{test.name} asserts nothing"
    given = {argument.arg for argument in (*test.args.args, *test.args.kwonlyargs)}
    used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    if "monkeypatch" in given - used:
        yield test.lineno, f"{test.name} asks for monkeypatch and doesn't use it"


def _empty_loops(test: Function) -> Iterator[tuple[int, str]]:
    for loop in ast.walk(test):
        if isinstance(loop, ast.For | ast.AsyncFor) and _only_asserts_inside(loop) and _may_be_empty(loop.iter, test):
            named = {node.id for node in ast.walk(loop.iter) if isinstance(node, ast.Name)}
            known = {
                node.id
                for statement in ast.walk(test)
                if isinstance(statement, ast.Assert) and not _within(statement, loop)
                for node in ast.walk(statement)
                if isinstance(node, ast.Name)
            }
            if not named & known:
                yield loop.lineno, "this loop asserts, may have nothing to go through, and nothing says that it hasn't"


def _only_asserts_inside(loop: ast.For | ast.AsyncFor) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(loop))


def _within(node: ast.AST, loop: ast.AST) -> bool:
    return any(inner is node for inner in ast.walk(loop))


def _may_be_empty(iterable: ast.expr, test: Function) -> bool:  # noqa: PLR0911 - a table of kinds
    """Whether nobody can see from the source that there is something in it."""
    if isinstance(iterable, ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Constant | ast.JoinedStr):
        return False
    if isinstance(iterable, ast.ListComp):
        return any(one.ifs or _may_be_empty(one.iter, test) for one in iterable.generators)
    if isinstance(iterable, ast.Name):
        return not iterable.id[:1].isupper() and _assigned_empty(iterable.id, test)  # constants and enums aren't
    if isinstance(iterable, ast.Attribute | ast.Subscript):
        return _may_be_empty(iterable.value, test)
    if isinstance(iterable, ast.Call) and _name(iterable) in SIZED and iterable.args:
        return all(_may_be_empty(argument, test) for argument in iterable.args if not _is_step(iterable, argument))
    if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Attribute):
        return _may_be_empty(iterable.func.value, test)
    return True


def _assigned_empty(name: str, test: Function) -> bool:
    values = [
        node.value
        for node in ast.walk(test)
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets)
    ]
    return not values or any(not isinstance(value, ast.ListComp) or _may_be_empty(value, test) for value in values)


def _is_step(call: ast.Call, argument: ast.expr) -> bool:
    return _name(call) == "range" and not isinstance(argument, ast.Constant | ast.Name | ast.Attribute)


def _fixed_sleeps(function: Function) -> Iterator[tuple[int, str]]:
    """Sleeps of a set length that no loop repeats."""
    polling = {node for loop in ast.walk(function) if isinstance(loop, ast.While) for node in ast.walk(loop)}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and _name(node) == "sleep" and node.args) or node in polling:
            continue
        if isinstance(node.args[0], ast.Constant) and node.args[0].value:
            yield node.lineno, "a fixed sleep: poll with a deadline (tests.platform.eventually)"


def main(argv: list[str]) -> int:
    """Print what was found; 1 if there was anything."""
    paths = [Path(name) for name in argv] or sorted((ROOT / "tests").rglob("*.py"))
    bad = sorted({(str(path), line, what) for path in paths for line, what in findings(path)})
    for name, line, what in bad:
        print(f"{Path(name).relative_to(ROOT) if Path(name).is_absolute() else name}:{line}: {what}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
