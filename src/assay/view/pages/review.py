"""Review: what the gate `read` asks for, a rollout a page and a key a mark. `assay review` shows and keeps the same."""

import asyncio
import threading
from typing import Any
from urllib.parse import quote, unquote

from msgspec import structs
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from assay.errors import UsageError
from assay.fidelity.gates.read import read_gate
from assay.fidelity.profile import compute_with_results, load_material
from assay.fidelity.review.findings import rollouts_to_read
from assay.fidelity.review.marks import keep, marks_of, read_remarks
from assay.fidelity.review.reader import PREFIX
from assay.fidelity.review.readings import now, open_rollouts, reading
from assay.fidelity.review.review import WHOSE, Material, Progress, minutes_between
from assay.fidelity.review.review import review as review_of
from assay.fidelity.review.screens import Screens, about, who
from assay.fidelity.schema.evidence import Fault, Mark, Remark
from assay.report.page import publish
from assay.store import read_tasks, rollout_files
from assay.view.catalog import Catalog, Entry, NotThere
from assay.view.frame import catalog_of, draw, form_of, in_thread, is_local, url

READER = "reader"
"""The cookie with the reader's name."""
LONGEST_NAME = 100
WAIT_S = 3.0
"""Seconds after which a page that reads many rollouts says so."""
LIMIT = 20_000
"""Characters of a text that are shown at first."""
_computing = threading.Lock()


def reader(request: Request) -> str | None:
    """Returns who reads in this browser; None where nobody has said so."""
    return unquote(request.cookies.get(READER, "")) or None


async def page(request: Request) -> Response:
    """Returns what is next to read, or the screen that the address names, or the end."""
    entry = catalog_of(request).entry("profile", request.path_params["profile"])
    by = reader(request)
    if by is None or "name" in request.query_params:
        return _draw(request, entry, "reader.html", name=by or await in_thread(who))
    drawing = asyncio.ensure_future(in_thread(lambda: _draw_screen(request, entry, by)))
    done, _ = await asyncio.wait({drawing}, timeout=WAIT_S)
    if done:
        return drawing.result()
    # What it reads is kept, an error too, for the request that asks next.
    drawing.add_done_callback(lambda late: late.cancelled() or late.exception())
    waiting = _draw(request, entry, "review_begun.html")
    waiting.headers["refresh"] = "1"
    return waiting


async def say(request: Request) -> Response:
    """Keeps what a form says, and leads on to the next screen."""
    entry, form = catalog_of(request).entry("profile", request.path_params["profile"]), form_of(request)
    own = url("profiles", entry.name, "review", only=request.query_params.get("only"))
    if form.get("does") == "name":
        return _set_reader(RedirectResponse(own, 303), _name(form.get("by", "")))
    if (by := reader(request)) is None:
        raise UsageError("Nobody has said who reads. Open the page of the review, and give a name.")
    if form.get("does") == "finish":
        await in_thread(lambda: _compute(entry))
        return RedirectResponse(url("profiles", entry.name), 303)
    return RedirectResponse(await in_thread(lambda: _keep(request, entry, by)), 303)


async def mark(request: Request) -> Response:
    """Keeps what a reader says of one rollout of a run, whether a review asks for it or not."""
    run, form = catalog_of(request).run(request.path_params["run"]), form_of(request)
    by = _name(form.get("by") or reader(request) or "")
    await in_thread(lambda: _mark(catalog_of(request), run, form, by))
    to = form.get("to", "")
    back = to if is_local(to) else url("runs", run.name, "rollouts", form["task"], form["repeat"])
    return _set_reader(RedirectResponse(back, 303), by)


async def of_run(request: Request) -> Response:
    """Leads to the review of the profile that a run is a part of."""
    run = catalog_of(request).run(request.path_params["run"])
    if run.profile is None:
        raise NotThere("This run is in no profile, so that no sample of it is drawn to be read. Mark single rollouts.")
    return RedirectResponse(url("profiles", run.profile, "review", only=run.path.name), 303)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or not name.isprintable() or len(name) > LONGEST_NAME or name.startswith(PREFIX):
        expected = f"a person's, of at most {LONGEST_NAME} characters, that does not begin with '{PREFIX}'"
        raise UsageError(f"{name[:LONGEST_NAME]!r} can't be a reader's name; expected {expected}")
    return name


