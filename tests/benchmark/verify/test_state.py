import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.benchmark.verify.state import difference, state, tables
from assay.types import Score

SAME: list[tuple[Any, Any]] = [
    ({}, {}),
    ([], []),
    ([], ()),
    (None, None),
    ("a", "a"),
    (1, 1.0),
    (True, True),
    (b"a", b"a"),
    ([1, [2]], [1, [2]]),
    ([1, 2], (1, 2)),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": {"b": [{"c": None}]}}, {"a": {"b": [{"c": None}]}}),
]
DIFFERENT: list[tuple[Any, Any, list[str]]] = [
    (1, 2, ["the state: expected 1, got 2"]),
    (1, True, ["the state: expected 1, got true"]),
    (0, False, ["the state: expected 0, got false"]),
    (1, "1", ['the state: expected 1, got "1"']),
    (None, "", ['the state: expected null, got ""']),
    (None, 0, ["the state: expected null, got 0"]),
    (None, {}, ["the state: expected null, got {}"]),
    ({}, [], ["the state: expected {}, got []"]),
    ([], {}, ["the state: expected [], got {}"]),
    ("ab", ["a", "b"], ['the state: expected "ab", got ["a", "b"]']),
    ("a", "A", ['the state: expected "a", got "A"']),
    ("a", "a ", ['the state: expected "a", got "a "']),
    ("a", b"a", ['the state: expected "a", got "b\'a\'"']),
    ([1, 2], [2, 1], ["0: expected 1, got 2", "1: expected 2, got 1"]),
    ([1], [1, 2], ["1: should not be there, got 2"]),
    ([1, 2], [1], ["1: expected 2, got nothing"]),
    ([], [None], ["0: should not be there, got null"]),
    ([0], {0: 0}, ['the state: expected [0], got {"0": 0}']),
    ({"a": 1}, {}, ["a: expected 1, got nothing"]),
    ({}, {"a": 1}, ["a: should not be there, got 1"]),
    ({"a": None}, {}, ["a: expected null, got nothing"]),
    ({"a": {}}, {}, ["a: expected {}, got nothing"]),
    ({"a": 1}, {"A": 1}, ["a: expected 1, got nothing", "A: should not be there, got 1"]),
    ({"1": 1}, {1: 1}, ["1: expected 1, got nothing", "1: should not be there, got 1"]),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c: expected 2, got 3"]),
    ({"a": {"b": 1}}, {"a": 1}, ['a: expected {"b": 1}, got 1']),
    ({"a": {"b": 1, "c": 2}}, {}, ['a: expected {"b": 1, "c": 2}, got nothing']),
    ({"é": "ü"}, {"é": "u"}, ['é: expected "ü", got "u"']),
    (0.1 + 0.2, 0.3, ["the state: expected 0.30000000000000004, got 0.3"]),
]


@pytest.mark.parametrize(("expected", "got"), SAME)
def test_what_is_the_same_state(expected: Any, got: Any):
    assert difference(expected, got) == []
    assert state(expected, got) == Score(reward=1.0, metrics={"share": 1.0, "differences": 0.0})


@pytest.mark.parametrize(("expected", "got", "told"), DIFFERENT)
def test_what_is_another_state_is_told(expected: Any, got: Any, told: list[str]):
    assert difference(expected, got) == told
    score = state(expected, got)
    assert score.reward == 0 and score.metrics["share"] < 1 and score.answer == "\n".join(told)


BEFORE = {"mail": {"1": {"to": "ann", "read": 0}, "2": {"to": "bob", "read": 0}}, "log": []}
READ_1 = {**BEFORE, "mail": {**BEFORE["mail"], "1": {"to": "ann", "read": 1}}}
READ_BOTH = {**BEFORE, "mail": {"1": {"to": "ann", "read": 1}, "2": {"to": "bob", "read": 1}}}
DELETED = {**BEFORE, "mail": {}}


