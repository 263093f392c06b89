"""Choices by construction: options, ways in which models name one of them, and what names none, two or another one."""

from collections.abc import Iterator
from random import Random
from typing import Any

OPTIONS = [
    ["the mitochondrion", "the nucleus", "the ribosome", "the Golgi body"],
    ["Rome", "Berlin", "Paris", "Lyon"],
    ["$3.50", "$4.00", "$4.50", "$5.00"],
    ["-5", "5", "0.5", "50"],
    ["I only", "II only", "I and II", "neither"],
    ["It rises.", "It falls.", "It stays the same.", "It can't be known."],
    ["12 kg", "14 kg", "16 kg", "18 kg", "20 kg", "22 kg", "24 kg", "26 kg", "28 kg", "30 kg"],
    ["a red dwarf", "a neutron star", "a black hole", "an asteroid", "a comet"],
    ["carbon dioxide", "oxygen", "nitrogen", "methane"],
    [r"$\frac{1}{2}$", r"$\frac{1}{3}$", r"$\frac{2}{3}$", r"$\pi$"],
]
ROMAN = ["I", "II", "III", "IV"]
BOXES = [
    r"\boxed{%}", r"\boxed{(%)}", r"\boxed{\text{%}}", r"\boxed{\textbf{%}}", r"\boxed{\mathrm{%}}",
    r"\boxed{\mathbf{(%)}}", r"\boxed{\,%\,}", r"\boxed{\Large %}", r"\boxed{\mathsf{%}}", r"\boxed{\textsf{%}}",
    r"\boxed{{%}}", r"\boxed{%.}", r"\boxed{\text{Option %}}", r"\boxed{\text{(%)}}", r"\fbox{%}", r"\boxed {%}",
    r"\boxed{ % }", r"$\boxed{%}$", r"\boxed{%)}", r"\boxed{\mathcal{%}}", r"\boxed{\displaystyle %}",
    r"\boxed{\color{red}{%}}", r"\boxed{\quad %}", r"\boxed{\mathbf{\text{%}}}", "Answer: @. No, wait.\n\n\\boxed{%}",
    r"\boxed{@}. Wait, that is wrong: \boxed{%}", r"The answer is $\boxed{\textbf{(%)}}$.", r"\boxed{**%**}",
    r"\boxed{\bf %}", r"\boxed{\text{ %}}", r"\boxed{\; % \;}", r"\boxed{~%~}", r"\boxed{Answer: %}",
]  # fmt: skip
PHRASES = [
    "%", "(%)", "%.", "%)", "Answer: %", "Answer: (%)", "Answer:%", "ANSWER: %", "**Answer:** %", "**Answer: %**",
    "Answer - %", "Answer is %", "The answer is %.", "The answer is (%).", "The answer is: %",
    "The answer should be %.", "The answer must be %.", "The answer would be %.", "The answer is most likely %.",
    "The answer is probably %.", "The answer is therefore %.", "The answer is clearly %.", "The answer has to be %.",
    "The correct answer is %.", "The correct answer is option %.", "The correct option is %.",
    "The correct choice is (%).", "The right answer is %.", "The best answer is %.", "Final answer: %",
    "The best choice is %.", "Final answer - %", "Final Answer: (%)", "**Final Answer:** %", "My answer is %.",
    "My final answer is %.", "I choose %.", "I would choose %.", "I'd go with %.", "I would go with (%).",
    "I pick %.",
    "I select option %.", "Choose %.", "So the answer is %.", "Therefore, the answer is %.",
    "Thus, the correct answer is (%).", "Hence the answer is %.", "Option %", "Option %.", "Option (%)",
    "Option % is correct.", "Option % is the correct answer.", "(%) is correct.", "(%) is the answer.",
    "% is the correct answer.", "% is correct.", "(%) is the right answer.", "Option Selected: %",
    "Selected option: %",
    "Selected Option: (%)", "Correct option: %", "Correct answer: %", "Correct Answer: (%)", "Choice: %",
    "Answer choice: %", "Selection: %", "<answer>%</answer>", "<answer>(%)</answer>", "**%**", "**(%)**",
    "**Answer:** ✅ %", "✅ %", "The answer is not @ but %.", "The answer isn't @. It is %.",
    "@ is wrong. The answer is %.", "Answer: % because it is.", "Answer seems to be @ at first.\n\nAnswer: %",
    "Answer: It is not @, the answer is %", "Answer: rules out @, leaving %", "The answer is **%**.",
    "The answer is `%`.", "The answer is $%$.", "### Answer\n%", "## Answer: %", "Answer:\n\n%", "Answer: *%*",
    "First, $\\boxed{12}$ kJ is released.\n\nAnswer: %", "We find $\\boxed{x = 4}$.\n\n**Answer: %**", "Answer: [%]",
    "Answer: {%}", "The correct answer is:\n\n**%**", "The answer is %, not @.", "Answer: % (not @)", "Solution: %",
    "The solution is %.", "Ans: %", "The letter is %.", "The answer is choice %.", "The answer is letter %.",
    "I think the answer is %.", "I believe it is %.", "The answer is \"%\".", "The answer is “%”.",
    "The answer is '%'",
    "_%_", "__%__", "The correct response is %.", "Response: %", "It must be %.", "That leaves %.", "So it's %.",
    "So, %.", "Let's go with %.", "the answer: %", "answer: %", "Answer ⇒ %", "Answer → %", "Answer = %",
    "> Answer: %",
    "- Answer: %", "Answer: Option %", "The answer is therefore option (%).",
    "@ and the others fail. % is the best answer.", "Among the options, % is correct.", "% it is.",
    "I'm going with %.",
    "I conclude that the answer is %.", "The only correct option is %.", "Only % is correct.",
    "The statement that is true is %.", "The most appropriate answer is %.", "The most accurate choice is %.",
    "Final choice: %", "The final answer is %.", "Verdict: %",
]  # fmt: skip
LANGUAGES = [
    "Antwort: %", "Die Antwort ist %.", "Die richtige Antwort ist %.", "Richtige Antwort: %",
    "Die korrekte Antwort lautet %.", "Lösung: %", "% ist richtig.", "Option % ist richtig.", "Réponse : %",
    "La réponse est %.", "La bonne réponse est %.", "La réponse correcte est (%).", "Respuesta: %",
    "La respuesta es %.", "La respuesta correcta es %.", "La opción correcta es %.",
    "La respuesta correcta es la opción %.", "Resposta: %", "A resposta é %.", "A resposta correta é %.",
    "A alternativa correta é %.", "A resposta correta é a opção %.", "Risposta: %", "La risposta è %.",
    "La risposta corretta è %.", "L'opzione corretta è %.", "Ответ: %", "Правильный ответ: %",
    "Правильный ответ — %.",
    "答案：%", "答案是%。", "答案是 % 。", "正确答案是%。", "正确答案：%", "答案为%。", "选项 (%) 是正确的。",
    "选项%是正确的。", "故选%。", "因此，正确答案是 **%**。",
    "所以选%。", "选择%。", "应选 %。", "正确选项是%。", "答えは%です。", "答え：%", "正解は%です。",
    "正解：%", "正解は (%) です。", "したがって、答えは%です。", "정답: %",
    "정답은 %입니다.", "답은 %입니다.", "따라서 정답은 %입니다.", "उत्तर: %", "सही उत्तर % है।",
    "सही उत्तर है %।", "उत्तर % है।",
    "উত্তর: %", "সঠিক উত্তর: %", "সঠিক উত্তর হল %।", "সঠিক উত্তর হলো %।", "الإجابة: %", "الإجابة الصحيحة هي %.",
    "الجواب: %", "الإجابة هي (%)", "Jawaban: %", "Jawabannya adalah %.", "Jawaban yang benar adalah %.", "Jibu: %",
    "Jibu ni %.", "Jibu sahihi ni %.", "Ìdáhùn: %", "Idahun ni %.", "Cevap: %", "Doğru cevap: %", "Đáp án: %",
    "Đáp án là %.", "Đáp án đúng là %.", "答案：**%**", "正确答案：(%)", "**答案：%**",
    "A resposta certa é a letra %.",
    "Alternativa %", "Opción %", "La réponse est donc %.", "Die Antwort ist also %.", "答案选%。",
]  # fmt: skip
TEXTS = [
    "#", "#.", "Answer: #", "The answer is #.", "Answer: %. #", "Answer: %) #", "(%) #", "%: #", "% - #", "%. #",
    "Option %: #", "**#**", r"\boxed{%: #}", r"\boxed{%. #}", r"\boxed{\text{%. #}}", "The answer is (%) #.", "# (%)",
    "The answer is # (%).", r"\boxed{#}", "The correct answer is %: #.", "**%. #**", "**Answer: %. #**",
    "Answer: **%) #**", "The correct answer is **%: #**.", "Antwort: #", "The correct answer is option %: #",
    "The answer is %, #.", "答案是%. #", "La respuesta correcta es % (#).", "Answer: % (#)",
    "Answer: #\n\nIt is the best of them.", "The correct option is **(%) #**", "Answer: `#`", "Answer:\n%. #",
    "Answer: % — #",
]  # fmt: skip
NONE = [
    "", "I cannot determine the answer.", "Answer: I don't know", "Answer: DNA", "Answer: Both",
    "The answer is a matter of taste.", "Answer: %@", "Answer: % or @", "Answer: % and @", "Answer: %/@",
    "Answer: @/%",
    "Answer: %, @", "Answer: either % or @", "The answer is not %.", "The answer can't be %.", "% is incorrect.",
    "Option % is wrong.", r"\boxed{% \text{ or } @}", r"\boxed{%, @}", r"\boxed{%@}", r"\boxed{}", "Answer: Z",
    "Answer: (Z)", r"\boxed{Z}", "Answer: %. No: \\boxed{@}", "The answer is @, not %.",
    "I first thought %. Answer: @",
    "Answer: %. Wait, the answer is @.", "Answer: % @", "Answer: %#+", "Answer: %'s", "Answer: %-section",
    "The answer is %. Sorry, it is @.\n\nFinal answer: @", "A man walks in", "I think so",
    "Neither % nor @ is correct.", "Answer: %&@", "Answer: not %", "Is it %?", "Answer: none", "Answer: A man",
    "The answer isn't %.", "Answer: % and/or @", "答案不是%。", "答案是%或@。", "Die Antwort ist nicht %.",
    "La respuesta no es %.", "La réponse n'est pas %.", "Answer: % oder @", "Answer: % atau @", "答案：%、@",
    "Options % and @ are both plausible.", "A. yes\nB. no\nC. maybe\nD. never", "Answer: B\nAnswer: %/@",
    "Answer: (%) or (@)", "Answer: (%), (@)", "Vitamin % is good.", "Plan % failed.", "Answer: E=mc",
    "The answer is %, or maybe @.", "Answer: **%** or **@**", "Answer: both % and @",
]  # fmt: skip