def _set_reader(response: Response, by: str) -> Response:
    response.set_cookie(READER, quote(by), httponly=True, samesite="strict")
    return response


def _screens(request: Request, entry: Entry, by: str) -> Screens:
    """Returns what a reader has to look at. It is kept until a rollout is added."""
    only, catalog = request.query_params.get("only"), catalog_of(request)
    material, files = _material(catalog, entry)
    if only is not None and only not in material.results:
        raise NotThere(f"This profile has no rollouts of a model {only} to read.")
    models = [name for name in material.results if only in (None, name)]
    return catalog.cached(f"review of {only} by {by}", files, lambda: Screens(entry.path, material, models, by))


def _material(catalog: Catalog, entry: Entry) -> tuple[Material, list[Any]]:
    runs = sorted(path.parent for path in entry.path.glob("runs/*/run.json"))
    files = [entry.path / "plan.jsonl", *(file for run in runs for file in (run / "run.json", *rollout_files(run)))]
    return catalog.cached("material", files, lambda: load_material(entry.path)), files


def _at(screens: Screens, fields: Any) -> int | None:
    """Returns the number of the screen that a form or an address means; None where it is none of this reader's."""
    place, number = (fields.get("model", ""), fields.get("about", "")), fields.get("n", "")
    if number.isdecimal() and int(number) < len(screens.all) and screens.all[int(number)].place == place:
        return int(number)
    return screens.find(place)


def _address(request: Request, screens: Screens, at: int | None) -> str:
    path, only = request.path_params["profile"], request.query_params.get("only")
    if at is None:
        return url("profiles", path, "review", only=only, end=1)
    model, content = screens.all[at].place
    return url("profiles", path, "review", only=only, model=model, about=content, n=at)


def _keep(request: Request, entry: Entry, by: str) -> str:
    """Keeps what a form says. Returns the address to go on to."""
    form, screens = form_of(request), _screens(request, entry, by)
    if form.get("does") == "undo":
        last = screens.undo()
        return _address(request, screens, screens.find(about(last)) if last else screens.next())
    if (at := _at(screens, form)) is None:
        raise NotThere(f"This is not among what {by} has to read. Somebody may have changed the rollouts meanwhile.")
    screen, note = screens.all[at], form.get("note", "").strip()
    if screen.rollout and form.get("fault"):
        screens.mark(screen.rollout, _fault(form["fault"]), note)
    elif screen.finding and form.get("does") == "explain":
        if not note:
            raise UsageError("An explanation needs words. Go back, and say why the finding may stand.")
        screens.explain(screen.finding, note)
    else:
        screens.skipped.add(screen.place)
    return _address(request, screens, screens.next(at))


def _fault(text: str) -> Fault:
    if text not in WHOSE:
        raise UsageError(f"{text[:40]!r} is no mark; expected one of {', '.join(WHOSE)}")
    return text


def _draw_screen(request: Request, entry: Entry, by: str) -> Response:
    screens, query = _screens(request, entry, by), request.query_params
    next_screen = screens.next()
    if next_screen is None and screens.draw_more():
        next_screen = screens.next()
    at = _at(screens, query) if "about" in query else None if "end" in query else next_screen
    values = _own_progress(screens) | {"by": by, "only": query.get("only")}
    if at is None:
        values |= _progress(catalog_of(request), entry)
        return _draw(request, entry, "review_end.html", **values, goes_on=_address(request, screens, next_screen))
    screen = screens.all[at]
    values |= {
        "n": at,
        "screen": screen,
        "back": _address(request, screens, at - 1) if at else None,
        "on": _address(request, screens, screens.next(at)),
        "last": _last(screens, by),
        "whose": WHOSE,
        "whole": url("profiles", entry.name, "review", **dict(query) | {"whole": 1}),
        "limit": None if "whole" in query else LIMIT,
    }
    if screen.rollout is None:
        rollouts = rollouts_to_read(screen.finding) if screen.finding else []
        return _draw(request, entry, "review_finding.html", **values, shown=rollouts)
    one = screen.rollout
    read = reading(one.rollout, one.task, one.model)
    is_long = any(len(piece.text) > LIMIT for piece in (*read.asked, *read.said))
    return _draw(request, entry, "review.html", **values, read=read, own=screens.own(one), is_long=is_long)


