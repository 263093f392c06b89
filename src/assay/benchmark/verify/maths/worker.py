"""The process that judges maths answers for `maths`: a question a line, an answer a line. It may be killed at any time.

Run as a script and by its path, so that it imports nothing of this package: math-verify alone takes a second.
"""

import importlib
import itertools
import json
import os
import re
import resource
import signal
import sys
from decimal import Decimal
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 4 << 30
ROUNDED = 3
"""Digits from which on a decimal gold answer may be a rounded one; with a power of ten already from two."""
PLACES = 300
"""Digits to which two numbers may agree that are not equal."""
LARGEST = 10**14
"""A numerator or denominator that is written out is below this: Decimal divides with 28 digits."""
APPROXIMATE = 6
"""Digits, and places after the point, from which on a decimal may stand for an exact gold answer."""
_OR = re.compile(r"\\text ?\{ ?or ?\}|\bor\b|\\lor\b|\\vee\b|\\cup\b")
_AND = re.compile(r"\\text ?\{ ?and ?\}|\band\b|\\land\b|\\wedge\b")
_RELATION = re.compile(r"[<>]|\\(?:[lg]eq?|[lg]t|neq?)(?![a-zA-Z])")
_DECIMAL = re.compile(r"\d*\.\d+")
_MEMBER = re.compile(r"\s*[a-zA-Z]\s*\\in(?![a-zA-Z])")
_SUCH = re.compile(r"\\?\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid|\\vert|:|\|)(.*?)\\?\}")


def main() -> None:
    """Answers until its input ends."""
    # What the libraries print would be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        judge = Judge()
    except ImportError as error:
        print(json.dumps({"error": "import", "message": str(error)}), file=answers, flush=True)
        return
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        # Where nobody is left to kill this process, the kernel does.
        timer, spare_s = (signal.ITIMER_PROF, 0) if "by_processor" in question else (signal.ITIMER_REAL, 5)
        signal.setitimer(timer, question["deadline_s"] + spare_s)
        answer = judge.answer(question["gold"], question["said"])
        signal.setitimer(timer, 0)
        print(json.dumps(answer), file=answers, flush=True)


