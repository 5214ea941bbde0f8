"""The package's layering, read from its own imports: who may import whom, and what must stay independent.

Imports inside functions and under TYPE_CHECKING count: they are dependencies too.  What is checked here is the list in
`LAYERS` and the tables below it; docs/ and the module docstrings say why.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "npcompile"
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
MAX_LINES = 600

# From the bottom up: a part imports those of lower layers only, never one of its own layer.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("collection", "source"),
    ("resources",),
    ("diagnostics",),
    ("netset",),
    ("ir",),
    ("questions",),
    ("frontend", "passes", "semantics"),
    ("relation", "symbolic"),
    ("analyses", "backends", "readers"),
    ("proof", "runtime"),
    ("driver",),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

# Parts that describe the meaning of a policy, or test such a description, and must not be made of one another.
ONLY = {"semantics": {"ir", "netset"}}
NEVER = {
    "symbolic": {"passes", "relation", "semantics"},
    "relation": {"semantics", "symbolic"},
    "readers": {"backends", "passes", "relation", "semantics", "symbolic"},
}

# Third-party packages that are slow to import, or that stand for a job which belongs to one place.
HOMES = {
    "z3": {"symbolic", "proof"},
    "lark": {"frontend", "readers"},
    "yaml": {"frontend", "readers"},
    "click": {"cli"},
}
# The import names of dependencies whose distribution is called otherwise.
IMPORT_NAMES = {"pyyaml": "yaml", "z3-solver": "z3", "pyelftools": "elftools"}
# Parts of importlib that read data and metadata, and import no module.
STATIC_IMPORTLIB = {"importlib.resources", "importlib.metadata"}

# Packages that a command imports when it needs them, and not before.
SLOW = {"jinja2", "lark", "rich", "z3"}

# The one boundary that may catch everything: it reports an internal error and fails closed.
BOUNDARY = "npcompile.cli.app"


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a module by its full name, at a line; `name` is what is imported from it, if anything."""

    module: str
    line: int
    name: str = ""

    @property
    def part(self) -> str:
        """The part of the package that this import reaches; empty for the package itself and for other packages."""
        if self.module == PACKAGE:
            return self.name if self.name in RANK or not self.name.startswith("__") else ""
        return self.module.split(".")[1] if self.module.startswith(f"{PACKAGE}.") else ""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                origin = ".".join([*package, *filter(None, [origin])])
            yield from (Import(origin, node.lineno, alias.name) for alias in node.names)


def layering(module: str, found: list[Import]) -> Iterator[str]:
    """Violations of the order of layers and of independence."""
    own = module.partition(".")[2].split(".")[0]
    if own and own not in RANK:
        yield f"{module}: `{own}` has no place in LAYERS"
        return
    for item in found:
        part = item.part
        if not part or part == own:
            continue
        where = f"{module}:{item.line}: imports {part}"
        if part not in RANK:
            yield f"{where}, which has no place in LAYERS"
        elif not own:
            yield f"{where}, but the package itself imports no part of it"
        elif RANK[part] >= RANK[own]:
            yield f"{where}, which is not below {own}"
        elif part in NEVER.get(own, ()) or part not in ONLY.get(own, RANK):
            yield f"{where}, of which {own} must be independent"


def third_party(module: str, found: list[Import], declared: set[str]) -> Iterator[str]:
    """Imports of packages outside their home, or not declared as dependencies."""
    own = module.partition(".")[2].split(".")[0]
    for item in found:
        package = item.module.split(".")[0]
        if package == PACKAGE or package in sys.stdlib_module_names:
            continue
        if package not in declared:
            yield f"{module}:{item.line}: imports {package}, which pyproject.toml does not declare"
        elif own not in HOMES.get(package, RANK):
            yield f"{module}:{item.line}: imports {package}, which belongs to {', '.join(sorted(HOMES[package]))}"


