"""One threshold is described in the same words wherever it is shown."""

from __future__ import annotations

import math
import re

import pytest

from components.evaluator.gate import HIGHER_IS_BETTER, LOWER_IS_BETTER
from components.evaluator.results import Check, describe_check
from pipeline.config import config
from pipeline.report import judgement
from tests import ROOT


def check(metric: str, rule: str, limit: float) -> Check:
    return Check(metric, rule, limit, 0.5, 0.4, False)


@pytest.mark.parametrize("metric", sorted(LOWER_IS_BETTER | HIGHER_IS_BETTER))
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (-0.1, "at least 10% better than the last release"),
        (-0.125, "at least 12.5% better than the last release"),
        (0.0, "no worse than the last release"),
        (-0.0, "no worse than the last release"),
        (0.05, "at most 5% worse than the last release"),
        (0.001, "at most 0.1% worse than the last release"),
        (2.0, "at most 200% worse than the last release"),
    ],
)
def test_a_change(metric, limit, words):
    found = check(metric, "worse_by", limit)
    assert describe_check(found) == words
    assert judgement._rule(found) == words
    assert judgement._missed(found).partition(", allowed ")[2].startswith(words)


@pytest.mark.parametrize(
    ("metric", "rule", "words", "on_the_page"),
    [
        ("nmse", "max", "at most 0.04", "at most 0.04"),
        ("perplexity", "min", "at least 0.04", "at least 0.04"),
        ("code_usage", "min", "at least 0.04", "at least 4 %"),
    ],
)
def test_a_bound(metric, rule, words, on_the_page):
    assert describe_check(check(metric, rule, 0.04)) == words
    assert judgement._rule(check(metric, rule, 0.04)) == on_the_page


def test_a_value_that_is_missing():
    found = Check("nmse", "number", math.nan, math.nan, None, False)
    assert describe_check(found) == judgement._rule(found) == "a number"


def test_the_examples_in_the_documents_say_the_same():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    configuration = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    thresholds = config.load("digits").gate.thresholds
    words = [
        describe_check(check("nmse", rule, getattr(thresholds["nmse"], rule)))
        for rule in ("max", "worse_by")
    ]
    assert re.search(rf"^nmse .*  {', '.join(words)} ", readme, re.MULTILINE)
    assert f"# {words[0]}, and {words[1]}" in configuration
