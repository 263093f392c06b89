"""How answers are stated in the languages of MMMLU and some others: a row a language, patterns made of the rows."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """Words as alternatives of a pattern, without regard to case."""

    answer: str
    """"answer", as in "the answer is B"."""
    link: str
    """"is"."""
    correct: str
    """What follows a letter that is called correct, as in "B is correct", without a space before it."""
    option: str
    """"option", as in "option B"."""


ENGLISH_CORRECT = (
    r"(?:is|must be|would be|seems|appears to be|seems to be) (?:clearly |therefore |indeed |definitely )?(?:the )?"
    r"(?:most )?(?:(?:correct|right|best)\b|(?:answer|one)\b)"
)
LANGUAGES = {
    "English": Language("answer", "is|was|equals", ENGLISH_CORRECT, "option|choice|letter|answer"),
    "German": Language("antwort|lösung", "ist|lautet", "ist (?:die )?(?:richtig|korrekt)", "antwort|buchstabe"),
    "French": Language("réponse|reponse", "est", "est (?:la )?(?:bonne|correcte?|juste)", "option|réponse|lettre"),
    "Spanish": Language(
        "respuesta", "es", "es (?:la )?(?:opción |respuesta )?(?:correcta|respuesta)", "opción|opcion|respuesta|letra"
    ),
    "Portuguese": Language(
        "resposta", "é", "é (?:a )?(?:resposta |opção )?(?:correta|certa)", "opção|opcao|alternativa|resposta|letra"
    ),
    "Italian": Language(
        "risposta", "è", "è (?:la )?(?:risposta |opzione )?(?:corretta|giusta)", "opzione|risposta|lettera"
    ),
    "Russian": Language("ответ", "это|[—–]", "[—-]? ?(?:правильн|верн)", "вариант|ответ"),
    "Chinese": Language(
        "(?:正确|正確)?(?:答案|选项|選項)(?:应该|應該|应|應)?|(?<![不未])(?:故|应|應)?(?:选择|選擇|选|選)",
        "是|为|為|选|選",
        "(?:选项|項|项)?(?:是|为|為)?(?:正确|正確|对的|對的)",
        "选项|選項|答案",
    ),
    "Japanese": Language("答え|回答|正解|正答|解答", "は", "[がは](?:正しい|正解|正答)", "選択肢|答え"),
    "Korean": Language("정답|답변|답", "은|는", "[이가은는]? ?(?:정답|맞|옳)", "보기|선택지|정답"),
    "Hindi": Language("(?:सही )?(?:उत्तर|जवाब|विकल्प)", "है|हैं", "(?:सही|उत्तर) है", "विकल्प|उत्तर"),
    "Bengali": Language("(?:সঠিক )?(?:উত্তর|বিকল্প)", "হলো|হল|হচ্ছে", "(?:সঠিক|উত্তর)", "বিকল্প|উত্তর"),
    "Arabic": Language(
        "الإجابة|الاجابة|الجواب|إجابة", "هي|هو", "(?:هي|هو) (?:الإجابة|الصحيح|الصحيحة)", "الخيار|الإجابة"
    ),
    "Indonesian": Language(
        "jawaban(?:nya)?", "adalah|ialah|yaitu", "(?:adalah )?(?:jawaban )?yang (?:benar|tepat)", "pilihan|opsi|jawaban"
    ),
    "Swahili": Language("jibu", "ni", "ni (?:jibu )?(?:sahihi|sawa)", "chaguo|jibu"),
    "Yoruba": Language("ìdáhùn|idahun", "ni", "ni (?:ìdáhùn|idahun)", "àṣàyàn|aṣayan|ìdáhùn"),
    "Turkish": Language("cevap|yanıt", "şıkkı(?:dır)?", "(?:şıkkı )?doğru", "seçenek|şık|cevap"),
    "Vietnamese": Language(
        "đáp án|câu trả lời", "là", "là (?:đáp án )?(?:đúng|chính xác)", "đáp án|phương án|lựa chọn"
    ),
}

_UNSPACED = re.compile(r"[(?:<!]*[\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Words of these scripts stand beside others without a space."""


def _alternatives(words: list[str]) -> str:
    """Returns a pattern of any of the words, each as a word of its own where its script has spaces."""
    spaced = "|".join(one for one in words if not _UNSPACED.match(one))
    unspaced = "|".join(one for one in words if _UNSPACED.match(one))
    return rf"(?:(?<!\w)(?:{spaced})(?!\w)|{unspaced})"


_ROWS = list(LANGUAGES.values())
ANSWER = _alternatives([row.answer for row in _ROWS])
IS = rf"(?:{_alternatives([row.link for row in _ROWS])}|[:=≈])"
OPTION = _alternatives([row.option for row in _ROWS])
CORRECT = "(?:" + "|".join(rf" ?{row.correct}" for row in _ROWS) + ")"
NOT = (
    "(?:"
    + _alternatives(
        [
            "not",
            "n't",
            "nicht",
            "kein",
            "pas",
            "no",
            "não",
            "non",
            "не",
            "bukan",
            "bukanlah",
            "si",
            "sio",
            "kii",
            "değil",
            "không",
            "नहीं",
            "নয়",
            "ليست",
            "ليس",
            "不",
            "没",
            "非",
            "ない",
            "ありません",
            "아니",
        ]
    )
    + ")"
)
"""What denies a statement."""
OR = _alternatives(
    [
        "or",
        "and",
        "oder",
        "und",
        "ou",
        "o",
        "y",
        "et",
        "e",
        "и",
        "или",
        "atau",
        "dan",
        "au",
        "na",
        "veya",
        "ve",
        "hoặc",
        "và",
        "या",
        "और",
        "বা",
        "أو",
        "و",
        "或",
        "和",
        "与",
        "または",
        "か",
        "또는",
    ]
)
FOREIGN = re.compile(
    r"[^\x00-\u024f\u2000-\u2bff]|" + _alternatives([f"{row.answer}|{row.option}|{row.correct}" for row in _ROWS[1:]]),
    re.IGNORECASE,
)
"""Whether a text may be in another language than English: most are not, and a short pattern does for them."""
_STATING = tuple(
    word for row in _ROWS for word in re.findall(r"[a-z]{4,}", row.answer.replace("(?:nya)", "")) if word.isascii()
)


def may_state(text: str) -> bool:
    """Returns False where no language's word for "answer" stands in the text: then no pattern has to look for one."""
    if not text.isascii():
        return True
    small = text.lower()
    return any(word in small for word in _STATING)
