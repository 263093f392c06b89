"""The sixty problems: twenty kinds, each in three companies. A problem has a request, a solution, and the changes that
the solution makes."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from random import Random

from assay.benchmark import Call
from assay.benchmarks.office.world import (
    CITIES,
    CLOSES,
    DAYS,
    OPENS,
    PLANS,
    STAFF,
    TODAY,
    Customer,
    Event,
    Folder,
    Mail,
    World,
    address,
    clock,
    make,
    phone,
    spoken,
    staff_address,
)

INSTANCES = 3
"""The number of problems of each kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A request to one company's assistant. `world` is shared by all rollouts, so it is never changed."""

    kind: str
    trap: str
    """What makes it hard, beside its steps: `namesake`, `rule` (an action that is refused), `conflict` (of
    appointments), `exception` (in the request), or `none`."""
    seed: int
    request: str
    world: World
    calls: list[Call]
    """A solution, with its look-ups."""
    changes: list[str]
    """The facts that the solution adds."""


class Draft:
    """Builds a problem: each method adds calls of the solution and the facts that they change."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world = world
        self.rng = rng
        self.calls: list[Call] = []
        self.changes: list[str] = []
        self._drawn: set[str] = set()

    def call(self, name: str, **arguments: object) -> None:
        """Add a call that changes nothing in the end, such as a look-up."""
        self.calls.append(Call(name, arguments))

    def find(self, customer: Customer, read: bool = False) -> None:
        self.call("find_customers", text=customer.name)
        if read:
            self.call("read_customer", id=customer.id)

    def update(self, customer: Customer, **fields: str) -> None:
        self.call("update_customer", id=customer.id, **fields)
        self.changes += [f"now: customer {customer.id}: {name} = {value}" for name, value in fields.items()]

    def file(self, mail: Mail, folder: Folder) -> None:
        self.call("file_mail", id=mail.id, folder=folder)
        self.changes.append(f"now: mail {mail.id}: folder = {folder}")

    def send(self, to: str, subject: str, body: str) -> None:
        self.call("send_mail", to=to, subject=subject, body=body)
        self.changes.append(f"now: mail to {to}: {subject} | {body}")

    def book(self, title: str, day: date, start: int, end: int, people: Iterable[str]) -> None:
        names = sorted(people)
        times = {"day": str(day), "start": clock(start), "end": clock(end)}
        self.call("create_event", title=title, **times, people=names)
        self.changes.append(f"now: appointment {Event('', title, day, start, end, tuple(names)).text}")

    def shift(self, event: Event, day: date, start: int) -> None:
        """A move on the way to where the appointment belongs."""
        times = {"day": str(day), "start": clock(start), "end": clock(start + event.end - event.start)}
        self.call("move_event", id=event.id, **times)

    def move(self, event: Event, day: date, start: int) -> None:
        self.shift(event, day, start)
        moved = Event("", event.title, day, start, start + event.end - event.start, event.people)
        self.changes += [f"no more: appointment {event.text}", f"now: appointment {moved.text}"]

    def cancel(self, event: Event) -> None:
        self.call("cancel_event", id=event.id)
        self.changes.append(f"no more: appointment {event.text}")

    def customer(self) -> Customer:
        """A customer that the problem has not drawn yet, with an open account."""
        drawn = self.rng.choice([c for c in self.world.customers if c.id not in self._drawn and c.status != "closed"])
        self._drawn.add(drawn.id)
        return drawn

    def mail(self) -> Mail:
        return self.rng.choice(self.world.mails)

    def event(self) -> Event:
        return self.rng.choice(self.world.events)

    def other_plan(self, customer: Customer) -> str:
        return self.rng.choice([plan for plan in PLANS if plan != customer.plan])

    def free(self, people: list[str], length: int) -> tuple[date, int]:
        """A day after today and a start at which all are free for so many minutes."""
        while True:
            day, after = self.rng.choice(DAYS[1:]), self.rng.randrange(OPENS, CLOSES - length, 30)
            start = self.world.first_free(people, day, length, after)
            if start is not None:
                return day, start


def plan_by_id(d: Draft) -> str:
    customer = d.customer()
    plan = d.other_plan(customer)
    d.update(customer, plan=plan)
    return f"Put customer {customer.id} on the plan {plan}."


def book_slot(d: Draft) -> str:
    person = d.rng.choice(STAFF)
    day, start = d.free([person], 60)
    d.book("Dentist", day, start, start + 60, [person])
    return f"Put 'Dentist' into {person}'s calendar on {spoken(day)}, {clock(start)} to {clock(start + 60)}."


def new_phone(d: Draft) -> str:
    customer, number = d.customer(), phone(d.rng)
    d.find(customer)
    d.update(customer, phone=number)
    return f"{customer.name} of {customer.company} has a new phone number, {number}. Please change it."


def archive_one(d: Draft) -> str:
    mail = d.mail()
    d.call("find_mail", text=mail.subject)
    d.file(mail, "archive")
    return f"Archive the mail from {mail.sender} with the subject '{mail.subject}'."


def cancel_one(d: Draft) -> str:
    event = d.event()
    d.call("list_events", day=str(event.day))
    d.cancel(event)
    return f"Cancel the appointment '{event.title}' on {spoken(event.day)}."


def namesake(d: Draft) -> str:
    customer, other, number = d.customer(), d.customer(), phone(d.rng)
    other.name, other.email = customer.name, address(customer.name, other.company)
    d.find(customer)
    d.update(customer, phone=number)
    return f"{customer.name} called from {customer.company}: the phone number is now {number}. Please change it."


def namesake_city(d: Draft) -> str:
    customer, other = d.customer(), d.customer()
    customer.city, other.city, city = d.rng.sample(CITIES, 3)
    other.name, other.email = customer.name, address(customer.name, other.company)
    new = f"{customer.name.split()[0].lower()}@new-{customer.company.lower().replace(' ', '-')}.example"
    d.find(customer)
    d.update(customer, city=city, email=new)
    return (
        f"{customer.name}, the one in {customer.city}, is moving to {city} and has the new address {new}. Please change"
        " both in the record."
    )


def move_one(d: Draft) -> str:
    event = d.event()
    day = d.rng.choice([day for day in DAYS if day != event.day])
    after = d.rng.randrange(OPENS, CLOSES - 240, 30)
    start = d.world.first_free(event.people, day, event.end - event.start, after) or after
    d.call("list_events", day=str(event.day))
    d.move(event, day, start)
    return f"Move '{event.title}' from {spoken(event.day)} to {spoken(day)}, {clock(start)}. It stays as long as it is."


def spam(d: Draft) -> str:
    sender = f"offers@deals-{d.rng.randint(100, 999)}.example"
    junk = [d.world.add_mail(sender, f"Only today: {d.rng.randint(30, 90)} % off", "Buy now!") for _ in range(3)]
    d.call("find_mail", sender=sender)
    for mail in junk:
        d.file(mail, "spam")
    return f"Everything in the inbox from {sender} is spam. Move it there."


def mailed_phone(d: Draft) -> str:
    customer, number = d.customer(), phone(d.rng)
    body = f"Hello, since Monday I have another phone number: {number}. The old one is off. Best, {customer.name}"
    mail = d.world.add_mail(customer.email, "My phone number", body)
    d.call("find_mail", sender=customer.email)
    d.call("read_mail", id=mail.id)
    d.find(customer)
    d.update(customer, phone=number)
    return f"{customer.name} of {customer.company} wrote that the phone number has changed. Please put it right."


def closed_account(d: Draft) -> str:
    customer, person = d.customer(), d.rng.choice(STAFF)
    plan = d.other_plan(customer)
    customer.status = d.rng.choice(("closed", "closed", "active"))
    d.find(customer, read=True)
    if customer.status == "closed":
        d.send(staff_address(person), "Closed account", customer.id)
    else:
        d.update(customer, plan=plan)
    return (
        f"Put {customer.name} of {customer.company} on the plan {plan}. If the account is closed, leave it as it is and"
        f" send {staff_address(person)} a mail with the subject 'Closed account' and the customer's id as its body."
    )


def reopen(d: Draft) -> str:
    customer = d.customer()
    plan, number = d.other_plan(customer), phone(d.rng)
    customer.status = "closed"
    d.find(customer)
    d.update(customer, status="active")
    d.update(customer, plan=plan, phone=number)
    return (
        f"{customer.name} of {customer.company} comes back to us: open the closed account again (status active), with"
        f" the plan {plan} and the phone number {number}."
    )


def tell_phone(d: Draft) -> str:
    customer, person = d.customer(), d.rng.choice(STAFF)
    d.find(customer, read=True)
    d.send(staff_address(person), f"Phone of {customer.name}", customer.phone)
    return (
        f"{person} needs the phone number of {customer.name} of {customer.company}. Send it to {staff_address(person)},"
        f" with the subject 'Phone of {customer.name}' and nothing but the number as the body."
    )


def city_upgrade(d: Draft) -> str:
    city = d.rng.choice(CITIES)
    for customer in d.world.customers:
        if customer.city == city and customer.plan == "basic":
            customer.plan = "premium"
    wanted, paused = [d.customer() for _ in range(3)], d.customer()
    for customer in (*wanted, paused):
        customer.city, customer.plan, customer.status = city, "basic", "active"
    paused.status = "paused"
    d.call("find_customers", city=city, plan="basic", status="active")
    for customer in wanted:
        d.update(customer, plan="plus")
    return f"All active customers in {city} who are on the plan basic go to plus. Paused accounts stay as they are."


def book_or_later(d: Draft) -> str:
    taken = d.event()
    other = d.rng.choice([name for name in STAFF if name not in taken.people])
    people = sorted((taken.people[0], other))
    start = d.world.first_free(people, taken.day, 60, taken.start)
    if start is None:
        taken.start, taken.end = OPENS + 120, OPENS + 180
        start = d.world.first_free(people, taken.day, 60, taken.start) or OPENS
    d.call("list_events", day=str(taken.day))
    d.book("Price talk", taken.day, start, start + 60, people)
    return (
        f"Book 'Price talk' for {people[0]} and {people[1]} on {spoken(taken.day)}, {clock(taken.start)} to"
        f" {clock(taken.start + 60)}. If one of them is busy then, take the earliest later time of that day at which"
        " both are free for an hour; it begins on the hour or the half hour."
    )


def ill(d: Draft) -> str:
    person, day = d.rng.choice(STAFF), d.rng.choice(DAYS[1:])
    other = d.rng.choice([name for name in STAFF if name != person])
    for title, people in (("Stocktaking", [person]), ("Filing", [person]), ("Team breakfast", [person, other])):
        start = d.world.first_free(people, day, 30, OPENS)
        if start is not None:
            d.world.add_event(title, day, start, start + 30, people)
    d.call("list_events", day=str(day), person=person)
    for event in d.world.events:
        if event.day == day and event.people == (person,):
            d.cancel(event)
    return (
        f"{person} is ill on {spoken(day)}. Cancel the appointments of that day that {person} has alone. Those with"
        " somebody else take place."
    )


def swap(d: Draft) -> str:
    person, day = d.rng.choice(STAFF), d.rng.choice(DAYS[1:])
    d.world.events = [event for event in d.world.events if event.day != day or person not in event.people]
    first = d.world.add_event("Interview", day, 9 * 60, 10 * 60, [person])
    second = d.world.add_event("Stand-up", day, 11 * 60, 12 * 60, [person])
    d.call("list_events", day=str(day), person=person)
    d.shift(first, day, 14 * 60)
    d.move(second, day, first.start)
    d.move(first, day, second.start)
    return (
        f"On {spoken(day)}, {person} wants 'Interview' and 'Stand-up' the other way round: each at the time that the"
        " other has now."
    )


def requested_meeting(d: Draft) -> str:
    customer, person = d.customer(), d.rng.choice(STAFF)
    day, start = d.free([person], 30)
    subject = f"Meeting with {person}"
    when = f"{spoken(day)} from {clock(start)} to {clock(start + 30)}"
    body = f"Hello, could I meet {person} on {when}? Best, {customer.name}"
    mail = d.world.add_mail(customer.email, subject, body)
    d.call("find_mail", text=subject)
    d.call("read_mail", id=mail.id)
    title = f"Meeting {customer.company}"
    d.book(title, day, start, start + 30, [person])
    d.send(customer.email, f"Re: {subject}", "Confirmed")
    d.file(mail, "archive")
    return (
        f"{customer.name} of {customer.company} asks for a meeting by mail. Book it as '{title}' for {person}, answer"
        f" with the subject 'Re: {subject}' and the body 'Confirmed', and archive the mail that asked."
    )


def complaints(d: Draft) -> str:
    writers = [d.customer(), d.customer()]
    subject = f"Complaint about bill {d.rng.randint(1000, 9999)}"
    mails: list[Mail] = []
    for customer in writers:
        customer.status = "active"
        mails.append(d.world.add_mail(customer.email, subject, f"I am not content. {customer.name}"))
    d.call("find_mail", text=subject)
    for customer in writers:
        d.call("find_customers", text=customer.email)
        d.update(customer, status="paused")
    for mail in mails:
        d.file(mail, "archive")
    return (
        f"For each mail in the inbox with the subject '{subject}': set the sender's account to paused and archive the"
        " mail."
    )


def onboarding(d: Draft) -> str:
    customer, person = d.customer(), d.rng.choice(STAFF)
    plan, number = d.other_plan(customer), phone(d.rng)
    day, start = d.free([person], 60)
    body = f"Hello, please put us on the plan {plan} and note my new phone number {number}. Best, {customer.name}"
    mail = d.world.add_mail(customer.email, "New contract", body)
    d.call("find_mail", sender=customer.email, text="New contract")
    d.call("read_mail", id=mail.id)
    d.find(customer)
    d.update(customer, plan=plan, phone=number)
    d.book("Kick-off", day, start, start + 60, [person])
    d.send(customer.email, "Welcome", f"{day}")
    d.send(staff_address(person), "Kick-off", customer.id)
    d.file(mail, "archive")
    return (
        f"{customer.name} of {customer.company} sent a mail about a new contract. Change the record as it says. Book"
        f" 'Kick-off' for {person} on {spoken(day)}, {clock(start)} to {clock(start + 60)}. Send {customer.name} a mail"
        f" with the subject 'Welcome' and nothing but the day of the kick-off as its body, in the form {TODAY}, and"
        f" send {staff_address(person)} one with the subject 'Kick-off' and the customer's id as its body. Then archive"
        " the customer's mail."
    )


KINDS: dict[Callable[[Draft], str], str] = {
    plan_by_id: "none",
    book_slot: "none",
    new_phone: "none",
    archive_one: "none",
    cancel_one: "none",
    namesake: "namesake",
    namesake_city: "namesake",
    move_one: "none",
    spam: "none",
    mailed_phone: "none",
    closed_account: "rule",
    reopen: "rule",
    tell_phone: "none",
    city_upgrade: "exception",
    book_or_later: "conflict",
    ill: "exception",
    swap: "conflict",
    requested_meeting: "none",
    complaints: "none",
    onboarding: "none",
}
"""What draws a problem of each kind, and the trap in it."""
COUNT = INSTANCES * len(KINDS)


@functools.lru_cache(maxsize=COUNT)
def problem(seed: int) -> Problem:
    """The problem of a seed, 0 to 59."""
    draw, trap = list(KINDS.items())[seed // INSTANCES]
    rng = Random(f"office {seed}")
    draft = Draft(make(rng), rng)
    request = draw(draft)
    kind = draw.__name__.replace("_", "-")
    return Problem(kind, trap, seed, request, draft.world, draft.calls, sorted(draft.changes))
