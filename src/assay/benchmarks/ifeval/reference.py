"""Reference answers for IFEval: a text that follows a prompt's instructions and says nothing, built by their kinds.

The rules ask for a form alone, so such a text has to get full marks. It shows that a prompt's instructions can be
followed together, and it is what a verifier's other judgements are probed with.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from assay.benchmarks.ifeval.instructions import OPTIONS, follows

Asked = Sequence[tuple[str, dict[str, Any]]]

FILLERS = (
    "we walked to the old house and sat there until the light was gone",
    "you can find many good books about this and read them in the evening",
    "so who is coming home now and why did you go and buy bread",
    "i will show you how our young dog is hiding under our chair",
    "our cat is sitting in a big dark hall and at night it is looking at a small lamp",
)
"""English in small letters without punctuation, for where a word or a letter is forbidden."""
LANGUAGES = {
    "ar": "ذهبنا إلى البيت القديم وجلسنا هناك حتى المساء",
    "bg": "отидохме до старата къща и седяхме там до вечерта",
    "bn": "আমরা পুরানো বাড়িতে গিয়েছিলাম এবং সন্ধ্যা পর্যন্ত সেখানে বসেছিলাম",
    "de": "wir gingen zu dem alten Haus und saßen dort bis zum Abend",
    "fa": "ما به خانه قدیمی رفتیم و تا شب آنجا نشستیم",
    "fi": "kävelimme vanhalle talolle ja istuimme siellä iltaan asti",
    "gu": "અમે જૂના ઘરે ગયા અને સાંજ સુધી ત્યાં બેઠા",
    "hi": "हम पुराने घर गए और शाम तक वहीं बैठे रहे",
    "it": "siamo andati alla vecchia casa e siamo rimasti lì fino alla sera",
    "kn": "ನಾವು ಹಳೆಯ ಮನೆಗೆ ಹೋಗಿ ಸಂಜೆಯವರೆಗೆ ಅಲ್ಲಿ ಕುಳಿತೆವು",
    "ko": "우리는 오래된 집에 가서 저녁까지 그곳에 앉아 있었다",
    "mr": "आम्ही जुन्या घरी गेलो आणि संध्याकाळपर्यंत तिथेच बसलो",
    "ne": "हामी पुरानो घरमा गयौं र साँझसम्म त्यहीँ बस्यौं",
    "pa": "ਅਸੀਂ ਪੁਰਾਣੇ ਘਰ ਗਏ ਅਤੇ ਸ਼ਾਮ ਤੱਕ ਉੱਥੇ ਬੈਠੇ ਰਹੇ",
    "pt": "nós fomos para a velha casa e ficamos lá até a noite",
    "ru": "мы пошли к старому дому и сидели там до вечера",
    "sw": "tulienda kwenye nyumba ya zamani na kukaa huko hadi jioni",
    "ta": "நாங்கள் பழைய வீட்டிற்குச் சென்று மாலை வரை அங்கே அமர்ந்திருந்தோம்",
    "te": "మేము పాత ఇంటికి వెళ్లి సాయంత్రం వరకు అక్కడే కూర్చున్నాము",
    "th": "เราไปที่บ้านหลังเก่าและนั่งอยู่ที่นั่นจนถึงเย็น",
    "ur": "ہم پرانے گھر گئے اور شام تک وہیں بیٹھے رہے",
    "vi": "chúng tôi đi đến ngôi nhà cũ và ngồi ở đó cho đến tối",
}
_LEAST = "at least"
_ADDED = (
    "detectable_format:title",
    "detectable_format:number_highlighted_sections",
    "detectable_format:number_bullet_lists",
    "detectable_format:multiple_sections",
    "detectable_format:constrained_response",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "startend:quotation",
    "keywords:existence",
)
"""Instructions to put something into the text that no other instruction puts there."""


def text_for(asked: Asked) -> str | None:
    """Returns a text that follows all instructions of a prompt; None where no attempt does."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for kind, arguments in asked:
        by_kind.setdefault(kind, []).append(arguments)
    spoken = by_kind.get("language:response_language", [{}])[0].get("language")
    for filler in [" ".join([LANGUAGES[spoken]] * 12)] if spoken in LANGUAGES else FILLERS:
        text = _assemble(by_kind, filler)
        if all(follows(text, kind, arguments) for kind, arguments in asked):
            return text
    return None


