"""Reading rollouts in a terminal: one on each screen, and a key to say whether its reward is right."""

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from assay.cli.fidelity.keys import Keys
from assay.fidelity.review.findings import rollouts_to_read
from assay.fidelity.review.readings import OpenRollout
from assay.fidelity.review.review import WHOSE
from assay.fidelity.review.screens import KEYS, Screen, Screens, about
from assay.fidelity.review.transcript import attempt, prompt_pieces
from assay.fidelity.schema.evidence import Fault, Finding, Mark
from assay.fidelity.schema.profile import Piece, Voice
from assay.report.words import clip, legible
from assay.types import Failure

SIZES: dict[Voice, int] = {"prompt": 1500, "reasoning": 3000, "message": 2000, "call": 500, "output": 500}
"""Characters that are shown at first of each piece; 600 of others."""
STEPS = {"b": "back", "z": "undo"}
"""Keys that lead to another screen wherever they are pressed."""
PIECES = 12
"""Pieces of an attempt that are shown at first."""


@dataclass(slots=True)
class Walk:
    """Takes a reader through the screens that are not done, and those that are due once these are."""

    screens: Screens
    keys: Keys
    console: Console
    _whole: bool = False
    _reasoning: bool = False
    _note: str = ""
    _notice: str = ""

    def go(self) -> None:
        before = list[int]()
        at = self._next(-1, before)
        try:
            while at is not None:
                step = self._visit(self.screens.all[at])
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
                    at = self._next(at, before)
        except KeyboardInterrupt:
            # One that was interrupted as it leaves a line holds back all that is printed later.
            self.console = Console(file=self.console.file, highlight=False)
        if self._notice:
            self.console.print(Text(legible(self._notice)))
        skips = self.screens.skipped
        ending = "." if at is not None else "; the rest was skipped." if skips else "; nothing is left here."
        self.console.print(Text(f"{self.screens.kept} kept{ending}"))

    def _next(self, at: int, before: list[int]) -> int | None:
        """Returns the screen behind this one; where all are done, the first of what is due since then."""
        screen = self.screens.next(at)
        if screen is None and not self.screens.skipped and self.screens.draw_more():
            before.clear()  # they were places among the screens before
            return self.screens.next()
        return screen

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
        """Returns what a key does on a rollout; empty where it is still looked at."""
        if key in KEYS:
            self._mark(one, KEYS[key], self.keys.rest() or self._note)
            return "next"
        if key == "s":
            self.screens.skipped.add(one.place)
            return "next"
        if key == "n":
            self._note = self.keys.text("note: ")
            if earlier := self.screens.own(one):
                self._mark(one, earlier.fault, self._note)
        elif key == "r":
            self._reasoning = not self._reasoning
        elif key == "a":
            self._whole = not self._whole
        else:
            self._notice = f"{_key_name(key)} is no key here; the last lines name the keys."
        return ""

    def _finding(self, screen: Screen, key: str) -> str:
        """Returns what a key does on a finding."""
        finding = screen.finding
        assert finding is not None
        if key == "x":
            if note := self.keys.text("why it may stand: "):
                self.screens.explain(finding, note)
                return "next"
            self._notice = "An explanation needs words."
        elif key == "s":
            self.screens.skipped.add(screen.place)
            return "next"
        elif key in ("\n", " "):
            return "next"
        else:
            self._notice = f"{_key_name(key)} is no key here; the last line names the keys."
        return ""

    def _mark(self, one: OpenRollout, fault: Fault, note: str) -> None:
        self.screens.mark(one, fault, note)
        self._notice = f"{one.rollout.task}, repeat {one.rollout.repeat}: {WHOSE[fault]}."

    def _take_back(self, at: int) -> int:
        """Take back what this person said last and still stands, in this command or before. Returns where it was."""
        last = self.screens.undo()
        if last is None:
            self._notice = f"{self.screens.by} has said nothing that could be taken back."
            return at
        where = f"{last.task}, repeat {last.repeat}" if isinstance(last, Mark) else f"{last.model}, {last.detector}"
        self._notice = f"Taken back: what was said of {where}."
        place = self.screens.find(about(last))
        return at if place is None else place

    def _draw(self, screen: Screen) -> None:
        if self.console.is_terminal:
            self.console.clear()
        self._say()
        left, minutes = len(self.screens.left), self.screens.minutes
        self._line(f"{screen.model} · {left:,} to read, about {minutes} min", style="reverse")
        if screen.rollout:
            self._draw_rollout(screen.rollout, screen)
        elif screen.finding:
            self._draw_finding(screen.finding)

    def _draw_finding(self, finding: Finding) -> None:
        self._line(
            f"{finding.detector}: {finding.count:,} of {finding.of:,} rollouts; most likely {WHOSE[finding.suspect]}"
        )
        self._line(finding.reason)
        for sighting in rollouts_to_read(finding):
            self._line(f"  {sighting.rollout.task}, repeat {sighting.rollout.repeat}: {sighting.evidence}", style="dim")
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
            ending = "" if one.rollout.stop == "completed" else f" · ended by {one.rollout.stop.replace('_', ' ')}"
            self._line(f"reward: {outcome.reward:g}{ending}")
        if mark := self.screens.own(one):
            self._line(f"marked: {WHOSE[mark.fault]}{f' ({mark.note})' if mark.note else ''}", style="green")
        elif self._note:
            self._line(f"note: {self._note}", style="green")
        self._line("m reward is right: the model's  v verifier's  t task's  e environment's  u unclear", style="bold")
        self._line("n note  r reasoning  a all  b back  z undo  s skip  q quit", style="bold")

    def _attempt(self, pieces: list[Piece]) -> None:
        count = 0 if self._whole else max(0, len(pieces) - PIECES)
        start = PIECES // 2
        for number, piece in enumerate(pieces):
            if number == start and count:
                self._heading(f"… {count} pieces left out: a shows them …")
            if not (count and start <= number < start + count):
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


def _key_name(key: str) -> str:
    return "Enter" if key == "\n" else repr(key)
