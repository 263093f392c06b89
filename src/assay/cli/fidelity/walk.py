"""A walk through rollouts: one a screen, a key to say whether its reward is right. What is said is kept at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs
from rich.console import Console
from rich.text import Text

from assay.cli.fidelity.keys import Keys
from assay.fidelity.review.findings import is_settled, rollouts_to_read
from assay.fidelity.review.marks import Key, Place, Standing, explanations, keep, last_word, marks_of, standing
from assay.fidelity.review.plants import Plant
from assay.fidelity.review.readings import OpenRollout, now, open_rollouts
from assay.fidelity.review.review import WHOSE, Progress, reading_minutes
from assay.fidelity.review.sample import Spot
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.fidelity.schema.evidence import Explanation, Fault, Finding, Mark, Remark
from assay.fidelity.schema.profile import Piece, Voice
from assay.report.words import clip, legible
from assay.types import Failure

KEYS: dict[str, Fault] = {"m": "model", "v": "verifier", "t": "task", "e": "environment", "u": "unclear"}
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
    rollout: OpenRollout | None = None
    finding: Finding | None = None
    """What the rollout is shown for, where it is not drawn at random."""
    evidence: str = ""


def screens(folder: Path, progress: Progress, by: str, models: Sequence[str]) -> list[Screen]:
    """All that a reader has to look at: each finding with its rollouts, and then what is drawn, all models mixed."""
    queue = [one for one in progress.queue(by) if _model(one) in models]
    first, drawn = list[Screen](), dict[Place, OpenRollout]()
    for name in models:
        findings = [one for one in progress.material.findings if one.model == name]
        shown = [(s.rollout.task, s.rollout.repeat) for finding in findings for s in rollouts_to_read(finding)]
        spots = [one for one in queue if isinstance(one, Spot) and one.model == name]
        plants = [one for one in queue if isinstance(one, Plant) and one.base.model == name]
        tasks = progress.material.results[name].tasks
        keys = [*shown, *(spot.key for spot in spots)]
        there, planted = open_rollouts(folder / "runs" / name, name, tasks, keys, plants)
        first += _of_findings(name, findings, there)
        drawn |= {(name, spot.content): there[spot.key] for spot in spots}
        drawn |= {(name, content): one for content, one in planted.items()}
    return first + [Screen(_model(one), drawn[_model(one), one.content]) for one in queue]


def _model(one: Spot | Plant) -> str:
    return one.model if isinstance(one, Spot) else one.base.model


def _of_findings(model: str, findings: Iterable[Finding], there: Mapping[Key, OpenRollout]) -> list[Screen]:
    made: list[Screen] = []
    for finding in findings:
        about = Screen(model, finding=finding)
        examples = [(there.get((s.rollout.task, s.rollout.repeat)), s.evidence) for s in rollouts_to_read(finding)]
        read = [Screen(model, one, finding, evidence) for one, evidence in examples if one]
        made += [about, *read, about] if read else [about]
    return made


@dataclass(slots=True)
class Walk:
    """Takes a reader through the screens that are not done. `go` gives back whether the end was reached."""

    folder: Path
    screens: Sequence[Screen]
    said: list[Remark]
    by: str
    keys: Keys
    console: Console
    kept: int = 0
    _skipped: set[Place] = field(default_factory=set[Place])
    _whole: bool = False
    _reasoning: bool = False
    _note: str = ""
    _notice: str = ""

    def go(self) -> bool:
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
                    self._notice = "This is the first one."
                else:
                    before.append(at)
                    at = self._next(at)
        except KeyboardInterrupt:
            pass
        if self._notice:
            self.console.print(Text(legible(self._notice)))
        left = "." if at is not None else "; the rest was skipped." if self._skipped else "; nothing is left here."
        self.console.print(Text(f"{self.kept} kept{left}"))
        return at is None and not self._skipped

    def _next(self, at: int) -> int | None:
        return next((i for i in range(at + 1, len(self.screens)) if not self._done(self.screens[i])), None)

    def _done(self, screen: Screen) -> bool:
        if screen.finding and (self._name(screen.finding) in self._skipped or self._settled(screen.finding)):
            return True
        one = screen.rollout
        if one is None:
            return False
        # A rollout of a finding is read once, by whomever; what was drawn is here because this reader has to read it.
        return one.place in self._skipped or (self._word(one) if screen.finding else self._own(one)) is not None

    def _settled(self, finding: Finding) -> bool:
        read = [s.rollout for s in self.screens if s.rollout and s.finding is finding]
        standings: dict[Key, Standing | None] = {
            one.rollout.key: standing(mark, one.rollout.task_digest, one.reward)
            for one in read
            if (mark := self._word(one))
        }
        return is_settled(finding, standings, explanations(self.said, finding.model).values())

    def _marks(self, one: OpenRollout) -> list[Mark]:
        about = (said for said in self.said if isinstance(said, Mark) and said.content == one.content)
        return marks_of(about).get(one.place, [])

    def _word(self, one: OpenRollout) -> Mark | None:
        return last_word(self._marks(one), one.rollout.task_digest, one.reward)

    def _own(self, one: OpenRollout) -> Mark | None:
        """What this reader said of the rollout as it is now."""
        own = [mark for mark in self._marks(one) if mark.by == self.by]
        return last_word(own, one.rollout.task_digest, one.reward)

    @staticmethod
    def _name(finding: Finding) -> Place:
        return finding.model, finding.detector

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
            draw = not self._notice
            if self._notice:
                self._say()

    def _rollout(self, one: OpenRollout, key: str) -> str:
        """What a key does on a rollout; empty where it is still looked at."""
        if key in KEYS:
            self._mark(one, KEYS[key], self.keys.rest() or self._note)
            return "next"
        if key == "s":
            self._skipped.add(one.place)
            return "next"
        if key == "n":
            self._note = self.keys.text("note: ")
            if earlier := self._own(one):
                self._mark(one, earlier.fault, self._note)
        elif key == "r":
            self._reasoning = not self._reasoning
        elif key == "a":
            self._whole = not self._whole
        else:
            self._notice = f"{_key_name(key)} is no key here; the last lines name the keys."
        return ""

    def _finding(self, screen: Screen, key: str) -> str:
        """What a key does on a finding."""
        finding = screen.finding
        assert finding is not None
        if key == "x":
            if note := self.keys.text("why it may stand: "):
                self._keep(
                    Explanation(
                        model=finding.model,
                        detector=finding.detector,
                        note=note,
                        by=self.by,
                        at=now(),
                        share=finding.share,
                    )
                )
                return "next"
            self._notice = "An explanation needs words."
        elif key == "s":
            self._skipped.add(self._name(finding))
            return "next"
        elif key in ("\n", " "):
            return "next"
        else:
            self._notice = f"{_key_name(key)} is no key here; the last line names the keys."
        return ""

    def _mark(self, one: OpenRollout, fault: Fault, note: str) -> None:
        self._keep(one.mark(fault, by=self.by, note=note))
        self._notice = f"{one.rollout.task}, repeat {one.rollout.repeat}: {WHOSE[fault]}."

    def _take_back(self, at: int) -> int:
        """Take back what this person said last and still stands, in this command or before. Returns where it was."""
        own = [one for one in self.said if one.by == self.by and self._stands(one)]
        if not own:
            self._notice = f"{self.by} has said nothing that could be taken back."
            return at
        last = own[-1]
        self._keep(structs.replace(last, withdrawn=True, at=now()))
        about = f"{last.task}, repeat {last.repeat}" if isinstance(last, Mark) else f"{last.model}, {last.detector}"
        self._notice = f"Taken back: what was said of {about}."
        places = (number for number, screen in enumerate(self.screens) if _is_about(last, screen))
        return next(places, at)

    def _stands(self, one: Remark) -> bool:
        if isinstance(one, Mark):
            return any(one is mark for marks in marks_of(self.said).values() for mark in marks)
        return one is explanations(self.said, one.model).get(one.detector)

    def _keep(self, said: Remark) -> None:
        keep(self.folder, said)
        self.said.append(said)
        self.kept += 1

    def _draw(self, screen: Screen) -> None:
        if self.console.is_terminal:
            self.console.clear()
        self._say()
        left = [one.rollout for one in self.screens if one.rollout and not self._done(one)]
        about = reading_minutes(one.output_tokens for one in left)
        self._line(f"{screen.model} · {len(left):,} to read, about {max(1, round(about))} min", style="reverse")
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
        also = "" if finding.scope == "run" else ", or by the rewards of all of these rollouts being right"
        self._line(f"It is settled by your explanation{also}.", style="dim")
        self._line("x explain  Enter go on to its rollouts  b back  z undo  s skip  q quit", style="bold")

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
        if mark := self._own(one):
            self._line(f"marked: {WHOSE[mark.fault]}{f' ({mark.note})' if mark.note else ''}", style="green")
        elif self._note:
            self._line(f"note: {self._note}", style="green")
        self._line("m reward is right: the model's  v verifier's  t task's  e environment's  u unclear", style="bold")
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
        if self._notice:
            self._line(self._notice, style="yellow")
            self._notice = ""


def _is_about(said: Remark, screen: Screen) -> bool:
    if isinstance(said, Mark):
        return bool(screen.rollout) and screen.rollout.place == (said.model, said.content)
    return bool(screen.finding) and (screen.model, screen.finding.detector) == (said.model, said.detector)


def _key_name(key: str) -> str:
    return "Enter" if key == "\n" else repr(key)