def dynamic(module: str, tree: ast.AST, found: list[Import]) -> Iterator[str]:
    """Ways to import that the other checks would not see."""
    for item in found:
        full = f"{item.module}.{item.name}" if item.name else item.module
        home = item.module.split(".")[0]
        if home in {"pkgutil", "runpy", "imp"} or (
            home == "importlib" and item.module not in STATIC_IMPORTLIB and full not in STATIC_IMPORTLIB
        ):
            yield f"{module}:{item.line}: dynamic import through {full}"
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        bare = isinstance(node, ast.Name)
        if name == "__import__" or (bare and name in {"exec", "eval"}) or _is_sys_modules(node):
            yield f"{module}:{getattr(node, 'lineno', 0)}: dynamic import through {name}"


def _is_sys_modules(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
            return True
    return False


def catch_all(module: str, tree: ast.AST) -> Iterator[str]:
    """Handlers that swallow every exception."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield f"{module}:{node.lineno}: bare except"
            case ast.ExceptHandler(type=ast.expr() as caught) if names := _too_broad(caught):
                yield f"{module}:{node.lineno}: except {names}"
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=args):
                yield from (f"{module}:{node.lineno}: suppress({names})" for arg in args if (names := _too_broad(arg)))


def _too_broad(caught: ast.AST) -> str:
    names = {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}
    return ", ".join(sorted(names & {"Exception", "BaseException"}))


def declared_packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [item for extra in project.get("optional-dependencies", {}).values() for item in extra]
    names = {_distribution(item) for item in [*project["dependencies"], *extras]}
    return {IMPORT_NAMES.get(name, name) for name in names}


def _distribution(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
    return requirement[:end].lower()


def violations(module: str, text: str, *, is_package: bool, declared: set[str]) -> list[str]:
    tree = ast.parse(text)
    found = list(imports(tree, module, is_package=is_package))
    return [
        *layering(module, found),
        *third_party(module, found, declared),
        *dynamic(module, tree, found),
        *([] if module == BOUNDARY else catch_all(module, tree)),
    ]


def test_no_module_breaks_the_layering() -> None:
    declared = declared_packages()
    found = [
        violation
        for path in MODULES
        for violation in violations(
            module_name(path),
            path.read_text(encoding="utf-8"),
            is_package=path.name == "__init__.py",
            declared=declared,
        )
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_module_is_too_long_to_read() -> None:
    long = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_the_boundary_catches_everything_once_at_most() -> None:
    (path,) = (path for path in MODULES if module_name(path) == BOUNDARY)
    assert len(list(catch_all(BOUNDARY, ast.parse(path.read_text(encoding="utf-8"))))) <= 1


def test_starting_imports_nothing_slow() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", PACKAGE, "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert f"{PACKAGE}.cli" in loaded
    assert loaded.isdisjoint(SLOW)


# Each of these is a module that would break one rule, and a word of what must be said about it.
BROKEN = {
    "upwards": ("npcompile.netset.ports", "from npcompile.ir import policy", "not below netset"),
    "upwards by the package": ("npcompile.source", "from npcompile import driver", "not below source"),
    "upwards, relative": ("npcompile.ir.flow", "from ..frontend import resolve", "not below ir"),
    "upwards, plain import": ("npcompile.ir.flow", "import npcompile.passes.normalize as n", "not below ir"),
    "sibling": ("npcompile.passes.normalize", "from npcompile.semantics import decide", "not below passes"),
    "sibling, inside a function": (
        "npcompile.analyses.reach",
        "def f():\n    import npcompile.backends.target",
        "not below analyses",
    ),
    "sibling, for types only": (
        "npcompile.readers.nft",
        "if TYPE_CHECKING:\n    from npcompile.backends.nftables import Chain",
        "not below readers",
    ),
    "questions from below": ("npcompile.ir.flow", "from npcompile.questions import Engine", "not below ir"),
    "main": ("npcompile.cli.root", "import npcompile.__main__", "not below cli"),
    "the package": ("npcompile", "from npcompile.ir import flow", "imports no part"),
    "an unknown part": ("npcompile.utils.misc", "x = 1", "no place in LAYERS"),
    "of an unknown part": ("npcompile.cli.root", "from npcompile.utils import misc", "no place in LAYERS"),
    "semantics and diagnostics": ("npcompile.semantics", "import npcompile.diagnostics.model", "independent"),
    "symbolic and passes": ("npcompile.symbolic.encode", "from npcompile.passes import normalize", "independent"),
    "symbolic and semantics": ("npcompile.symbolic.encode", "from npcompile import semantics", "independent"),
    "symbolic and relation": ("npcompile.symbolic.encode", "import npcompile.relation", "not below symbolic"),
    "relation and semantics": ("npcompile.relation.atoms", "from npcompile.semantics import matches", "independent"),
    "readers and passes": ("npcompile.readers.nft", "from npcompile.passes.classes import f", "independent"),
    "readers and semantics": ("npcompile.readers.nft", "from npcompile.semantics import decide", "independent"),
    "z3 elsewhere": ("npcompile.relation.atoms", "def f():\n    import z3", "belongs to proof, symbolic"),
    "yaml elsewhere": ("npcompile.driver.load", "from yaml import CSafeLoader", "belongs to frontend, readers"),
    "lark elsewhere": ("npcompile.analyses.spec", "import lark.lexer", "belongs to frontend, readers"),
    "click elsewhere": ("npcompile.driver.check", "import click", "belongs to cli"),
    "undeclared": ("npcompile.relation.atoms", "import networkx", "does not declare"),
    "import_module": ("npcompile.cli.root", "from importlib import import_module", "dynamic import"),
    "importlib": ("npcompile.cli.root", "import importlib", "dynamic import"),
    "importlib.util": ("npcompile.cli.root", "import importlib.util", "dynamic import"),
    "pkgutil": ("npcompile.analyses.checks", "import pkgutil", "dynamic import"),
    "__import__": ("npcompile.cli.root", "m = __import__('npcompile.driver')", "dynamic import"),
    "builtins.__import__": ("npcompile.cli.root", "m = builtins.__import__('z3')", "dynamic import"),
    "sys.modules": ("npcompile.symbolic.solve", "sys.modules['z3']", "dynamic import"),
    "exec": ("npcompile.cli.root", "exec('import z3')", "dynamic import"),
    "bare except": ("npcompile.driver.check", "try:\n    f()\nexcept:\n    pass", "bare except"),
    "except Exception": ("npcompile.driver.check", "try:\n    f()\nexcept Exception as e:\n    pass", "except Exc"),
    "except a tuple": ("npcompile.ir.flow", "try:\n    f()\nexcept (OSError, Exception):\n    pass", "except Exc"),
    "except BaseException": ("npcompile.ir.flow", "try:\n    f()\nexcept BaseException:\n    raise", "except Base"),
    "suppress": ("npcompile.ir.flow", "with contextlib.suppress(Exception):\n    f()", "suppress(Exception)"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_module_is_found(case: str) -> None:
    module, text, word = BROKEN[case]
    is_package = module in {"npcompile", "npcompile.analyses.checks"}
    found = violations(module, text, is_package=is_package, declared=declared_packages())
    assert len(found) == 1
    assert word in found[0]


SOUND = """
    from __future__ import annotations
    import json, importlib.metadata
    from importlib import resources
    from npcompile import __version__, questions
    from npcompile.ir.policy import Policy
    from npcompile.passes.normalize import normalize
    from . import atoms
    from .atoms import Atom
    from ..netset import ports

    try:
        normalize()
    except (OSError, ValueError):
        pass
"""


@pytest.mark.parametrize("module", ["npcompile.relation.engine", "npcompile.relation"])
def test_a_sound_module_passes(module: str) -> None:
    found = violations(
        module, textwrap.dedent(SOUND), is_package=module == "npcompile.relation", declared=declared_packages()
    )
    assert found == []


def test_relative_imports_are_resolved() -> None:
    text = "from . import a\nfrom .b import c\nfrom .. import d\nfrom ..e import f"
    assert [i.module for i in imports(ast.parse(text), "p.q.r", is_package=False)] == ["p.q", "p.q.b", "p", "p.e"]
    assert [i.module for i in imports(ast.parse(text), "p.q", is_package=True)] == ["p.q", "p.q.b", "p", "p.e"]


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {module_name(path).partition(".")[2].split(".")[0] for path in MODULES} - {""}
    assert parts <= set(RANK)
