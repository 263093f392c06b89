"""Mutants of a solution, by a change to its syntax tree."""

import ast
import copy
import warnings
from collections.abc import Iterator
from random import Random
from typing import Any

from assay.benchmark.verify.fences import fenced_blocks

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}


def mutants(gold: str, rng: Random) -> Iterator[tuple[str, str]]:
    """Yields (kind, text) of a solution with one change, and with another result; nothing if it is no program."""
    body = program(gold)
    tree = _parse(body or "")
    if body is None or tree is None:
        return
    counted = _Change(-1)
    counted.visit(copy.deepcopy(tree))
    if counted.sites:
        changed = _Change(rng.randrange(counted.sites)).visit(copy.deepcopy(tree))
        yield "mutant", _replace_body(gold, body, changed)
    function = [node for node in tree.body if isinstance(node, ast.FunctionDef)][-1]
    returns = _Result(rng.choice(("None", "[{}]", _first(function) or "None")))
    returns.visit(function)
    if returns.changed:
        yield "another result", _replace_body(gold, body, tree)


def _replace_body(gold: str, body: str, tree: ast.AST) -> str:
    return gold.replace(body, ast.unparse(ast.fix_missing_locations(tree)) + "\n")


def program(gold: str) -> str | None:
    """Returns the Python in a gold answer that defines a function; None where there is none."""
    bodies = [block.body for block in fenced_blocks(gold, _defines)] if "```" in gold else [gold]
    return next((body for body in reversed(bodies) if _defines(body) and body in gold), None)


def _defines(text: str) -> bool:
    tree = _parse(text) if "def " in text else None
    return tree is not None and any(isinstance(node, ast.FunctionDef) for node in tree.body)


def _parse(text: str) -> ast.Module | None:
    """Returns the syntax tree of a text; None where it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # such as for the escape \d
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _first(function: ast.FunctionDef) -> str | None:
    arguments = [*function.args.posonlyargs, *function.args.args]
    return arguments[0].arg if arguments else None


class _Change(ast.NodeTransformer):
    """Changes one of the places that can be changed, and counts them. `while` is left alone: it may never end."""

    def __init__(self, at: int) -> None:
        self.sites = 0
        self._at = at

    def _here(self) -> bool:
        self.sites += 1
        return self.sites - 1 == self._at

    def visit_While(self, node: ast.While) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and (other := _OPPOSITE.get(type(node.ops[0]))) and self._here():
            node.ops = [other()]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if (other := _SWAPPED.get(type(node.op))) and self._here():
            node.op = other()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._here():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is int and self._here():
            return ast.Constant(node.value + 1)
        return node


class _Result(ast.NodeTransformer):
    """Changes what a function returns, everywhere. `{}` in the new expression stands for what it returned."""

    def __init__(self, expression: str) -> None:
        self.changed = False
        self._expression = expression
        self._depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self._depth += 1
        found = self.generic_visit(node) if self._depth == 1 else node
        self._depth -= 1
        return found

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return node

    def visit_Return(self, node: ast.Return) -> Any:
        if node.value is None:
            return node
        was = ast.unparse(node.value)
        now = self._expression.format(was)
        self.changed = self.changed or now != was
        return ast.Return(ast.parse(now, mode="eval").body)