class Judge:
    """math-verify, which parses and compares structures, with comparisons of its parts that are exact."""

    def __init__(self) -> None:
        self._library: Any = importlib.import_module("math_verify")
        self._sympy: Any = importlib.import_module("sympy")
        self._grader: Any = importlib.import_module("math_verify.grader")
        self._written: dict[Decimal, Decimal] = {}
        # The library rounds to six places after the point, takes what is small for nothing, and finds two equations
        # without a solution the same.
        self._solved_alike: Any = self._grader.sympy_solve_and_compare
        self._grader.sympy_numeric_eq = self._grader.sympy_symbolic_eq = self._equal
        self._grader.sympy_solve_and_compare = self._alike
        self._exact = lru_cache(16)(self._fractions)

    def answer(self, gold: tuple[str, bool], said: tuple[str, bool]) -> dict[str, Any]:
        """Whether an answer is right, and what it is. Each is a text, and whether that is a formula alone."""
        try:
            decimals = [Decimal(one) for text, _ in (said, gold) for one in _DECIMAL.findall(text)]
            self._written = {one.normalize(): one for one in decimals}
            expected = self._parse(*gold)
            if not expected:
                return {"error": "gold", "message": f"the gold answer {gold[0][:200]!r} can't be read as maths"}
            got = self._parse(*said)
            found = [self._same(one, other) for one, other in itertools.product(expected, got)]
            shown = self._answer(got)
            right, undecided = True in found, None in found and True not in found
            if undecided and not any(self._same(one, one) for one in expected if not isinstance(one, str)):
                return {"error": "gold", "message": f"the gold answer {gold[0][:200]!r} can't be compared with itself"}
        except (MemoryError, RecursionError) as error:
            return {"error": "resources", "message": f"the answer takes too much to judge: {type(error).__name__}"}
        return {"right": right, "undecided": undecided, "answer": shown if shown is None else shown[:1000]}

    def _parse(self, text: str, alone: bool) -> list[Any]:
        """What a text may be as maths, and the text that was read."""
        if not alone:
            return self._library.parse(text, parsing_timeout=None)
        if not text:
            return []
        text = _SUCH.sub(r"\2", text) if _SUCH.fullmatch(text) else _MEMBER.sub("", text, count=1)
        for joint, join in ((_OR, self._sympy.Union), (_AND, self._sympy.Intersection)):
            parts = joint.split(text)
            if len(parts) > 1 and _RELATION.search(text):
                sets = [self._as_set(part) for part in parts]
                return [join(*sets), text] if None not in sets else []
        return self._library.parse(f"\\boxed{{{text}}}", parsing_timeout=None)

    def _as_set(self, text: str) -> Any:
        """The set of a relation or an interval; None where it is neither."""
        parsed = self._parse(text.strip(), True)
        try:
            found = parsed[0] if isinstance(parsed[0], self._sympy.Set) else parsed[0].as_set()
        except (IndexError, AttributeError, NotImplementedError):
            return None
        return found

    def _same(self, gold: Any, got: Any) -> bool | None:
        """Whether two parts are the same; None where the comparison failed, so that nobody knows."""
        try:
            return self._library.verify(
                gold, got, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True
            )
        except (MemoryError, RecursionError):
            raise
        except Exception:
            # The library compares what need not be comparable, such as a relation and a number: they are not the same.
            boolean = self._sympy.logic.boolalg.Boolean
            return False if isinstance(gold, boolean) != isinstance(got, boolean) else None

    def _equal(self, gold: Any, got: Any, *_: Any) -> bool:
        """Whether two numbers, terms or matrices are equal: exactly, or as far as the digits of the gold one go."""
        matrix = self._sympy.MatrixBase
        if isinstance(gold, matrix) and isinstance(got, matrix):
            return gold.shape == got.shape and all(map(self._equal, gold.flat(), got.flat()))
        if isinstance(gold, matrix) or isinstance(got, matrix):
            return False
        of_gold, of_got = self._grader.get_pct_val(gold), self._grader.get_pct_val(got)
        if (of_gold is None) == (of_got is None):
            return self._equal_terms(gold, got)
        # 20 % is 0.2, and to who asks for a percentage 20.
        bare = (of_gold, got) if of_got is None else (gold, of_got)
        return self._equal_terms(gold, got) or self._equal_terms(*bare)

    def _equal_terms(self, gold: Any, got: Any) -> bool:
        expected, answer = self._exact(gold), self._exact(got)
        difference = expected - answer
        if self._is_zero(difference):
            return True
        if not difference.is_number:
            return False
        digits, unit = self._precision(gold)
        enough = digits >= (ROUNDED if isinstance(gold, self._sympy.Float) else 2)
        if not gold.atoms(self._sympy.Float):
            digits, unit = self._precision(got)
            enough = digits >= APPROXIMATE and unit * 10**APPROXIMATE <= 1
        return enough and bool(abs(difference) <= unit / 2)

    def _precision(self, term: Any) -> tuple[int, Any]:
        """How many digits a decimal states, and the value of a unit in the last one. (0, 0) where it is no decimal.

        Of 1.60 * 10^-19 these are 3 and 10^-21: that of the last zero, which sympy does not keep.
        """
        decimals = list(term.atoms(self._sympy.Float))
        if len(decimals) != 1:
            return 0, 0
        decimal = Decimal(str(decimals[0])).normalize()
        _, digits, exponent = self._written.get(decimal, decimal).as_tuple()
        scale = abs(self._exact(term) / self._exact(decimals[0]))
        power = scale.is_Rational and {str(scale.p).rstrip("0"), str(scale.q).rstrip("0")} == {"1"}
        return (len(digits), scale * self._sympy.Integer(10) ** exponent) if power else (0, 0)

    def _fractions(self, term: Any) -> Any:
        """The term with its decimals as fractions, worked out."""
        exact = {one: self._sympy.Rational(str(one)) for one in term.atoms(self._sympy.Float)}
        return (term.xreplace(exact) if exact else term).doit()

    def _is_zero(self, term: Any) -> bool:
        if not term.is_number:
            return bool(self._sympy.simplify(term).is_zero)
        if term.is_Rational:
            return term == 0
        # What is nothing has lost all of its precision then.
        value = term.evalf(maxn=PLACES)
        parts = value.atoms(self._sympy.Float)
        return all(part == 0 or part._prec == 1 for part in parts) if parts else bool(value.is_zero)

    def _alike(self, gold: Any, got: Any, *precision: Any) -> bool:
        """Whether two relations are the same up to a factor, or have the same solutions."""
        one, other = self._exact(gold.lhs - gold.rhs), self._exact(got.lhs - got.rhs)
        factor = self._sympy.cancel(one / other)
        if factor.is_number and factor.is_finite and not factor.is_zero:
            inverse: dict[Any, Any] = {} if factor.is_positive else self._grader.INVERSE_RELATIONS
            return inverse.get(type(gold), type(gold)) is type(got)
        return bool(self._sympy.solve(gold, gold.free_symbols)) and self._solved_alike(gold, got, *precision)

    def _answer(self, got: list[Any]) -> str | None:
        """The answer as it is shown and counted: a rational number always in the same way, else as it stands there."""
        said = next((part for part in got if isinstance(part, str)), None)
        value: Any = self._grader.unwrap_eq(got[0]) if got else said
        if not isinstance(value, self._sympy.Expr) or not value.is_number:
            return said
        value = self._exact(value)
        if not value.is_Rational or max(abs(value.p), value.q) >= LARGEST:
            return said
        return f"{Decimal(value.p) / value.q:f}" if LARGEST % value.q == 0 else str(value)


if __name__ == "__main__":
    main()
