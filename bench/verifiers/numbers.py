"""Numbers by construction: a value, ways in which models write it, and what looks like it and is another answer."""

from collections.abc import Callable, Iterator
from random import Random

Made = tuple[str, list[str], list[str]]
"""The gold answer, other ways to write it, and other values."""

LATEX = set("\\{}^")


def whole(rng: Random) -> Made:
    value = rng.randint(1, 10 ** rng.randint(1, 9)) * rng.choice((1, 1, 1, -1))
    grouped = f"{value:,}"
    forms = [str(value), f"{value}.0", f"{value}.00", f"+{value}" if value > 0 else str(value)]
    if abs(value) > 999:
        forms += [grouped, *(grouped.replace(",", mark) for mark in GROUPING)]
    return str(value), _minus_forms(forms), _near(rng, value)


def decimal(rng: Random) -> Made:
    places = rng.randint(1, 4)
    digits = rng.randint(1, 10**6) * 10 + rng.randint(1, 9)
    whole, rest = divmod(digits, 10**places)
    sign = rng.choice(("", "", "-"))
    form = f"{sign}{whole}.{rest:0{places}}"
    others = [f"{sign}{whole}", f"{sign}{whole}{rest:0{places}}", f"{sign}{whole}.{rest:0{places}}1"]
    others += [f"{sign}{whole + 1}.{rest:0{places}}", form.removeprefix("-") if sign else f"-{form}"]
    forms = [form, f"{form}0", f"{sign}{whole:,}.{rest:0{places}}"]
    if whole == 0:
        forms.append(f"{sign}.{rest:0{places}}")
    return form, _minus_forms(forms), others


def fraction(rng: Random) -> Made:
    bottom = rng.choice((2, 4, 5, 8, 10, 16, 20, 25))
    top = rng.choice([n for n in range(1, 4 * bottom) if n % bottom])
    sign = rng.choice(("", "", "-"))
    value = f"{top / bottom:.6f}".rstrip("0")
    forms = [f"{sign}{top}/{bottom}", f"{sign}{value}", rf"{sign}\frac{{{top}}}{{{bottom}}}"]
    forms += [rf"{sign}\dfrac{{{top}}}{{{bottom}}}", f"{sign}{2 * top}/{2 * bottom}"]
    if top > bottom:
        forms += [f"{sign}{top // bottom} {top % bottom}/{bottom}"]
        forms += [rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}"]
    others = [f"{sign}{top}", f"{sign}{bottom}", f"{sign}{top + 1}/{bottom}", f"{sign}{bottom}/{top}"]
    others += [forms[0].removeprefix("-") if sign else f"-{forms[0]}"]
    return rng.choice((forms[0], forms[1])), _minus_forms(forms), [one for one in others if one != forms[0]]


def scientific(rng: Random) -> Made:
    digits, exponent = rng.randint(11, 99), rng.randint(2, 9)
    if digits % 10 == 0:
        digits += 1
    mantissa = f"{digits // 10}.{digits % 10}"
    gold = str(digits * 10 ** (exponent - 1))
    forms = [f"{mantissa}{times}{power}" for times in TIMES for power in _powers(exponent)]
    forms += [f"{mantissa}e{exponent}", f"{mantissa}E+{exponent}", f"{mantissa}e{exponent:02}"]
    others = [f"{mantissa}{times}{power}" for times in TIMES[:4] for power in _powers(exponent + 1)[:2]]
    return gold, forms, [*others, mantissa, f"10^{exponent}", f"{mantissa}e{exponent + 1}"]


def small(rng: Random) -> Made:
    digits, exponent = rng.randint(1, 9), rng.randint(2, 9)
    gold = f"0.{'0' * (exponent - 1)}{digits}"
    forms = [
        gold,
        f"{digits}e-{exponent}",
        rf"{digits} \times 10^{{-{exponent}}}",
        f"{digits} × 10⁻{_superscript(exponent)}",
    ]
    forms += [rf"{digits}\times10^{{-{exponent}}}", f"{digits} x 10^-{exponent}", f"{digits} × 10^(-{exponent})"]
    return gold, forms, [f"0{gold[1:-1]}0{digits}", f"{digits}e-{exponent + 1}", f"{digits}e{exponent}", str(digits)]


