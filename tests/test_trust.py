"""Nothing that a file holds is ever run, and no name in a file leads out of its folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "src").rglob("*.py"))

NEVER = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.load", "marshal.loads", "shelve.open", "yaml.load", "yaml.unsafe_load",
    "joblib.load", "dill.load", "dill.loads", "tarfile.open", "shutil.unpack_archive",
    "os.system", "os.popen", "numpy.fromfile", "np.fromfile", "torch.jit.load",
    "torch.hub.load", "pandas.read_pickle",
}  # fmt: skip
NEVER_METHODS = {"extractall", "extract"}
"""Each member of an archive is written under a name that was looked at."""


def name_of(node: ast.expr) -> str:
    """`a.b.c` of such an expression."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """The constant given as a keyword."""
    for given in call.keywords:
        if given.arg == name and isinstance(given.value, ast.Constant):
            return given.value.value
    return None


def unsafe_calls(text: str) -> list[str]:
    """Calls that may run what a file holds, by name and line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        is_unsafe = (
            name in NEVER
            or (isinstance(node.func, ast.Attribute) and node.func.attr in NEVER_METHODS)
            or (name == "torch.load" and keyword(node, "weights_only") is not True)
            or (name in ("np.load", "numpy.load") and keyword(node, "allow_pickle") is not False)
            or keyword(node, "shell") is True
            or keyword(node, "trust_remote_code") is True
            or keyword(node, "allow_pickle") is True
            or keyword(node, "weights_only") is False
        )
        if is_unsafe:
            found.append(f"{name or ast.unparse(node.func)} in line {node.lineno}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_package_calls_nothing_that_runs_what_a_file_holds(path):
    assert not unsafe_calls(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pickle.loads(data)",
        "yaml.load(text)",
        "archive.extractall(folder)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "Model.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_what_is_unsafe_is_seen(text):
    assert unsafe_calls(text)


@pytest.mark.parametrize(
    "text",
    ["torch.load(path, weights_only=True)", "np.load(path, allow_pickle=False)", "re.compile(a)"],
)
def test_what_is_safe_is_let_through(text):
    assert not unsafe_calls(text)
