"""Python modules made to tell which ways through them were taken, for the fuzzer: rewritten while they are imported.

At the beginning of each branch (of a function, an `if`, a loop, a `case`, the right side of an `and`…) a call is put
in. Two of them in a row are an *edge*; a set of edges is what an input is judged by. That works the same in every
version of Python, and costs about 0.1 µs for each branch taken. The constants of the modules are collected on the way:
an input that is made of those gets further than one made of dice.

Faults can be planted in the same way, to see that they are found: a piece of a source is replaced by another.

It refuses to touch modules that were imported before: that is for `install` to come early enough.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, TypeVar

import attrs
import msgspec

T = TypeVar("T", bound=ast.AST)

_SEEN = "__seen__"
_POINTS = 1 << 20
"""More branches than there are in all modules together."""
_TOKEN_LENGTHS = range(2, 41)
"""Of constants that may be part of an input: names and the like, no sentences."""


class Plant(msgspec.Struct, frozen=True):
    """A fault: a piece of a module's source, and what is there instead."""

    module: str
    sound: str
    faulty: str


@attrs.define
class Coverage:
    """What the rewritten modules told."""

    edges: set[int] = attrs.field(factory=set)
    """All that were ever taken."""
    tokens: set[bytes] = attrs.field(factory=set)
    """Constants of the modules."""
    _previous: int = 0
    _points: int = 0

    def seen(self, point: int) -> None:
        """Note that a branch is taken."""
        self.edges.add(self._previous * _POINTS + point)
        self._previous = point

    def begin(self) -> None:
        """Begin with another input."""
        self._previous = 0

    def new_point(self) -> int:
        """Return the number of another branch."""
        self._points += 1
        return self._points


def install(packages: Sequence[str], plants: Sequence[Plant] = ()) -> Coverage:
    """Rewrite all modules of these packages that are imported from now on; return what they will tell.

    Raises RuntimeError when one of them was imported already.
    """
    early = [name for name in sys.modules if name.partition(".")[0] in packages]
    if early:
        raise RuntimeError(f"imported too early to be rewritten: {', '.join(sorted(early))}")
    coverage = Coverage()
    sys.meta_path.insert(0, _Finder(frozenset(packages), plants, coverage))
    return coverage


class _Finder(MetaPathFinder):
    def __init__(self, packages: frozenset[str], plants: Sequence[Plant], coverage: Coverage) -> None:
        self._packages = packages
        self._plants = plants
        self._coverage = coverage

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self._packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            plants = [plant for plant in self._plants if plant.module == fullname]
            spec.loader = _Loader(fullname, spec.loader.path, plants, self._coverage)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, plants: Sequence[Plant], coverage: Coverage) -> None:
        super().__init__(name, path)
        self._plants = plants
        self._coverage = coverage

    def get_code(self, fullname: str) -> CodeType:
        """Compile the rewritten source, whatever was compiled before."""
        path = self.get_filename(fullname)
        source = self.get_source(fullname) or ""
        for plant in self._plants:
            if source.count(plant.sound) != 1:
                raise ValueError(f"{plant.module} has this {source.count(plant.sound)} times: {plant.sound}")
            source = source.replace(plant.sound, plant.faulty)
        return compile(rewritten(ast.parse(source, path), self._coverage), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _SEEN, self._coverage.seen)
        super().exec_module(module)


def rewritten(tree: ast.Module, coverage: Coverage) -> ast.Module:
    """Return the module with a call at the beginning of each branch; collect its constants."""
    made: ast.Module = _Rewriter(coverage).visit(tree)
    return ast.fix_missing_locations(made)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage

    # -- blocks --

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._blocks(node, "body", "orelse")

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._blocks(node, "body", "orelse")

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self._blocks(node, "body", "orelse")

    def visit_While(self, node: ast.While) -> ast.AST:
        return self._blocks(node, "body", "orelse")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        return self._blocks(node, "body")

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        return self._blocks(node, "body")

    # -- expressions --

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.body, node.orelse = self._marked(node.body), self._marked(node.orelse)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        node.values[1:] = [self._marked(value) for value in node.values[1:]]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.generic_visit(node)
        node.body = self._marked(node.body)
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._element(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._element(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._element(node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        self.generic_visit(node)
        node.value = self._marked(node.value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value.encode(errors="replace") if isinstance(node.value, str) else node.value
        if isinstance(value, bytes) and len(value) in _TOKEN_LENGTHS and b" " not in value:
            self._coverage.tokens.add(value)
        return node

    # -- how --

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        after_docstring = int(ast.get_docstring(node, clean=False) is not None)
        node.body.insert(after_docstring, ast.Expr(self._call()))
        return node

    def _blocks(self, node: T, *names: str) -> T:
        self.generic_visit(node)
        for name in names:
            block: list[ast.stmt] = getattr(node, name)
            if block:
                block.insert(0, ast.Expr(self._call()))
        return node

    def _element(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        node.elt = self._marked(node.elt)
        return node  # type: ignore[no-any-return]

    def _marked(self, value: ast.expr) -> ast.expr:
        """Return the same expression with a call before it, which returns None."""
        return ast.BoolOp(ast.Or(), [self._call(), value])

    def _call(self) -> ast.expr:
        number = ast.Constant(self._coverage.new_point())
        return ast.Call(ast.Name(_SEEN, ast.Load()), [number], [])
