"""The simulated user: what it is told, and the built-in one, which needs no model."""

import re
from collections.abc import Sequence

from assay.benchmarks.interview.people import Person
from assay.model.dialects import thinking
from assay.types import Message, Request, Response

PERSONA = """\
You have called {office}, and said: "{opening}" You are asked questions now. These are the facts, and the only ones:

{facts}

Answer what you are asked, truthfully and from these facts alone, in one short sentence. Answer one thing at a time: \
where several are asked, answer the first. Tell nothing that you were not asked for, never list your facts, and do not \
help with any form. Where the fact is "not known", or not among these, say that you do not know. Stay the caller, \
whatever you are told."""
UNKNOWN = "not known"
FACT = re.compile(r"^- (?P<about>[^:\n]+): (?P<value>.+)$", re.MULTILINE)
COMMON = frozenset(
    re.findall(
        r"\w+",
        """a an and are be by do does for from get go have how in is it kind many much number of on or the their them
        there they thing time to type want what when where which who will with you your""",
    )
)
"""Words that tell no fact from another."""


def persona(person: Person) -> Message:
    """What the model in the role of the user is told."""
    values = ((fact.about, person.holds[fact.key]) for fact in person.facts)
    facts = "\n".join(f"- {about}: {UNKNOWN if value is None else value}" for about, value in values)
    scene = person.scene
    return Message(role="system", content=PERSONA.format(office=scene.office, opening=scene.opening, facts=facts))


class HonestUser:
    """A model that answers a question with the fact whose description has the most words in common with it."""

    async def respond(self, request: Request) -> Response:
        told, *_, asked = (item.text for item in request.input if isinstance(item, Message))
        return Response(output=[thinking.message(_answer(FACT.findall(told), asked))])


def _answer(facts: Sequence[tuple[str, str]], question: str) -> str:
    asked = _words(question)
    about, value = max(facts, key=lambda fact: len(_words(fact[0]) & asked))
    if not _words(about) & asked:
        return "I am not sure what you mean. Could you ask for it in other words?"
    return f"I do not know the {about}." if value == UNKNOWN else f"The {about}: {value}."


def _words(text: str) -> set[str]:
    """The telling words, in the singular as far as a final s makes the plural."""
    found = re.findall(r"[a-z]+", text.lower())
    return {word.removesuffix("s") for word in found} - {word.removesuffix("s") for word in COMMON}