def magnitude(rng: Random) -> Made:
    tens = rng.randint(11, 999)
    if tens % 10 == 0:
        tens += 1
    mantissa = rng.choice((f"{tens // 10}.{tens % 10}", str(tens)))
    words, zeros = rng.choice(MAGNITUDES)
    digits = mantissa.replace(".", "")
    gold = digits + "0" * (zeros - ("." in mantissa))
    forms = [f"{mantissa}{word}" for word in words] + [f"{int(gold):,}"]
    others = [mantissa, f"{int(gold) * 1000:,}", f"{int(gold) + 1}"]
    others += [f"{mantissa}{word}" for other, more in MAGNITUDES if more != zeros for word in other[:2]]
    return gold, forms, others


def money(rng: Random) -> Made:
    cents = rng.randint(100, 10**7)
    amount = f"{cents // 100}.{cents % 100:02}"
    grouped = f"{cents // 100:,}.{cents % 100:02}"
    forms = [f"{sign}{one}" for sign in ("$", "€", "£", r"\$", "US$", "€ ") for one in (amount, grouped)]
    forms += [f"{amount} {unit}" for unit in ("dollars", "USD", "€", "euros", "yuan")] + [
        amount,
        rf"\text{{\$}}{amount}",
    ]
    others = [f"${cents}0", f"${cents // 100 + 1}.{cents % 100:02}", f"${(cents + 1) // 100}.{(cents + 1) % 100:02}"]
    others += [f"-${amount}", f"${amount}k", f"${amount} million"]
    return amount, forms, others


def unit(rng: Random) -> Made:
    value = rng.randint(2, 5000)
    sign = rng.choice(("", "", "-"))
    forms = [f"{sign}{value}{unit}" for unit in UNITS]
    return (
        f"{sign}{value}",
        forms,
        [f"{sign}{value + 1}{rng.choice(UNITS)}", f"{sign}{value}0 kg", f"{sign}{value}.5 m"],
    )


def percent(rng: Random) -> Made:
    value = rng.randint(1, 100)
    forms = [
        f"{value}%",
        f"{value} %",
        rf"{value}\%",
        f"{value} percent",
        str(value),
        f"{value}.0%",
        f"{value} per cent",
    ]
    return str(value), forms, [f"{value + 1}%", f"{value}0%", f"0.{value:02}", f"-{value}%", f"{value}.5%"]


GROUPING = [" ", "\u202f", "\u00a0", "'", "’", "{,}", r"\,", r"{,}\!", r"\ ", "，"]
TIMES = [
    r"\times",
    r"\times ",
    r" \times ",
    r"\cdot",
    r" \cdot ",
    " x ",
    "x",
    " × ",
    "×",
    " * ",
    "*",
    " X ",
    " · ",
    "⋅",
]
MAGNITUDES = [
    (("k", " thousand", "-thousand", " Thousand", "K"), 3),
    ((" million", " Million", "-million", "M", " mil", " mn", " mln", " MILLION", " millions"), 6),
    ((" billion", " Billion", " bn", "B", "bn", " billions"), 9),
    ((" trillion", " tn", " Trillion"), 12),
]
UNITS = [
    " kg", "kg", " cm", "cm²", " cm²", "cm^2", "m²", " m²", " m^2", " m³", "m^3", " km/h", " m/s", " °", "°", "°C",
    " °C", " apples", " dollars", "%", " hours", " square feet", "-day trip", r"\text{ kg}", r"\ \text{kg}",
    r"~\text{kg}", r"\,\text{cm}^2", r"\mathrm{~cm}", r"\text{~kg}", r"^\circ", r"^{\circ}", r"\,\mathrm{m}^2", " km²",
    " ft²", " GB", r"\text{ cm}^2", r"\text{ cm}^{2}", r" \text{ units}", r"\quad\text{kg}", " N", " J", " mol", "g",
    "ml", " mph", "s", r"\;\text{m/s}", r"\%", " sq. ft", " cubic meters", "¢", " years old", " people",
    " Euro", "元",
    "個", "円", "개",
]  # fmt: skip
MINUS = ["-", "\u2212", "\u2013", "\u2010", "\u2012", "\u2014", "- ", "minus ", "negative "]

