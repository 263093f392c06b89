"""The company's tools, on a database in memory that is one rollout's own."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

from msgspec import Meta

from assay.benchmark.tools import Rejected, ToolSession, tool
from assay.benchmarks.office.problems import problem
from assay.benchmarks.office.world import CLOSES, OPENS, STAFF, Event, Folder, Plan, Status, World, clock, staff_address
from assay.types import Score, Turn

Rows = list[dict[str, Any]]
Time = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
SCHEMA = """
CREATE TABLE customers (id TEXT PRIMARY KEY, name, company, city, email, phone, plan, status);
CREATE TABLE mails (number INTEGER PRIMARY KEY, folder, sender, recipient, subject, body);
CREATE TABLE events (number INTEGER PRIMARY KEY, title, day, start INTEGER, "end" INTEGER, people);
"""
MAIL = "SELECT 'M-' || number AS id, folder, sender, recipient, subject"
EVENT = "SELECT 'E-' || number AS id, title, day, start, \"end\", people"


class OfficeSession(ToolSession):
    """Eleven tools on customers, mail and the calendar, and the score of what they left behind."""

    async def start(self) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.row_factory = sqlite3.Row
        _fill(self._db, problem(self.task.data["seed"]).world)
        self._before = _facts(self._db)

    async def stop(self) -> None:
        self._db.close()

    @tool
    def find_customers(
        self,
        text: str = "",
        city: str | None = None,
        plan: Plan | None = None,
        status: Status | None = None,
    ) -> Rows:
        """Find customers: id, name, company and city of each.

        Args:
            text: Part of the name, the company or the mail address; all customers where empty.
            city: Only those in this city.
        """
        return self._rows(
            "SELECT id, name, company, city FROM customers"
            " WHERE (instr(lower(name), :text) OR instr(lower(company), :text) OR instr(lower(email), :text))"
            " AND (:city IS NULL OR lower(city) = lower(:city))"
            " AND (:plan IS NULL OR plan = :plan) AND (:status IS NULL OR status = :status) ORDER BY id",
            text=text.strip().lower(),
            city=city,
            plan=plan,
            status=status,
        )

    @tool
    def read_customer(self, id: str) -> dict[str, Any]:
        """Everything in one customer's record.

        Args:
            id: Such as C-12.
        """
        return self._one("SELECT * FROM customers WHERE id = :id", f"no customer {id}; find_customers gives ids", id=id)

    @tool
    def update_customer(
        self,
        id: str,
        email: str | None = None,
        phone: str | None = None,
        city: str | None = None,
        plan: Plan | None = None,
        status: Status | None = None,
    ) -> dict[str, Any]:
        """Change what is given of one customer's record, and leave the rest.

        Args:
            id: Such as C-12.
        """
        record = self.read_customer(id)
        asked = {"email": email, "phone": phone, "city": city, "plan": plan, "status": status}
        given = {name: value.strip() for name, value in asked.items() if value is not None}
        if not given:
            raise Rejected("nothing to change: give one of email, phone, city, plan, status")
        if record["status"] == "closed" and given.keys() != {"status"}:
            raise Rejected(f"{id} is closed; of a closed account only the status can be changed, by itself")
        for name, value in given.items():
            self._db.execute(f"UPDATE customers SET {name} = ? WHERE id = ?", (value, id))
        return self.read_customer(id)

    @tool
    def find_mail(self, text: str = "", sender: str = "", folder: Folder | Literal["sent"] = "inbox") -> Rows:
        """Find mail in one folder: all but the body of each.

        Args:
            text: Part of the subject or the body; any where empty.
            sender: Part of the sender's address; any where empty.
        """
        return self._rows(
            f"{MAIL} FROM mails WHERE folder = :folder AND instr(lower(sender), :sender)"
            " AND (instr(lower(subject), :text) OR instr(lower(body), :text)) ORDER BY number",
            folder=folder,
            sender=sender.strip().lower(),
            text=text.strip().lower(),
        )

    @tool
    def read_mail(self, id: str) -> dict[str, Any]:
        """One mail with its body.

        Args:
            id: Such as M-7.
        """
        absent = f"no mail {id}; find_mail gives ids"
        return self._one(f"{MAIL}, body FROM mails WHERE number = :number", absent, number=_number(id, "M-"))

    @tool
    def file_mail(self, id: str, folder: Folder) -> str:
        """Move a mail to another folder.

        Args:
            id: Such as M-7.
        """
        if self.read_mail(id)["folder"] == "sent":
            raise Rejected(f"{id} is a sent mail; only mail that came in can be moved")
        self._db.execute("UPDATE mails SET folder = ? WHERE number = ?", (folder, _number(id, "M-")))
        return f"{id} is in {folder}"

    @tool
    def send_mail(self, to: str, subject: str, body: str) -> str:
        """Send a mail from the office.

        Args:
            to: One address, of a customer or of the staff.
        """
        to = to.strip().lower()
        known = {staff_address(name) for name in STAFF} | {
            row["email"].lower() for row in self._rows("SELECT email FROM customers")
        }
        if to not in known:
            raise Rejected(f"{to} is no address of a customer or of the staff, as name@harbourlane.example")
        values = ("sent", "office@harbourlane.example", to, subject, body)
        self._db.execute("INSERT INTO mails (folder, sender, recipient, subject, body) VALUES (?, ?, ?, ?, ?)", values)
        return f"sent to {to}"

    @tool
    def list_events(self, day: date, person: str | None = None) -> Rows:
        """The appointments of one day, by their start.

        Args:
            day: As 2025-03-05.
            person: Only those of this person of the staff.
        """
        name = None if person is None else _people([person])[0]
        rows = self._rows(f"{EVENT} FROM events WHERE day = :day ORDER BY start, number", day=str(day))
        return [_readable(row) for row in rows if name is None or name in row["people"].split(", ")]

    @tool
    def create_event(self, title: str, day: date, start: Time, end: Time, people: list[str]) -> dict[str, Any]:
        """Put an appointment into the calendar.

        Args:
            day: As 2025-03-05.
            start: As 09:30.
            end: As 10:00.
            people: Those of the staff who take part, by their full names.
        """
        names, first, last = _people(people), _minutes(start), _minutes(end)
        self._check_free(names, day, first, last)
        values = (title, str(day), first, last, ", ".join(names))
        added = self._db.execute('INSERT INTO events (title, day, start, "end", people) VALUES (?, ?, ?, ?, ?)', values)
        return self._event(f"E-{added.lastrowid}")

    @tool
    def move_event(self, id: str, day: date, start: Time, end: Time) -> dict[str, Any]:
        """Move an appointment to another day or time.

        Args:
            id: Such as E-3.
            day: As 2025-03-05.
            start: As 09:30.
            end: As 10:00.
        """
        first, last = _minutes(start), _minutes(end)
        event = self._event(id)
        self._check_free(event["people"].split(", "), day, first, last, but=event["id"])
        values = (str(day), first, last, _number(id, "E-"))
        self._db.execute('UPDATE events SET day = ?, start = ?, "end" = ? WHERE number = ?', values)
        return self._event(id)

    @tool
    def cancel_event(self, id: str) -> str:
        """Take an appointment out of the calendar.

        Args:
            id: Such as E-3.
        """
        self._event(id)
        self._db.execute("DELETE FROM events WHERE number = ?", (_number(id, "E-"),))
        return f"{id} is cancelled"

    async def score(self, turns: Sequence[Turn]) -> Score:
        """Returns 1 if exactly the requested facts changed. `share` counts the right ones among all changed or due."""
        return judge(self.task.data["changes"], changes(self._before, _facts(self._db)))

    def _rows(self, query: str, **values: Any) -> Rows:
        return [dict(row) for row in self._db.execute(query, values)]

    def _one(self, query: str, absent: str, **values: Any) -> dict[str, Any]:
        rows = self._rows(query, **values)
        if not rows:
            raise Rejected(absent)
        return rows[0]

    def _event(self, id: str) -> dict[str, Any]:
        absent = f"no appointment {id}; list_events gives ids"
        return _readable(self._one(f"{EVENT} FROM events WHERE number = :number", absent, number=_number(id, "E-")))

    def _check_free(self, people: list[str], day: date, start: int, end: int, but: str = "") -> None:
        """Raises Rejected if the times are impossible, or one of the people has another appointment then."""
        if not OPENS <= start < end <= CLOSES:
            raise Rejected(f"appointments begin before they end, between {clock(OPENS)} and {clock(CLOSES)}")
        for row in self.list_events(day):
            taken = set(people) & {*row["people"].split(", ")}
            if row["id"] != but and taken and _minutes(row["start"]) < end and start < _minutes(row["end"]):
                when = f"{row['start']} to {row['end']}"
                raise Rejected(f"{min(taken)} has {row['title']} ({row['id']}) from {when}; nothing was changed")


def judge(expected: Sequence[str], found: Sequence[str]) -> Score:
    """Returns the score of the changes. Case, spaces and a full stop at the end make no difference."""
    missing, extra = Counter(map(_key, expected)), Counter(map(_key, found))
    right = (missing & extra).total()
    missing, extra = missing - extra, extra - missing
    share = right / (right + missing.total() + extra.total()) if expected or found else 1.0
    differences = [f"missing: {change}" for change in missing.elements()]
    differences += [f"not asked for: {change}" for change in extra.elements()]
    answer = "; ".join(differences) or "all as asked"
    return Score(reward=float(not differences), metrics={"share": share}, answer=answer)


def _key(change: str) -> str:
    return " ".join(change.casefold().split()).rstrip(".")


def changes(before: Counter[str], after: Counter[str]) -> list[str]:
    """Returns the changes of a rollout, a fact each: `now` is a new fact, `no more` an appointment that is gone."""
    gone = [f"no more: {fact}" for fact in (before - after).elements() if fact.startswith("appointment ")]
    return sorted([f"now: {fact}" for fact in (after - before).elements()] + gone)


def _facts(db: sqlite3.Connection) -> Counter[str]:
    """Returns the facts in the database. They leave out ids of appointments, so that two ways to one end are equal."""
    facts: Counter[str] = Counter()
    for row in db.execute("SELECT * FROM customers"):
        facts.update(f"customer {row['id']}: {name} = {row[name]}" for name in row.keys()[1:])
    for row in db.execute("SELECT * FROM mails"):
        to = f"mail to {row['recipient']}: {row['subject']} | {row['body']}"
        facts[to if row["folder"] == "sent" else f"mail M-{row['number']}: folder = {row['folder']}"] += 1
    for row in db.execute("SELECT * FROM events"):
        people = tuple(row["people"].split(", "))
        event = Event("", row["title"], date.fromisoformat(row["day"]), row["start"], row["end"], people)
        facts[f"appointment {event.text}"] += 1
    return facts


def _fill(db: sqlite3.Connection, world: World) -> None:
    db.executescript(SCHEMA)
    db.executemany(
        "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(c.id, c.name, c.company, c.city, c.email, c.phone, c.plan, c.status) for c in world.customers],
    )
    db.executemany(
        "INSERT INTO mails VALUES (?, ?, ?, ?, ?, ?)",
        [(_number(m.id, "M-"), m.folder, m.sender, m.recipient, m.subject, m.body) for m in world.mails],
    )
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
        [(_number(e.id, "E-"), e.title, str(e.day), e.start, e.end, ", ".join(e.people)) for e in world.events],
    )


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Returns an appointment as the model reads it."""
    return row | {"start": clock(row["start"]), "end": clock(row["end"])}


def _number(id: str, prefix: str) -> int:
    """Returns the number in an id. Raises Rejected."""
    digits = id.strip().removeprefix(prefix)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise Rejected(f"'{id}' is no id; ids look like {prefix}12")
    return int(digits)


def _people(names: Sequence[str]) -> list[str]:
    """Returns the names as the staff list writes them, sorted. Raises Rejected."""
    known = {name.casefold(): name for name in STAFF}
    for name in names:
        if name.strip().casefold() not in known:
            raise Rejected(f"nobody called '{name}' works here; the staff are {', '.join(STAFF)}")
    if not names:
        raise Rejected("an appointment needs at least one person")
    return sorted({known[name.strip().casefold()] for name in names})


def _minutes(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return 60 * int(hours) + int(minutes)
