"""Cron as Kubeflow's scheduler reads it."""

from __future__ import annotations

import datetime
import itertools

import pytest

from kubeflow.api.cron import check, next_times
from pipeline.config.config import ConfigError
from tests.fixtures.robfig_cron import read_cron

NOW = datetime.datetime(2026, 3, 28, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 3 * * *",
        "*/10 * * * * *",
        "0 0 0 1-7 jan,JUL mon-fri",
        "0 0 0 ? * sun",
        "0 5/15 * * * *",
    ],
)
def test_good_ones(expression):
    assert check(expression) == expression
    assert len(next_times(expression, "UTC", now=NOW)) == 5


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 3 * * *", "write '0 0 3 \\* \\* \\*'"),
        ("", "must have six fields"),
        ("0 0 3 * * * 2026", "must have six fields"),
        ("61 0 3 * * *", "second '61': must be 0 to 59"),
        ("0 0 24 * * *", "hour '24': must be 0 to 23"),
        ("0 0 0 0 * *", "day of the month '0': must be 1 to 31"),
        ("0 0 0 * foo *", "month 'foo': must be 1 to 12 or jan-dec"),
        ("0 0 0 * * 7", "day of the week '7': must be 0 to 6"),
        ("0 0 5-3 * * *", "the range ends before it begins"),
        ("0 */0 * * * *", "the step must be 1"),
        ("0 0 L * * *", "must be 0 to 23"),
        ("@daily", "must have six fields"),
    ],
)
def test_bad_ones(expression, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check(expression)
    assert "\n" not in str(caught.value)


def test_times_are_those_of_the_zone_across_the_change_of_clocks():
    times = next_times("0 0 3 * * *", "Europe/Berlin", now=NOW)
    assert [time.hour for time in times] == [3] * 5
    assert [time.utcoffset().total_seconds() / 3600 for time in times] == [2] * 5
    assert times[0].day == 29


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 0 13 * fri", [3, 10, 13]),  # either, where both are restricted
        ("0 0 0 */2 * mon", [13, 27, 11]),  # both, where one holds a star
        ("0 0 0 1-31 * mon", [29, 30, 31]),  # every day of the month: either is always met
    ],
)
def test_days_are_those_of_the_backend(expression, days):
    times = next_times(expression, "UTC", count=3, now=NOW)
    assert [time.day for time in times] == days


@pytest.mark.parametrize(
    "expression",
    ["0 0 0 13 * fri", "0 0 0 */2 * mon", "0 0 0 1-31 * mon", "0 0 0 1,15 feb-apr ?",
     "*/20 5/25 1-3 * * tue", "0 0 12 ? */4 sun,sat"],
)  # fmt: skip
def test_times_agree_with_the_backend(expression):
    found = next_times(expression, "UTC", count=4, now=NOW)
    assert found == list(itertools.islice(firings(read_cron(expression), NOW), 4))


def firings(fields, after):
    """When robfig/cron 1.2 fires: its rule for a day, then every time of such a day."""
    (seconds, _), (minutes, _), (hours, _), (days, day_star), (months, _), (weekdays, star) = fields
    for passed in itertools.count():
        date = after.date() + datetime.timedelta(days=passed)
        day, weekday = date.day in days, date.isoweekday() % 7 in weekdays
        fits = (day and weekday) if day_star or star else (day or weekday)
        if fits and date.month in months:
            for at in itertools.product(*map(sorted, (hours, minutes, seconds))):
                time = datetime.datetime.combine(date, datetime.time(*at), datetime.UTC)
                if time > after:
                    yield time


def test_seconds_come_first():
    first, second, *_ = next_times("30 0 * * * *", "UTC", now=NOW)
    assert (first.second, first.minute) == (30, 0)
    assert second - first == datetime.timedelta(hours=1)


def test_a_date_that_never_comes():
    with pytest.raises(ConfigError, match="never comes"):
        next_times("0 0 0 30 2 *", "UTC", now=NOW)


def test_an_unknown_time_zone():
    with pytest.raises(ConfigError, match="--time-zone Mars/Base: unknown"):
        next_times("0 0 3 * * *", "Mars/Base")
