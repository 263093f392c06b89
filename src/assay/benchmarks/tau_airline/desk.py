"""The airline's fourteen tools over its data base, written from their schemas and from recorded answers.

What a tool says and what it leaves unchecked is the original's: the rules stand in the policy, for the agent to keep.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.benchmarks.zeroeval import arithmetic

Record = dict[str, Any]
NOW = "2024-05-15T15:00:00"
IDS = ("HATHAT", "HATHAU", "HATHAV")
"""Ids of reservations that are made. A fourth one in a conversation takes the place of the third."""
CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
BAG, INSURANCE = 50, 30
"""Dollars of a checked bag that is not free, and of the insurance of a passenger."""
AIRPORTS = {
    "SFO": "San Francisco",
    "JFK": "New York",
    "LAX": "Los Angeles",
    "ORD": "Chicago",
    "DFW": "Dallas",
    "DEN": "Denver",
    "SEA": "Seattle",
    "ATL": "Atlanta",
    "MIA": "Miami",
    "BOS": "Boston",
    "PHX": "Phoenix",
    "IAH": "Houston",
    "LAS": "Las Vegas",
    "MCO": "Orlando",
    "EWR": "Newark",
    "CLT": "Charlotte",
    "MSP": "Minneapolis",
    "DTW": "Detroit",
    "PHL": "Philadelphia",
    "LGA": "LaGuardia",
}
TRANSFER = "transfer_to_human_agents"
"""The tool that ends a conversation."""


class Refused(Exception):
    """What a tool refuses; its message follows "Error: "."""


class Desk:
    """The data base of one conversation. Users and reservations are copied when they are looked at; flights stay."""

    def __init__(self, users: Mapping[str, Record], flights: Mapping[str, Record], reservations: Mapping[str, Record]):
        self._first = {"users": users, "reservations": reservations}
        self._now: dict[str, dict[str, Record]] = {"users": {}, "reservations": {}}
        self._flights = flights

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Returns what a tool answers: text, or JSON as Python writes it."""
        method: Callable[..., Any] | None = TOOLS.get(name)
        if method is None:
            return f"Unknown action {name}"
        try:
            said = method(self, **copy.deepcopy(dict(arguments)))
        except Refused as refused:
            return f"Error: {refused}"
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:  # arguments of another form
            return f"Error: {error}"
        return said if isinstance(said, str) else json.dumps(said)

    def changes(self) -> str:
        """Returns what differs from the data base at first. Two that are equal leave the same data base behind."""
        changed = {
            kind: {key: record for key, record in records.items() if _text(record) != _text(self._first[kind].get(key))}
            for kind, records in self._now.items()
        }
        return _text(changed)

    def user(self, user_id: str) -> Record:
        return self._record("users", user_id, "user not found")

    def reservation(self, reservation_id: str) -> Record:
        return self._record("reservations", reservation_id, "reservation not found")

    def _record(self, kind: str, key: str, absent: str) -> Record:
        now = self._now[kind]
        if key not in now:
            if key not in self._first[kind]:
                raise Refused(absent)
            now[key] = copy.deepcopy(self._first[kind][key])
        return now[key]

    def book(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: str,
        cabin: str,
        flights: Sequence[Record],
        passengers: list[Record],
        payment_methods: list[Record],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: str,
    ) -> Record:
        user = self.user(user_id)
        taken = {*self._first["reservations"], *self._now["reservations"]}
        reservation_id = next((one for one in IDS if one not in taken), IDS[-1])
        legs = [{**flight, **self._seat(flight, cabin, len(passengers))} for flight in flights]
        price = sum(leg["price"] for leg in legs) * len(passengers) + BAG * nonfree_baggages
        price += INSURANCE * len(passengers) if insurance == "yes" else 0
        for payment in payment_methods:
            method = user["payment_methods"].get(payment["payment_id"])
            if method is None:
                raise Refused(f"payment method {payment['payment_id']} not found")
            if method["source"] != "credit_card" and method["amount"] < payment["amount"]:
                raise Refused(f"not enough balance in payment method {payment['payment_id']}")
        paid = sum(payment["amount"] for payment in payment_methods)
        if paid != price:
            raise Refused(f"payment amount does not add up, total price is {price}, but paid {paid}")
        for payment in payment_methods:
            method = user["payment_methods"][payment["payment_id"]]
            if method["source"] == "gift_card":
                method["amount"] -= payment["amount"]
            elif method["source"] == "certificate":
                user["payment_methods"].pop(payment["payment_id"])
        reservation = {
            "reservation_id": reservation_id,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": legs,
            "passengers": passengers,
            "payment_history": payment_methods,
            "created_at": NOW,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
        }
        self._now["reservations"][reservation_id] = reservation
        user["reservations"].append(reservation_id)
        return reservation

    def cancel(self, reservation_id: str) -> Record:
        reservation = self.reservation(reservation_id)
        paid = reservation["payment_history"]
        paid += [{"payment_id": one["payment_id"], "amount": -one["amount"]} for one in paid]
        reservation["status"] = "cancelled"
        return reservation

    def search_direct(self, origin: str, destination: str, date: str) -> list[Record]:
        return [
            self._offer(flight, date)
            for flight in self._flights.values()
            if flight["origin"] == origin and flight["destination"] == destination and _available(flight, date)
        ]

    def search_onestop(self, origin: str, destination: str, date: str) -> list[list[Record]]:
        found: list[list[Record]] = []
        for first in self._flights.values():
            if first["origin"] != origin or not _available(first, date):
                continue
            next_day = "+1" in first["scheduled_arrival_time_est"]
            then = f"2024-05-{int(date[-2:]) + 1}" if next_day else date
            found += [
                # The original shows the seats and prices of the first day for a flight of the next one, too.
                [self._offer(first, date) | {"date": date}, self._offer(second, date) | {"date": then}]
                for second in self._flights.values()
                if second["destination"] == destination
                and second["origin"] == first["destination"]
                and first["scheduled_arrival_time_est"] <= second["scheduled_departure_time_est"]
                and _available(second, then)
            ]
        return found

    def send_certificate(self, user_id: str, amount: float) -> str:
        methods = self.user(user_id)["payment_methods"]
        free = next((one for one in CERTIFICATES if one not in methods), None)
        if free is None:
            raise Refused("too many certificates")
        methods[free] = {"source": "certificate", "amount": amount, "id": free}
        return f"Certificate {free} added to user {user_id} with amount {amount}."

    def update_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> Record:
        reservation = self.reservation(reservation_id)
        self._charge(reservation, payment_id, BAG * max(0, nonfree_baggages - reservation["nonfree_baggages"]))
        reservation["total_baggages"] = total_baggages
        reservation["nonfree_baggages"] = nonfree_baggages
        return reservation

    def update_flights(self, reservation_id: str, cabin: str, flights: Sequence[Record], payment_id: str) -> Record:
        """The cabin of the reservation itself stays as it was."""
        reservation = self.reservation(reservation_id)
        people = len(reservation["passengers"])
        before = {(leg["flight_number"], leg["date"]): leg for leg in reservation["flights"]}
        legs: list[Record] = []
        for flight in flights:
            kept = before.get((flight["flight_number"], flight["date"])) if cabin == reservation["cabin"] else None
            priced = {name: kept[name] for name in ("price", "origin", "destination")} if kept else None
            legs.append({**flight, **(priced or self._seat(flight, cabin, people))})
        more = (sum(leg["price"] for leg in legs) - sum(leg["price"] for leg in reservation["flights"])) * people
        self._charge(reservation, payment_id, more)
        reservation["flights"] = legs
        return reservation

    def update_passengers(self, reservation_id: str, passengers: list[Record]) -> Record:
        reservation = self.reservation(reservation_id)
        if len(passengers) != len(reservation["passengers"]):
            raise Refused("number of passengers does not match")
        reservation["passengers"] = passengers
        return reservation

    def _seat(self, flight: Record, cabin: str, people: int) -> Record:
        """Returns price, origin and destination of a flight that has seats left."""
        number, date = flight["flight_number"], flight["date"]
        known = self._flights.get(number)
        if known is None:
            raise Refused(f"flight {number} not found")
        if date not in known["dates"]:
            raise Refused(f"flight {number} not found on date {date}")
        if not _available(known, date):
            raise Refused(f"flight {number} not available on date {date}")
        day = known["dates"][date]
        if day["available_seats"][cabin] < people:
            raise Refused(f"not enough seats on flight {number}")
        return {"price": day["prices"][cabin], "origin": known["origin"], "destination": known["destination"]}

    def _charge(self, reservation: Record, payment_id: str, amount: float) -> None:
        """Notes a payment, or a refund, of a reservation that is changed."""
        method = self.user(reservation["user_id"])["payment_methods"].get(payment_id)
        if method is None:
            raise Refused("payment method not found")
        if method["source"] == "certificate":
            raise Refused("certificate cannot be used to update reservation")
        if method["source"] == "gift_card" and method["amount"] < amount:
            raise Refused("gift card balance is not enough")
        if method["source"] == "gift_card":
            method["amount"] -= amount
        if amount != 0:
            reservation["payment_history"].append({"payment_id": payment_id, "amount": amount})

    def _offer(self, flight: Record, date: str) -> Record:
        return {name: value for name, value in flight.items() if name != "dates"} | flight["dates"][date]

    def details(self, reservation_id: str) -> Record:
        """An unknown reservation is called an unknown user, as in the original."""
        return self._record("reservations", reservation_id, "user not found")

    def airports(self) -> Record:
        return AIRPORTS

    def calculate(self, expression: str) -> str:
        if set(expression) - set("0123456789+-*/(). "):
            raise Refused("invalid characters in expression")
        try:
            return str(round(arithmetic(expression), 2))
        except (SyntaxError, ArithmeticError, RecursionError, MemoryError) as error:
            raise Refused(str(error)) from None

    def think(self, thought: str) -> str:
        return ""

    def transfer(self, summary: str) -> str:
        return "Transfer successful"


TOOLS: Mapping[str, Callable[..., Any]] = {
    "book_reservation": Desk.book,
    "calculate": Desk.calculate,
    "cancel_reservation": Desk.cancel,
    "get_reservation_details": Desk.details,
    "get_user_details": Desk.user,
    "list_all_airports": Desk.airports,
    "search_direct_flight": Desk.search_direct,
    "search_onestop_flight": Desk.search_onestop,
    "send_certificate": Desk.send_certificate,
    "think": Desk.think,
    TRANSFER: Desk.transfer,
    "update_reservation_baggages": Desk.update_baggages,
    "update_reservation_flights": Desk.update_flights,
    "update_reservation_passengers": Desk.update_passengers,
}


def _available(flight: Record, date: str) -> bool:
    return flight["dates"].get(date, {}).get("status") == "available"


def _text(value: Any) -> str:
    """Returns a value as text, in which 50 and 50.0 differ, as they do in the original's digest."""
    return json.dumps(value, sort_keys=True)
