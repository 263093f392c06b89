"""Maths answers by construction: a value, other ways to write it, and values that look like it."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

Made = tuple[str, list[str], list[str]]
"""The gold answer, what equals it, and what does not; as LaTeX."""


def _with_sign(rng: Random, most: int) -> int:
    return rng.choice((-1, 1)) * rng.randint(1, most)


def _decimal(value: Fraction, places: int) -> str:
    scaled = round(abs(value) * 10**places)
    return f"{'-' if value < 0 else ''}{scaled // 10**places}.{scaled % 10**places:0{places}}"


def fraction(rng: Random) -> Made:
    value = Fraction(_with_sign(rng, 40), rng.randint(2, 30))
    while value.denominator == 1:
        value += Fraction(1, rng.randint(2, 30))
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    times = rng.randint(2, 9)
    forms = [
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"{sign}\dfrac{{{top}}}{{{bottom}}}",
        rf"\frac{{{sign}{top}}}{{{bottom}}}",
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{top * times}}}{{{bottom * times}}}",
        rf"x = {sign}\frac{{{top}}}{{{bottom}}}",
    ]
    if bottom < 10 and top < 10:
        forms.append(rf"{sign}\frac{top}{bottom}")
    if 1000 % bottom == 0:
        forms += [_decimal(value, 3), _decimal(value, 5)]
    if top > bottom:
        whole, left = divmod(top, bottom)
        forms.append(rf"{sign}{whole}\frac{{{left}}}{{{bottom}}}")
    others = [
        rf"{'' if sign else '-'}\frac{{{top}}}{{{bottom}}}",
        rf"{sign}\frac{{{top}}}{{{bottom + 1}}}",
        rf"{sign}\frac{{{top + 1}}}{{{bottom}}}",
        f"{sign}{top}",
        _decimal(value + Fraction(1, 1000), 4),
        f"{value.numerator / value.denominator + 0.1:.2f}",
    ]
    if top != bottom:
        others.append(rf"{sign}\frac{{{bottom}}}{{{top}}}")
    return rng.choice(forms[:5]), forms, others


def integer(rng: Random) -> Made:
    value = _with_sign(rng, rng.choice((9, 99, 9999, 10**7)))
    grouped = f"{value:,}"
    forms = [str(value), f"{value}.0", f"x = {value}", rf"{value}\text{{ cm}}", rf"{2 * value}/2", rf"{value}^{{1}}"]
    forms += [grouped, grouped.replace(",", "{,}"), grouped.replace(",", r"{,}\!")] if abs(value) > 999 else []
    forms += [rf"\sqrt{{{value**2}}}"] if 0 < value < 9999 else []
    others = [
        str(-value),
        str(value + 1),
        f"{value}.5",
        f"{value}1",
        f"{value + 0.001:.3f}",
        rf"{value}\pi",
        f"{value}x",
    ]
    others += [f"{value}!"] if 3 <= value < 20 else []
    return str(value), forms, others


def power(rng: Random) -> Made:
    base, exponent = rng.choice((2, 3, 5, 7)), rng.randint(2, 12)
    forms = [f"{base}^{{{exponent}}}", str(base**exponent), rf"{base} \cdot {base}^{{{exponent - 1}}}"]
    forms += [f"{base}^{exponent}"] if exponent < 10 else []
    others = [str(base**exponent + 1), f"{base}^{{{exponent + 1}}}", str(base), str(base * exponent + 10**9)]
    return rng.choice(forms[:2]), forms, others


def tiny(rng: Random) -> Made:
    n = rng.randint(20, 70)
    m = n + rng.choice((-2, -1, 1, 2))
    kind = rng.randrange(5)
    if kind == 0:
        return (
            rf"\frac{{1}}{{{n}!}}",
            [rf"\frac{{1}}{{{n}!}}", rf"\frac{{{n + 1}}}{{{n + 1}!}}"],
            _wrong_tiny(rf"\frac{{1}}{{{n}!}}", rf"\frac{{1}}{{{m}!}}"),
        )
    if kind == 1:
        forms = [f"2^{{-{n}}}", rf"\frac{{1}}{{2^{{{n}}}}}", rf"\left(\frac{{1}}{{2}}\right)^{{{n}}}"]
        return rng.choice(forms), forms, _wrong_tiny(forms[0], f"2^{{-{m}}}")
    if kind == 2:
        forms = [f"e^{{-{n}}}", rf"\frac{{1}}{{e^{{{n}}}}}"]
        return rng.choice(forms), forms, _wrong_tiny(forms[0], f"e^{{-{m}}}")
    digits = rng.randint(11, 99)
    mantissa, exponent = f"{digits // 10}.{digits % 10}", rng.randint(7, 34)
    forms = [
        rf"{mantissa}\times10^{{-{exponent}}}",
        rf"{mantissa} \times 10^{{-{exponent}}}",
        rf"{mantissa}\cdot 10^{{-{exponent}}}",
    ]
    forms.append(rf"{digits}\times10^{{-{exponent + 1}}}")
    if exponent < 13:
        forms.append(f"0.{'0' * (exponent - 1)}{digits}")
    other = digits + rng.choice((-3, -2, 2, 3))
    return (
        rng.choice(forms),
        forms,
        [
            *_wrong_tiny(forms[0], rf"{mantissa}\times10^{{-{exponent + 1}}}"),
            rf"{other // 10}.{other % 10}\times10^{{-{exponent}}}",
            rf"{mantissa}\times10^{{{exponent}}}",
            "0.0",
        ],
    )


def _wrong_tiny(form: str, near: str) -> list[str]:
    return [f"-{form}", near, "0"]


def surd(rng: Random) -> Made:
    a, b = rng.randint(2, 12), rng.choice((2, 3, 5, 6, 7, 10, 11))
    forms = [
        rf"{a}\sqrt{{{b}}}",
        rf"\sqrt{{{a * a * b}}}",
        rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}",
        rf"{a} \cdot \sqrt{{{b}}}",
    ]
    others = [
        str(a),
        rf"{a + 1}\sqrt{{{b}}}",
        rf"\sqrt{{{a * a * b + 1}}}",
        rf"{a}\sqrt[3]{{{b}}}",
        rf"-{a}\sqrt{{{b}}}",
    ]
    return rng.choice(forms), forms, [*others, f"{a * b**0.5:.3f}"]


def sum_of_surds(rng: Random) -> Made:
    a, b, c = _with_sign(rng, 20), rng.choice((2, 3, 5, 7)), rng.randint(2, 9)
    forms = [rf"{a} + {c}\sqrt{{{b}}}", rf"{c}\sqrt{{{b}}} {a:+}", rf"{a} + \sqrt{{{c * c * b}}}"]
    return (
        rng.choice(forms),
        forms,
        [rf"{a} - {c}\sqrt{{{b}}}", rf"{a + 1} + {c}\sqrt{{{b}}}", rf"{c}\sqrt{{{b}}}", str(a)],
    )


def circle(rng: Random) -> Made:
    k = rng.randint(2, 60)
    forms = [rf"{k}\pi", rf"{k} \pi", rf"\pi \cdot {k}", rf"\frac{{{2 * k}\pi}}{{2}}"]
    return (
        forms[0],
        forms,
        [str(k), rf"{k + 1}\pi", rf"-{k}\pi", rf"\frac{{\pi}}{{{k}}}", rf"{k}\pi^2", f"{k * 3.14:.2f}"],
    )


def interval(rng: Random) -> Made:
    low = rng.randint(-20, 20)
    high = low + rng.randint(1, 20)
    left, right = rng.choice("(["), rng.choice(")]")
    less = [r"\le" if left == "[" else "<", r"\le" if right == "]" else "<"]
    forms = [
        f"{left}{low}, {high}{right}",
        f"{left}{low},{high}{right}",
        rf"\left{left}{low}, {high}\right{right}",
        rf"x \in {left}{low}, {high}{right}",
        f"{low} {less[0]} x {less[1]} {high}",
    ]
    other = {"(": "[", "[": "(", ")": "]", "]": ")"}
    loose = "<" if left == "[" else r"\le"
    others = [
        f"{other[left]}{low}, {high}{right}",
        f"{left}{low}, {high}{other[right]}",
        f"{left}{low}, {high + 1}{right}",
        f"{left}{low - 1}, {high}{right}",
        f"{low} {less[0]} x {less[1]} {high + 1}",
        f"{low} {loose} x {less[1]} {high}",
        rf"x {less[1]} {high}",
    ]
    return rng.choice(forms), forms, others


def ray(rng: Random) -> Made:
    end, closed = rng.randint(-30, 30), rng.random() < 0.5
    less, more, mark = (r"\le", r"\ge", "]") if closed else ("<", ">", ")")
    loose = "<" if closed else r"\leq"
    forms = [f"x {less} {end}", rf"(-\infty, {end}{mark}", f"{end} {more} x", rf"x \in (-\infty, {end}{mark}"]
    forms.append(rf"\left(-\infty, {end}\right{mark}")
    others = [f"x {loose} {end}", f"x {more} {end}", f"x {less} {end + 1}", rf"({end}, \infty)", str(end)]
    return rng.choice(forms), forms, [*others, rf"(-\infty, {end + 1}{mark}", r"(-\infty, \infty)"]


def union(rng: Random) -> Made:
    low = rng.randint(-20, 10)
    high = low + rng.randint(1, 20)
    forms = [
        rf"(-\infty, {low}) \cup ({high}, \infty)",
        rf"({high}, \infty) \cup (-\infty, {low})",
        rf"x < {low} \text{{ or }} x > {high}",
        rf"x > {high} \text{{ or }} x < {low}",
        rf"x \in (-\infty, {low}) \cup ({high}, \infty)",
        rf"\left(-\infty, {low}\right) \cup \left({high}, \infty\right)",
    ]
    others = [
        rf"(-\infty, {low}] \cup ({high}, \infty)",
        rf"(-\infty, {low}) \cup ({high + 1}, \infty)",
        rf"x < {low} \text{{ or }} x \ge {high}",
        rf"({low}, {high})",
        rf"x < {low}",
        rf"(-\infty, {low})",
    ]
    return rng.choice(forms), forms, others


def point(rng: Random) -> Made:
    a, b, c = (_with_sign(rng, 30) for _ in range(3))
    a = b + 31 if a >= b else a  # (a, b) with a < b is an interval too
    if a == b + 31:
        forms = [f"({a}, {b})", f"({a},{b})", rf"\left({a}, {b}\right)", f"({a}.0, {b})"]
        return forms[0], forms, [f"({b}, {a})", f"({a}, {b + 1})", f"({-a}, {b})", f"({a}, {b}, {c})", str(a)]
    forms = [f"({a}, {b}, {c})", f"({a},{b},{c})", rf"\left({a}, {b}, {c}\right)"]
    return forms[0], forms, [f"({a}, {b})", f"({a}, {b}, {c + 1})", f"({b}, {a}, {c})", f"({a}, {b + 1}, {c})"]


def finite_set(rng: Random) -> Made:
    members = sorted(rng.sample(range(-20, 50), rng.randint(2, 4)))
    mixed = rng.sample(members, len(members))
    listed, other = ", ".join(map(str, members)), ", ".join(map(str, mixed))
    forms = [rf"\{{{listed}\}}", rf"\{{{other}\}}", rf"\left\{{{other}\right\}}", other]
    fewer, changed = ", ".join(map(str, members[:-1])), ", ".join(map(str, [*members[:-1], 99]))
    return rng.choice((forms[0], listed)), forms, [rf"\{{{fewer}\}}", rf"\{{{changed}\}}", changed, str(members[0])]


def matrix(rng: Random) -> Made:
    a, b, c, d = (rng.randint(-9, 9) for _ in range(4))
    cells = rf"{a} & {b} \\ {c} & {d}"
    forms = [rf"\begin{{{kind}}}{cells}\end{{{kind}}}" for kind in ("pmatrix", "bmatrix")]
    forms.append(rf"\begin{{pmatrix}}{a}&{b}\\{c}&{d}\end{{pmatrix}}")
    others = [
        rf"\begin{{pmatrix}}{a} & {b} \\ {c} & {d + 1}\end{{pmatrix}}",
        rf"\begin{{pmatrix}}{a} \\ {b}\end{{pmatrix}}",
    ]
    return forms[0], forms, others


def line(rng: Random) -> Made:
    a, b, c, k = rng.randint(1, 9), _with_sign(rng, 9), _with_sign(rng, 20), rng.randint(2, 5)
    forms = [f"{a}x {b:+}y = {c}", f"{a}x {b:+}y {-c:+} = 0", f"{k * a}x {k * b:+}y = {k * c}", f"{c} = {a}x {b:+}y"]
    others = [f"{a}x {b:+}y = {c + 1}", f"{a + 1}x {b:+}y = {c}", f"{a}x {-b:+}y = {c}", f"{a}x = {c}"]
    return rng.choice(forms[:2]), forms, others


def polynomial(rng: Random) -> Made:
    r, s = _with_sign(rng, 12), _with_sign(rng, 12)
    x = rng.choice("xnt")
    forms = [f"({x} {-r:+})({x} {-s:+})", f"{x}^2 {-(r + s):+}{x} {r * s:+}", f"{r * s} {-(r + s):+}{x} + {x}^2"]
    others = [
        f"{x}^2 {-(r + s):+}{x} {r * s + 1:+}",
        f"({x} {-r:+})({x} {-s - 1:+})",
        f"{x}^2",
        f"z^2 {-(r + s):+}z {r * s:+}",
    ]
    return rng.choice(forms[:2]), forms, others


def ratio(rng: Random) -> Made:
    a, b, c = rng.sample(range(1, 9), 3)
    k = rng.randint(2, 6)
    forms = [f"{a}:{b}:{c}", f"{a} : {b} : {c}", f"{k * a}:{k * b}:{k * c}"]
    return (
        forms[0],
        forms,
        [f"{a}:{c}:{b}", f"{b}:{a}:{c}", f"{a}:{b}", rf"\frac{{{a}}}{{{b * c}}}", f"{a}:{b}:{c + 1}"],
    )


def ratio_of_two(rng: Random) -> Made:
    a, b = rng.sample((1, 2, 3, 4, 5, 7, 9), 2)
    forms = [f"{a}:{b}", f"{a} : {b}", f"{2 * a}:{2 * b}"]
    return forms[0], forms, [f"{b}:{a}", f"{a}:{b + 10}", f"{a}:{b}:1"]


def clock(rng: Random) -> Made:
    hour, minute, half = rng.randint(1, 12), rng.randint(10, 29), rng.choice("ap")
    other = "p" if half == "a" else "a"
    forms = [
        rf"{hour}:{minute}\text{{ {half}.m.}}",
        rf"{hour}:{minute} \text{{ {half.upper()}M}}",
        rf"{hour}:{minute}\,\text{{{half}m}}",
    ]
    others = [rf"{hour}:{minute}\text{{ {other}.m.}}", rf"{hour}:{minute + 1}\text{{ {half}.m.}}"]
    others.append(rf"{2 * hour}:{2 * minute}")
    if rng.random() < 0.5:
        return (
            f"{hour}:{minute}",
            [f"{hour}:{minute}"],
            [f"{2 * hour}:{2 * minute}", f"{hour}:{minute + 1}", f"{minute}:{hour}"],
        )
    return forms[0], forms, others


def base(rng: Random) -> Made:
    radix = rng.choice((2, 3, 5, 7, 8))
    digits = "".join(str(rng.randrange(radix)) for _ in range(rng.randint(2, 6)))
    digits = "1" + digits
    forms = [f"{digits}_{radix}", f"{digits}_{{{radix}}}", rf"{digits}_{{\text{{{_WORDS[radix]}}}}}"]
    others = [f"{digits}_{radix + 1}", f"{digits}0_{radix}", f"{digits[::-1]}1_{radix}"]
    if rng.random() < 0.3:
        return digits, [digits], [f"{digits}_{radix}"]
    return forms[0], forms, others


_WORDS = {2: "two", 3: "three", 5: "five", 7: "seven", 8: "eight"}


def money(rng: Random) -> Made:
    cents = 100 * rng.randint(1, 999) + rng.randint(1, 99)
    amount = f"{cents // 100}.{cents % 100:02}"
    other = f"{(cents + 1) // 100}.{(cents + 1) % 100:02}"
    forms = [rf"\${amount}", amount, rf"\text{{\$}}{amount}", rf"{amount}\text{{ dollars}}"]
    return rng.choice(forms[:3]), forms, [rf"\${other}", other, rf"\${cents}", f"{cents // 100}"]


def percent(rng: Random) -> Made:
    value = rng.randint(2, 99)
    forms = [rf"{value}\%", f"0.{value:02}", rf"\frac{{{value}}}{{100}}", rf"{value} \%"]
    return forms[0], forms, [rf"{value + 1}\%", f"0.{value:02}1", f"0.0{value:02}", rf"{value}0\%"]


def degrees(rng: Random) -> Made:
    value = rng.randint(1, 359)
    forms = [rf"{value}^\circ", rf"{value}^{{\circ}}", str(value), rf"{value}\text{{ degrees}}"]
    return rng.choice((forms[0], str(value))), forms, [rf"{value + 1}^\circ", rf"-{value}^\circ", rf"{value}\pi"]


def words(rng: Random) -> Made:
    one, other = rng.sample(
        ["even", "odd", "Tuesday", "Friday", "hyperbola", "ellipse", "isosceles", "Evelyn", "Briana"], 2
    )
    return (
        rf"\text{{{one}}}",
        [rf"\text{{{one}}}", rf"\textbf{{{one}}}", rf"\text{{ {one}}}"],
        [rf"\text{{{other}}}", "7", "x"],
    )


KINDS: list[Callable[[Random], Made]] = [
    fraction, integer, power, tiny, surd, sum_of_surds, circle, interval, ray, union, point, finite_set, matrix, line,
    polynomial, ratio, ratio_of_two, clock, base, money, percent, degrees, words,
]  # fmt: skip

BOXES = [
    r"\boxed{%}",
    r"$\boxed{%}$",
    r"\[ \boxed{%} \]",
    r"The answer is $\boxed{%}$.",
    r"\boxed{\displaystyle %}",
    r"\boxed{ % }",
    r"\boxed{%.}",
    "Thus\n\n$$\\boxed{%}$$\n\nas required.",
    r"**Final answer:** $\boxed{%}$",
    r"First \boxed{83}. Wait, I made a slip: \boxed{%}",
    "\\boxed{x=83} is one part.\n\nAnswer: \\boxed{%}",
    r"\fbox{%}",
    r"\boxed{%\,}",
    r"\boxed {%}",
    "\ufeff\\boxed{%}",
    r"So we get \boxed{%}, using 3 steps.",
    r"\boxed{{%}}",
    r"\boxed{$%$}",
]
SENTENCES = [
    "$%$",
    "The answer is $%$.",
    r"\(%\)",
    r"\[%\]",
    "$$%$$",
    "Therefore, the final answer is $%$.",
    "**$%$**",
    "Answer: $%$",
    "<answer>$%$</answer>",
    "Final answer: $%$.",
    "The answer is $%$, because 7 is prime.",
]
PLAIN = [
    *("%", "%.", "**%**", "**%.**", "`%`", "*%*", " % \n", "<answer>%</answer>", "\u200b%", "%\u200b"),
    *("The answer is %.", "Answer: %", "So x = %.", "**Answer: %**", "The final answer is **%**."),
    *(
        "Antwort: %",
        "La respuesta es %.",
        "答案是%。",
        "Ответ: %",
        "The result is %.",
        "I tried 83 first. The answer is %",
    ),
]
UNICODE = [
    *((r"\infty", "∞"), (r"\cup", "∪"), (r"\pi", "π"), (r"\le ", "≤ "), (r"\ge ", "≥ "), (r"\times", "×")),
    *((r"\cdot", "·"), (r"^\circ", "°"), ("-", "\u2212"), ("^2", "²"), (r"\in ", "∈ ")),
]


def pairs(rng: Random) -> Iterator[tuple[str, str, bool]]:
    """(gold answer, message, whether it is right), without end."""
    while True:
        kind = rng.choice(KINDS)
        gold, forms, others = kind(rng)
        right = rng.random() < 0.5
        said = rng.choice(forms if right else others)
        if rng.random() < 0.2:
            for latex, sign in UNICODE:
                said = said.replace(latex, sign)
        bare = not set(said) & set("\\_&") and kind in (integer, fraction, money, power)
        frames = BOXES if rng.random() < 0.6 else PLAIN if bare and rng.random() < 0.7 else SENTENCES
        frame = rng.choice(frames)
        if frame == "So x = %." and "=" in said:
            frame = "%"
        yield gold, frame.replace("%", said, 1), right