BOXES = [
    r"\boxed{%}", r"$\boxed{%}$", r"\[ \boxed{%} \]", r"\boxed {%}", r"\fbox{%}", r"\boxed{ % }", r"\boxed{{%}}",
    r"\boxed{\displaystyle %}", r"\boxed{\,%\,}", r"\boxed{\mathbf{%}}", r"\boxed{\text{%}}", r"\boxed{\approx %}",
    r"\boxed{x = %}", r"\boxed{\left( % \right)}", r"\boxed{\color{blue}{%}}", r"\boxed{\textcolor{red}{%}}",
    r"\boxed{$%$}", r"\boxed{%.}", r"\boxed{\(%\)}", r"\boxed{\quad %}", r"\boxed{\Large %}", r"\boxed{\mathrm{%}}",
    r"\boxed{\textbf{%}}", "\\boxed{83}. Wait, that is wrong: \\boxed{%}", r"\boxed{%} in 3 steps",
    "$$\n\\boxed{%}\n$$\n\nas 2 + 2 = 4.", "**Final Answer**\n\n\\[\\boxed{%}\\]",
    "The final answer is $\\boxed{%}$. I hope it is correct.", r"\boxed{**%**}",
]  # fmt: skip
MATHS = [
    "$%$",
    r"\(%\)",
    "The answer is $%$.",
    r"So the answer is \(%\).",
    "Answer: $%$",
    r"\[%\]",
    "$$%$$",
    "#### $%$",
]
DRESS = ["%"] * 6 + [
    "**%**",
    "__%__",
    "*%*",
    "_%_",
    "`%`",
    "<b>%</b>",
    "~%",
    "≈%",
    "≈ %",
    "'%'",
    '"%"',
    "“%”",
    "***%***",
]
SENTENCES = [
    "%", "%.", "The answer is %", "The answer is %.", "The answer is: %", "Answer: %", "Answer: %.", "ANSWER: %",
    "answer is %", "**Answer:** %", "**Answer**: %", "A: %", "Final answer: %", "Final Answer: %.", "#### %", "####%",
    "So the answer is %.", "Therefore, the final answer is %.", "Thus, x = %.", "<answer>%</answer>",
    "First, 3 + 4 = 7.\n\nThe answer is %.", "He has 12, she has 5.\nThe answer is %", "The total is %, altogether.",
    "The answer is (%).", "The answer is %!", "In all, that makes %.", "Step 1: 6 * 7 = 42.\nStep 2: done.\n\n#### %",
    "So there are % of them.", "The answer:\n%", "It comes to %", "We get % in total.",
    "1. Add 3.\n2. Take 8.\n\n**Answer: %**", "\ufeff%", "\u200b%", " % \n", "(%)", "The final answer is:\n\n%",
    "Result: %", "Final result = %", "# Answer\n\n%", "## Final Answer\n%", "> %", "- Answer: %",
    "My answer is %, since 8 of 10 are gone.", "The answer is approximately %.", "The correct answer is %.", "= %",
    "\\text{%}",
]  # fmt: skip
LANGUAGES = [
    "答案是%。", "答案：%。", "答案为%", "一共有%个苹果。", "所以答案是 % 。", "答えは%です。", "答え：%",
    "정답은 %입니다.", "정답: %", "답은 %이다.",
    "Die Antwort ist %.", "Antwort: %", "La réponse est %.", "Réponse : %", "La respuesta es %.", "Respuesta: %",
    "A resposta é %.", "Resposta: %", "La risposta è %.", "Risposta: %", "Ответ: %", "Ответ: %.", "Итого %.",
    "उत्तर % है।", "คำตอบคือ%ครับ", "คำตอบคือ %", "الإجابة هي %.", "الجواب: %", "উত্তর: %", "Đáp án là %.",
    "Jibu ni %.", "Jawaban: %.", "Cevap: %", "最终答案：**%**", "共%元。", "よって、%になります。",
]  # fmt: skip
ELSE = [
    "The answer is either % or @.", r"\boxed{% \text{ or } @}", r"\boxed{%, @}", "The answer is not %.",
    "Answer: % or @", r"\boxed{% + @}", r"\boxed{@ - %}", r"\boxed{% \times @}", r"\boxed{%^2}", r"\boxed{\sqrt{%}}",
    "The answer is between % and @.", r"\boxed{%}. No, wait: \boxed{@}", "The answer is %. Wait, the answer is @.",
    "I first had %. The answer is @.", "", r"The answer is %. \boxed{", r"\boxed{}", "I can't say.", "#### @\n",
    "The answer is %^2", r"\boxed{%x}", r"\boxed{x^{%}}", r"\boxed{\log %}", r"\boxed{\{%, @\}}", r"\boxed{(%, @)}",
    r"\boxed{% < x < @}", "Answer: x%", "Answer: v1.%", "Answer: %-@", r"The answer is \boxed{@}, not %.",
    "Either % or @.", r"\boxed{% \text{ to } @}", "Answer: %, @", "The answer is not % but @.",
]  # fmt: skip
KINDS: list[Callable[[Random], Made]] = [
    whole,
    whole,
    decimal,
    fraction,
    scientific,
    small,
    magnitude,
    money,
    unit,
    percent,
]