def pairs(rng: Random) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Yields (the gold letter and the options, message, whether it is right), without end."""
    while True:
        options = list(rng.choice(OPTIONS))
        letters = "ABCDEFGHIJ"[: len(options)]
        gold, other = rng.sample(letters[:4] if rng.random() < 0.8 else letters, 2)
        asked = {"letter": gold, "options": options}
        kind = rng.random()
        if kind < 0.2:
            message = rng.choice(NONE).replace("%", gold).replace("@", other)
            # These name one option after all, or a letter that is a word in them.
            yield asked, message, False
        elif kind < 0.25:
            at = rng.randrange(4)
            said = rng.choice((at, rng.randrange(4)))
            message = rng.choice(("Answer: #", "#", "The answer is #.", "**#**", r"\boxed{#}")).replace(
                "#", ROMAN[said]
            )
            yield {"letter": letters[at], "options": ROMAN}, message, said == at
        else:
            right = rng.random() < 0.6
            said, third = (gold, other) if right else (other, gold)
            yield asked, _frame(rng, options, said, third), right


def _frame(rng: Random, options: list[str], letter: str, other: str) -> str:
    frames = rng.choice((BOXES, PHRASES, PHRASES, LANGUAGES, TEXTS))
    text = options["ABCDEFGHIJ".index(letter)]
    frame = rng.choice(frames)
    if frames is TEXTS and "boxed" in frame:
        text = text.replace("$", r"\$") if "\\" not in text else text.replace("$", "")
    before = rng.choice(
        ("", "", "", "Let me think. A cell needs energy.\n\n", "I compare the options.\n", "\ufeff", " ")
    )
    after = rng.choice(("", "", "", "\n", " ", "\n\nThis follows from the text."))
    return before + frame.replace("%", letter).replace("@", other).replace("#", text) + after