def _draw(request: Request, entry: Entry, template: str, **values: Any) -> Response:
    crumbs = [(entry.name.replace("~", "/"), url("profiles", entry.name))]
    return draw(request, template, crumbs=crumbs, scripts=("keys.js",), styles=("review.css",), entry=entry, **values)


def _own_progress(screens: Screens) -> dict[str, Any]:
    """Returns how far this reader is. How far all are takes seconds to compute for 200,000 rollouts."""
    marks = [one for one in screens.said if isinstance(one, Mark) and one.by == screens.by]
    read = len({(mark.model, mark.content) for mark in marks if not mark.withdrawn})
    left = len(screens.left)
    values = {"left": left, "minutes": screens.minutes, "read_by_me": read, "took": round(minutes_between(marks))}
    return values | {"limit_at_fault": screens.material.population.rule.limit}


def _progress(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Returns how far the reading is, of all readers."""
    material, files = _material(catalog, entry)
    marks, page = entry.path / "marks.jsonl", entry.path / "profile.json"
    review = catalog.cached("read", [marks, *files], lambda: review_of(Progress(material, read_remarks(entry.path))))
    newer = marks.exists() and not (page.exists() and page.stat().st_mtime >= marks.stat().st_mtime)
    return {"found": review, "gate": read_gate(review), "is_newer": newer, "waiting": len(review.waiting)}


def _last(screens: Screens, by: str) -> tuple[str, str, str] | None:
    """Returns what the reader said last: of what, what, and the note."""
    remark: Remark | None = next((one for one in reversed(screens.said) if one.by == by), None)
    if remark is None or remark.withdrawn:
        return None
    if isinstance(remark, Mark):
        return f"{remark.task}, repeat {remark.repeat}", WHOSE[remark.fault], remark.note
    return remark.detector, "explained", remark.note


def _compute(entry: Entry) -> None:
    """Computes the gates again, as the terminal does at its end."""
    with _computing:
        profile, results = asyncio.run(compute_with_results(entry.path))
        publish(entry.path, profile, results=results)


def _mark(catalog: Catalog, run: Entry, form: dict[str, str], by: str) -> None:
    task, repeat = form.get("task", ""), form.get("repeat", "")
    folder = catalog.entry("profile", run.profile).path if run.profile else run.path
    model = run.path.name if run.profile else catalog.record(run).model
    tasks = catalog.cached("tasks", [run.path / "tasks.jsonl"], lambda: list(read_tasks(run.path)))
    key = task, int(repeat) if repeat.isdecimal() else -1
    if key[0] not in {one.id for one in tasks} or not (found := open_rollouts(run.path, model, tasks, [key])[0]):
        raise NotThere(f"This run has no rollout of task {task}, repeat {repeat}.")
    one = found[key]
    if form.get("fault"):
        keep(folder, one.mark(_fault(form["fault"]), by=by, note=form.get("note", "").strip()))
        return
    for mark in marks_of(read_remarks(folder)).get(one.place, []):
        if mark.by == by:
            keep(folder, structs.replace(mark, withdrawn=True, at=now()))


routes = [
    Route("/profiles/{profile}/review", page),
    Route("/profiles/{profile}/review", say, methods=["POST"]),
    Route("/runs/{run}/review", of_run),
    Route("/runs/{run}/marks", mark, methods=["POST"]),
]