@pytest.mark.parametrize(
    ("expected", "got", "share"),
    [
        (READ_1, READ_1, 1.0),
        (READ_1, BEFORE, 0.0),
        (READ_1, READ_BOTH, 0.5),
        (READ_BOTH, READ_1, 0.5),
        (READ_BOTH, BEFORE, 0.0),
        (BEFORE, BEFORE, 1.0),
        (BEFORE, READ_1, 0.0),
        (DELETED, DELETED, 1.0),
        (DELETED, BEFORE, 0.0),
        (BEFORE, DELETED, 0.0),
    ],
)
def test_to_do_nothing_or_too_much_is_worth_less_than_to_do_what_was_asked(expected: Any, got: Any, share: float):
    score = state(expected, got, before=BEFORE)
    assert (score.reward, score.metrics["share"]) == (float(expected == got), share)


def test_without_the_state_before_every_value_counts():
    assert state({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "e": 3}}).metrics["share"] == 0.5


def test_many_differences_are_told_in_part():
    answer = state(list(range(80)), []).answer
    assert answer is not None and len(answer.splitlines()) == 51 and answer.endswith("and 30 more")


@pytest.fixture
def database():
    database = sqlite3.connect(":memory:")
    database.executescript("""
        CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT, photo BLOB);
        CREATE TABLE visits (day TEXT, customer INTEGER, PRIMARY KEY (customer, day)) WITHOUT ROWID;
        CREATE TABLE "a ""log" (line TEXT);
        CREATE TABLE empty (id INTEGER PRIMARY KEY);
        INSERT INTO customers VALUES (3, 'a@x', x'00ff'), (1, NULL, NULL);
        INSERT INTO visits VALUES ('mon', 3), ('tue', 1);
        INSERT INTO "a ""log" VALUES ('two'), ('one');
    """)
    yield database
    database.close()


def test_the_rows_of_a_database_are_told_apart_by_their_key(database: sqlite3.Connection):
    before = tables(database)
    assert before == {
        'a "log': [{"line": "one"}, {"line": "two"}],
        "customers": {
            "3": {"id": 3, "email": "a@x", "photo": "x'00ff'"},
            "1": {"id": 1, "email": None, "photo": None},
        },
        "empty": {},
        "visits": {"mon,3": {"day": "mon", "customer": 3}, "tue,1": {"day": "tue", "customer": 1}},
    }
    database.executescript("UPDATE customers SET email = 'b@x' WHERE id = 3; DELETE FROM visits WHERE day = 'tue'")
    assert difference(before, tables(database)) == [
        'customers.3.email: expected "a@x", got "b@x"',
        'visits.tue,1: expected {"day": "tue", "customer": 1}, got nothing',
    ]


def test_the_order_in_which_rows_were_written_does_not_matter(database: sqlite3.Connection):
    before = tables(database)
    database.executescript("""
        CREATE TABLE copy AS SELECT * FROM visits ORDER BY day DESC; DELETE FROM visits;
        INSERT INTO visits SELECT day, customer FROM copy; DROP TABLE copy;
    """)
    assert difference(before, tables(database)) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_a_state_is_always_the_same_as_itself(value: Any):
    assert difference(value, value) == [] and state(value, value).metrics["share"] == 1


@given(values, values, values)
def test_a_reward_is_full_exactly_where_nothing_differs_and_the_share_is_one(expected: Any, got: Any, before: Any):
    for score in (state(expected, got), state(expected, got, before=before)):
        assert 0 <= score.metrics["share"] <= 1
        assert (score.reward == 1) == (difference(expected, got) == []) == (score.metrics["share"] == 1)


@given(values, values)
def test_a_difference_does_not_depend_on_which_side_it_is_seen_from(one: Any, other: Any):
    assert len(difference(one, other)) == len(difference(other, one))


def test_a_large_state_takes_linear_time():
    rows = {str(n): {"id": n, "text": "x"} for n in range(50_000)}
    assert state(rows, {**rows, "7": {}}, before=rows).metrics["share"] == 0