def pairs(rng: Random) -> Iterator[tuple[str, str, bool]]:
    """Yields (gold answer, message, whether it is right), without end."""
    while True:
        gold, forms, others = rng.choice(KINDS)(rng)
        if rng.random() < 0.15:
            value = rng.randint(11, 999)
            other = value + rng.choice((-3, 4, 100))
            yield str(value), rng.choice(ELSE).replace("%", str(value)).replace("@", str(other)), False
            continue
        right = rng.random() < 0.6
        yield gold, frame(rng, rng.choice(forms if right else others)), right


def integers(rng: Random) -> Iterator[tuple[int, str, bool]]:
    """Yields (gold integer, message, whether it is right), without end."""
    for gold, message, right in pairs(rng):
        if gold.lstrip("-").isdigit():
            yield int(gold), message, right


def frame(rng: Random, said: str) -> str:
    """Returns a message that gives what is said as its answer: LaTeX stands in a box or in formulas."""
    if "**" in said or said[:2] == "- ":
        # Two stars are emphasis too, and a dash at the start of a line begins a list.
        return f"The answer is {said}."
    if rng.random() < 0.35:
        return rng.choice(BOXES).replace("%", said, 1)
    if LATEX & set(said) and said[0] != "\\":
        return rng.choice(MATHS).replace("%", said, 1)
    sentences = LANGUAGES if rng.random() < 0.3 else SENTENCES
    return rng.choice(sentences).replace("%", rng.choice(DRESS).replace("%", said, 1), 1)


def _near(rng: Random, value: int) -> list[str]:
    digits = str(abs(value))
    sign = "-" if value < 0 else ""
    at = rng.randrange(len(digits))
    changed = digits[:at] + str((int(digits[at]) + 1) % 10 or 1) + digits[at + 1 :]
    others = [str(-value), f"{value}0", f"{sign}1{digits}", f"{value}.5", f"{abs(value) + 1:,}", f"{value} million"]
    return (
        others
        + ([f"{sign}{changed}"] if changed != digits else [])
        + ([f"{sign}{digits[1:]}"] if len(digits) > 1 else [])
    )


def _minus_forms(forms: list[str]) -> list[str]:
    """Returns the forms with any of the signs that stand for a minus."""
    return [*forms, *(minus + form[1:] for form in forms if form[0] == "-" for minus in MINUS)]


def _powers(exponent: int) -> list[str]:
    return [f"10^{exponent}", f"10^{{{exponent}}}", f"10{_superscript(exponent)}", f"10**{exponent}"]


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