def texts_without(asked: Asked) -> list[str]:
    """Returns texts that leave one instruction out, of those that ask for something to be put in."""
    found: list[str] = []
    kinds = [kind for kind, _ in asked]
    for left_out in [kind for kind in _ADDED if kind in kinds and "combination:repeat_prompt" not in kinds]:
        by_kind = {kind: [arguments] for kind, arguments in asked if kind != left_out}
        if by_kind:
            found.append(_assemble(by_kind, FILLERS[0]))
    return found


def _assemble(by_kind: Mapping[str, list[dict[str, Any]]], filler: str) -> str:
    lines = _lines(by_kind, filler)
    ending = [f"{one['postscript_marker']} {filler}" for one in by_kind.get("detectable_content:postscript", [])]
    ending += [one["end_phrase"] for one in by_kind.get("startend:end_checker", [])]
    text = "\n".join([*lines, *ending])
    for one in by_kind.get("length_constraints:number_paragraphs", []):
        text = "\n***\n".join([*[filler] * (one["num_paragraphs"] - 1), text])
    for one in by_kind.get("length_constraints:nth_paragraph_first_word", []):
        paragraphs = [filler] * (one["num_paragraphs"] - 1) + [text]
        at = one["nth_paragraph"] - 1
        paragraphs[at] = f"{one['first_word']} {paragraphs[at]}"
        text = "\n\n".join(paragraphs)
    if "combination:two_responses" in by_kind:
        text = f"{filler} {filler}\n******\n{text}"
    for one in by_kind.get("combination:repeat_prompt", []):
        text = f"{one['prompt_to_repeat']}\n{text}"
    if "detectable_format:json_format" in by_kind:
        text = json.dumps({"text": text}, ensure_ascii=False)
    if "change_case:english_lowercase" in by_kind:
        text = text.lower()
    if "change_case:english_capital" in by_kind:
        text = text.upper()
    return f'"{text}"' if "startend:quotation" in by_kind else text


def _lines(by_kind: Mapping[str, list[dict[str, Any]]], filler: str) -> list[str]:
    """Returns the lines of the text, as far as its order is free."""

    def at_least(kind: str, relation: str = "relation") -> list[dict[str, Any]]:
        return [one for one in by_kind.get(kind, []) if one[relation] == _LEAST]

    lines = ["<<title>>"] if "detectable_format:title" in by_kind else []
    lines += [OPTIONS[2]] if "detectable_format:constrained_response" in by_kind else [filler]
    lines += [word for one in by_kind.get("keywords:existence", []) for word in one["keywords"]]
    lines += [" ".join([one["keyword"]] * one["frequency"]) for one in at_least("keywords:frequency")]
    for one in at_least("keywords:letter_frequency", "let_relation"):
        lines += [one["letter"] * one["let_frequency"], *[filler] * 3]
    for one in at_least("change_case:capital_word_frequency", "capital_relation"):
        lines.append(" ".join(["YES"] * one["capital_frequency"]))
    for one in by_kind.get("detectable_format:number_highlighted_sections", []):
        lines += [f"*point {number}*" for number in range(one["num_highlights"])]
    for one in by_kind.get("detectable_format:number_bullet_lists", []):
        lines += [f"- point {number}" for number in range(one["num_bullets"])]
    for one in by_kind.get("detectable_content:number_placeholders", []):
        lines += [f"[name {number}]" for number in range(one["num_placeholders"])]
    for one in by_kind.get("detectable_format:multiple_sections", []):
        lines += [f"{one['section_spliter']} {number + 1}\n{filler}" for number in range(one["num_sections"])]
    for one in at_least("length_constraints:number_sentences"):
        sentence = " ".join(filler.split()[:5]).capitalize()
        lines.append(" ".join([f"{sentence}."] * one["num_sentences"]))
    for one in at_least("length_constraints:number_words"):
        lines += [filler] * (1 + one["num_words"] // len(filler.split()))
    return lines
