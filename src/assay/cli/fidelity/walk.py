"""A walk through failing rollouts: one a screen, a key to say whose it is. What was said is kept at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs
from rich.console import Console
from rich.text import Text

from assay.cli.fidelity.keys import Keys
from assay.fidelity.results.results import Results
from assay.fidelity.review.marks import Key, explanations, keep, persons
from assay.fidelity.review.review import WHOSE, OpenRollout, draw, failing, is_settled, open_rollouts, rollouts_to_read
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.fidelity.schema.evidence import Explanation, Fault, Finding, Mark, Remark
from assay.fidelity.schema.profile import Piece, Voice
from assay.report.words import clip, legible
from assay.types import Failure

FAULTS: dict[str, Fault] = {"m": "model", "v": "verifier", "t": "task", "i": "infrastructure", "u": "unclear"}
SIZES: dict[Voice, int] = {"prompt": 1500, "reasoning": 3000, "message": 2000, "call": 500, "output": 500}
"""Characters that are shown at first of each piece; 600 of others."""
STEPS = {"b": "back", "z": "undo"}
"""Keys that lead to another screen wherever they are pressed."""
PIECES = 12
"""Pieces of an attempt that are shown at first."""


@dataclass(frozen=True, slots=True)
class Screen:
    """One thing to look at: a rollout, or a finding before and after its rollouts were read."""

    model: str
    place: str
    """Such as `3 of 10, drawn from 34 failing`."""
    rollout: OpenRollout | None = None
    finding: Finding | None = None
    """What the rollout is shown for, where it is not of the sample."""
    evidence: str = ""


def screens(run: Path, model: str, results: Results, findings: Sequence[Finding], sample: int) -> list[Screen]:
    """All that is to be read of a model: each finding with its rollouts, and then the sample."""
    fallen = failing(results)
    chosen = draw(fallen, sample)
    spotted = {finding.detector: rollouts_to_read(finding) for finding in findings}
    keys = [*chosen, *((s.rollout.task, s.rollout.repeat) for found in spotted.values() for s in found)]
    there = open_rollouts(run, model, results, keys)
    made: list[Screen] = []
    for number, finding in enumerate(findings, 1):
        place = f"finding {number} of {len(findings)}"
        about = Screen(model, place, finding=finding)
        examples = [(there.get((s.rollout.task, s.rollout.repeat)), s.evidence) for s in spotted[finding.detector]]
        read = [Screen(model, place, one, finding, evidence) for one, evidence in examples if one]
        made += [about, *read, about] if read else [about]
    return made + [
        Screen(model, f"{number} of {len(chosen)}, drawn from {len(fallen):,} failing", there[key])
        for number, key in enumerate(chosen, 1)
    ]


@dataclass(slots=True)
class Walk:
    """Takes a person through the screens that are not done. `go` gives back how many things were said."""

    folder: Path
    screens: Sequence[Screen]
    said: list[Remark]
    by: str
    keys: Keys
    console: Console
    kept: int = 0
    _skipped: set[str] = field(default_factory=set[str])
    _whole: bool = False
    _reasoning: bool = False
    _note: str = ""
    _told: str = ""
    _marks: dict[tuple[str, str], Mark] = field(default_factory=dict[tuple[str, str], Mark])
    """A person's, by model and content."""

    def __post_init__(self) -> None:
        for model in {screen.model for screen in self.screens}:
            self._marks |= {(model, content): mark for content, mark in persons(self.said, model).items()}

    def go(self) -> int:
        at, before = self._next(-1), list[int]()
        try:
            while at is not None:
                step = self._visit(self.screens[at])
                if step == "quit":
                    break
                if step == "undo":
                    at = self._take_back(at)
                elif step == "back" and before:
                    at = before.pop()
                elif step == "back":
                    self._told = "This is the first one."
                else:
                    before.append(at)
                    at = self._next(at)
        except KeyboardInterrupt:
            pass
        if self._told:
            self.console.print(Text(legible(self._told)))
        left = "." if at is not None else "; the rest was skipped." if self._skipped else "; nothing is left here."
        self.console.print(Text(f"{self.kept} kept{left}"))
        return self.kept

    def _next(self, at: int) -> int | None:
        return next((i for i in range(at + 1, len(self.screens)) if not self._done(self.screens[i])), None)

    def _done(self, screen: Screen) -> bool:
        if screen.finding and (self._name(screen.finding) in self._skipped or self._settled(screen.finding)):
            return True
        one = screen.rollout
        return one is not None and (one.content in self._skipped or self._mark_of(one) is not None)

    def _settled(self, finding: Finding) -> bool:
        read = [s.rollout for s in self.screens if s.rollout and s.finding is finding]
        by_key: dict[Key, Mark] = {one.rollout.key: mark for one in read if (mark := self._mark_of(one))}
        return is_settled(finding, by_key, explanations(self.said, finding.model).values())

    def _mark_of(self, one: OpenRollout) -> Mark | None:
        return self._marks.get((one.model, one.content))

    @staticmethod
    def _name(finding: Finding) -> str:
        return f"{finding.model}/{finding.detector}"

    def _visit(self, screen: Screen) -> str:
        """Show a screen until it is left: `next`, `back`, `undo` or `quit`."""
        self._whole = self._reasoning = False
        self._note = ""
        draw = True
        while True:
            if draw:
                self._draw(screen)
            key = self.keys.key()
            if key in ("", "q"):
                return "quit"
            if key in STEPS:
                return STEPS[key]
            step = self._rollout(screen.rollout, key) if screen.rollout else self._finding(screen, key)
            if step:
                return step
            draw = not self._told
            if self._told:
                self._say()

    def _rollout(self, one: OpenRollout, key: str) -> str:
        """What a key does on a rollout; empty where it is still looked at."""
        if key in FAULTS:
            self._mark(one, FAULTS[key], self.keys.rest() or self._note)
            return "next"
        if key == "s":
            self._skipped.add(one.content)
            return "next"
        if key == "n":
            self._note = self.keys.text("note: ")
            if earlier := self._mark_of(one):
                self._mark(one, earlier.fault, self._note)
        elif key == "r":
            self._reasoning = not self._reasoning
        elif key == "a":
            self._whole = not self._whole
        else:
            self._told = f"{_named(key)} is no key here; the last lines name the keys."
        return ""

    def _finding(self, screen: Screen, key: str) -> str:
        """What a key does on a finding."""
        finding = screen.finding
        assert finding is not None
        if key == "e":
            if note := self.keys.text("why it may stand: "):
                self._keep(
                    Explanation(
                        model=finding.model,
                        detector=finding.detector,
                        note=note,
                        by=self.by,
                        at=_now(),
                        share=finding.share,
                    )
                )
                return "next"
            self._told = "An explanation needs words."
        elif key == "s":
            self._skipped.add(self._name(finding))
            return "next"
        elif key in ("\n", " "):
            return "next"
        else:
            self._told = f"{_named(key)} is no key here; the last line names the keys."
        return ""

    def _mark(self, one: OpenRollout, fault: Fault, note: str) -> None:
        ref = one.ref
        self._keep(
            Mark(
                model=ref.model,
                task=ref.task,
                repeat=ref.repeat,
                content=one.content,
                fault=fault,
                note=note,
                by=self.by,
                at=_now(),
            )
        )
        # A judge's word would sway who has not judged yet, so it is told now and not before.
        same = [
            m
            for m in self.said
            if isinstance(m, Mark) and m.proposed and (m.model, m.content) == (one.model, one.content)
        ]
        proposed = "".join(f" {mark.by} had proposed {WHOSE[mark.fault]}: {mark.note}" for mark in same)
        self._told = f"{ref.task}, repeat {ref.repeat}: {WHOSE[fault]}.{proposed}"

    def _take_back(self, at: int) -> int:
        """Take back what this person said last and still stands, in this command or before. Returns where it was."""
        standing = [one for one in self.said if one.by == self.by and self._stands(one)]
        if not standing:
            self._told = f"{self.by} has said nothing that could be taken back."
            return at
        last = standing[-1]
        self._keep(structs.replace(last, withdrawn=True, at=_now()))
        about = f"{last.task}, repeat {last.repeat}" if isinstance(last, Mark) else f"{last.model}, {last.detector}"
        self._told = f"Taken back: what was said of {about}."
        places = (number for number, screen in enumerate(self.screens) if _is_about(last, screen))
        return next(places, at)

    def _stands(self, one: Remark) -> bool:
        if isinstance(one, Mark):
            return one is self._marks.get((one.model, one.content))
        return one is explanations(self.said, one.model).get(one.detector)

    def _keep(self, said: Remark) -> None:
        keep(self.folder, said)
        self.said.append(said)
        self.kept += 1
        if isinstance(said, Mark):
            self._marks[said.model, said.content] = said
            if said.withdrawn:
                del self._marks[said.model, said.content]

    def _draw(self, screen: Screen) -> None:
        if self.console.is_terminal:
            self.console.clear()
        self._say()
        self._line(f"{screen.model} · {screen.place}", style="reverse")
        if screen.rollout:
            self._draw_rollout(screen.rollout, screen)
        elif screen.finding:
            self._draw_finding(screen.finding)

    def _draw_finding(self, finding: Finding) -> None:
        self._line(
            f"{finding.detector}: {finding.count:,} of {finding.of:,} rollouts; most likely {WHOSE[finding.suspect]}"
        )
        self._line(finding.reason)
        for spotted in rollouts_to_read(finding):
            self._line(f"  {spotted.rollout.task}, repeat {spotted.rollout.repeat}: {spotted.evidence}", style="dim")
        also = "" if finding.scope == "run" else ", or by all of these rollouts being the model's fault"
        self._line(f"It is settled by your explanation{also}.", style="dim")
        self._line("e explain  Enter go on to its rollouts  b back  z undo  s skip  q quit", style="bold")

    def _draw_rollout(self, one: OpenRollout, screen: Screen) -> None:
        self._line(f"{one.rollout.task} · repeat {one.rollout.repeat}", style="bold")
        for piece in prompt_pieces(one.task):
            self._piece(piece)
        self._attempt(attempt(one.rollout, one.task))
        self._heading("outcome")
        outcome = one.rollout.outcome
        if screen.finding:
            self._line(f"shown for {screen.finding.detector}: {screen.evidence}")
        if isinstance(outcome, Failure):
            self._line(f"failed in the {outcome.where}: {outcome.kind}: {self._brief(outcome.message, 1000)}")
        else:
            answer = "none was found" if outcome.answer is None else self._brief(outcome.answer, 500)
            self._line(f"answer as read: {answer}")
        if one.task.gold is not None:
            self._line(f"gold: {self._brief(one.task.gold, 500)}")
        if not isinstance(outcome, Failure):
            ended = "" if one.rollout.stop == "completed" else f" · ended by {one.rollout.stop.replace('_', ' ')}"
            self._line(f"reward: {outcome.reward:g}{ended}")
        if mark := self._mark_of(one):
            self._line(f"marked: {WHOSE[mark.fault]}{f' ({mark.note})' if mark.note else ''}", style="green")
        elif self._note:
            self._line(f"note: {self._note}", style="green")
        self._line("m model's  v verifier's  t task's  i infrastructure's  u unclear", style="bold")
        self._line("n note  r reasoning  a all  b back  z undo  s skip  q quit", style="bold")

    def _attempt(self, pieces: list[Piece]) -> None:
        left_out = 0 if self._whole else max(0, len(pieces) - PIECES)
        start = PIECES // 2
        for number, piece in enumerate(pieces):
            if number == start and left_out:
                self._heading(f"… {left_out} pieces left out: a shows them …")
            if not (left_out and start <= number < start + left_out):
                self._piece(piece)

    def _piece(self, piece: Piece) -> None:
        if piece.voice == "reasoning" and not (self._reasoning or self._whole):
            self._heading(f"{piece.title}: {len(piece.text):,} characters, r shows them")
            return
        self._heading(piece.title)
        self._line(self._brief(piece.text, SIZES.get(piece.voice, 600)) or "(nothing)")

    def _brief(self, text: str, size: int) -> str:
        """The text; until all is asked for no more characters of it than `size`, and no more lines than go there."""
        if self._whole:
            return text
        text, lines = clip(text, size), max(6, size // 60)
        rows = text.split("\n")
        if len(rows) <= lines:
            return text
        half = lines // 2
        return "\n".join([*rows[:half], f"[… {len(rows) - 2 * half:,} lines left out …]", *rows[-half:]])

    def _heading(self, title: str) -> None:
        self._line(f"── {clip(legible(title).replace(chr(10), ' '), 60)} ──", style="cyan")

    def _line(self, text: str, style: str = "") -> None:
        # A Text is never read as markup, and `legible` leaves no escape in it.
        self.console.print(Text(legible(text), style=style, overflow="fold"))

    def _say(self) -> None:
        if self._told:
            self._line(self._told, style="yellow")
            self._told = ""


def _is_about(said: Remark, screen: Screen) -> bool:
    if isinstance(said, Mark):
        return bool(screen.rollout) and (screen.model, screen.rollout.content) == (said.model, said.content)
    return bool(screen.finding) and (screen.model, screen.finding.detector) == (said.model, said.detector)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _named(key: str) -> str:
    return "Enter" if key == "\n" else repr(key)
