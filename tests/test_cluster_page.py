"""Each number of docs/cluster.md on what scales is in the results of its benchmark."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "cluster.md").read_text()
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
# The first cell of each row, and where its numbers are: the scenario and its figures.
SIMULATED = {
    "load 0.6: utilisation; p99 of a request": ("even, load 0.6", "utilisation", "p99_s"),
    "load 0.9: utilisation; p99": ("even, load 0.9", "utilisation", "p99_s"),
    "a quarter of the devices at half speed, load 0.8: share of the time that env runners wait; "
    "p99": ("a quarter at half speed, load 0.8", "share_that_runners_waited", "p99_s"),
    "2 % of the actors (one at least) lost for 20 s, load 0.6: share of the time that env runners "
    "wait; longest request": ("{lost} lost, load 0.6", "share_that_runners_waited", "longest_s"),
}
DRIVER = {
    "frames that reach the learner, GB": ["gigabytes_of_frames_an_iteration"],
    "calls from the driver to actors": ["calls_to_actors_an_iteration", "seconds_of_them"],
    "reports from env runners": ["reports_of_env_runners_an_iteration"],
    "names that are looked up at the start, at one head node": [
        "names_looked_up_at_the_start",
        "seconds_of_them_at_one_head_node",
    ],
}


def figures(benchmark):
    return json.loads((DOCS / "benchmarks" / f"{benchmark}.json").read_text())["figures"]


SIMULATION = figures("scale_simulation")


def rows_from(first):
    """The cells of the table that has a row which begins so, by their first cell."""
    (table,) = [part for part in PAGE.split("\n\n") if f"\n| {first} |" in part]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    sizes = [tuple(numbers(cell)) for cell in rows[0][1:]]
    assert len(sizes) == 4
    return sizes, {row[0]: row[1:] for row in rows[2:]}


def numbers(text):
    return [int(found.replace(",", "")) for found in NUMBER.findall(text)]


def assert_rounded(text, *values):
    """The numbers in the text are the values, rounded to the digits that the text has."""
    found = [Decimal(each.replace(",", "")) for each in NUMBER.findall(text)]
    assert len(found) == len(values), text
    for number, value in zip(found, values, strict=True):
        last_digit = Decimal(1).scaleb(number.as_tuple().exponent)
        assert abs(number - Decimal(str(value))) <= last_digit / 2, (text, value)


def test_a_number_may_be_rounded_and_not_changed():
    assert_rounded("0.59; 9.1 s", 0.585, 9.0557)
    assert_rounded("11,024, 2.5 s", 11024, 2.496)
    for text, value in (("0.59", 0.58), ("9.1 s", 9.2), ("10,240,000", 11024)):
        with pytest.raises(AssertionError):
            assert_rounded(text, value)


def test_the_table_of_the_simulation_is_what_was_simulated():
    sizes, rows = rows_from(next(iter(SIMULATED)))
    assert rows.keys() == SIMULATED.keys()
    for first, (scenario, *names) in SIMULATED.items():
        for (actors, runners), cell in zip(sizes, rows[first], strict=True):
            name = scenario.format(lost=max(1, actors // 50))
            found = SIMULATION["scenarios"][f"{actors} actors, {runners} env runners: {name}"]
            found = {**found, "p99_s": found["p99_ms"] / 1000}
            assert_rounded(cell, *(found[each] for each in names))


def test_the_table_of_the_driver_is_what_was_counted():
    sizes, rows = rows_from(next(iter(DRIVER)))
    assert rows.keys() == DRIVER.keys()
    for first, names in DRIVER.items():
        for (actors, runners), cell in zip(sizes, rows[first], strict=True):
            found = SIMULATION["driver"]["at"][f"{actors} actors, {runners} env runners"]
            assert_rounded(cell, *(found[each] for each in names))


def said(pattern, page=PAGE):
    """The one place of a page that matches, in which words may be in two lines."""
    (found,) = re.findall(pattern.replace(" ", r"\s+"), page)
    return found


def test_the_sentences_have_the_numbers_of_the_benchmarks():
    ratios = [each["simulated_over_measured"] for each in SIMULATION["measured"].values()]
    assert_rounded(said(r"gives ([\d.]+ to [\d.]+) times the measured"), min(ratios), max(ratios))
    costs = SIMULATION["driver"]["costs"]
    assert_rounded(said(r"at (\S+ µs for a name)"), costs["name_us"])
    assert_rounded(said(r"and (\S+ µs for a call)"), costs["call_us"])
    scaling = figures("scaling")
    eight, nodes = scaling["scaling_efficiency"]["8"], scaling["scaling_efficiency_2_nodes"]
    assert_rounded(said(r"8 actors give ([\d.]+) of 8 times"), eight["median"])
    assert_rounded(said(r"Ray nodes ([\d.]+) of twice"), nodes["median"])
    sent = SIMULATION["driver"]["at"]["64 actors, 640 env runners"]
    gigabytes = said(r"640 env runners send it (\d+) GB")
    assert_rounded(gigabytes, sent["gigabytes_of_frames_an_iteration"])


def test_a_shorter_timeout_helps_or_ends_the_run_as_the_page_says():
    def lost(actors, runners, number, rest=""):
        key = f"{actors} actors, {runners} env runners: {number} lost, load 0.6{rest}"
        return SIMULATION["scenarios"][key]

    assert "they wait half as long where one of 16 or 64 actors is lost" in PAGE
    for size in ((16, 160, 1), (64, 640, 1)):
        waited = [lost(*size, rest)["share_that_runners_waited"] for rest in ("", ", timeout_s 5")]
        assert waited[1] / waited[0] == pytest.approx(0.5, abs=0.1)
    assert said(r"with 5 of 256 lost, a request was late twice, which ends a run")
    assert lost(256, 2560, 5, ", timeout_s 5").keys() == {"run_ended_after_s"}


@pytest.mark.parametrize("page", ["docs/cluster.md", "docs/serving.md", "CHANGELOG.md"])
def test_the_time_of_a_choice_is_what_was_measured(page):
    measured = figures("routing")["choice_us"]["better_of_two"]
    text = (ROOT / page).read_text()
    for actors in ("1,024", "8"):
        median = measured[actors.replace(",", "")]["median"]
        assert_rounded(said(rf"(\d[\d.]*) µs with {actors}\b", text), median)


def test_the_row_of_a_choice_is_what_was_measured():
    measured = figures("routing")["choice_us"]
    (row,) = re.findall(
        r"^\| `choice_us`, 1,024 actors (\|.*)$", (DOCS / "benchmarks.md").read_text(), re.MULTILINE
    )
    two, least = measured["better_of_two"], measured["least_of_all"]
    _, median, spread, _, rest, _ = row.split("|")
    assert_rounded(median, two["1024"]["median"])
    assert_rounded(spread, two["1024"]["lowest"], two["1024"]["highest"])
    assert_rounded(said(r"\[(\d+) µs for a look at all", rest), least["1024"]["median"])
    few = said(r"with 8 actors ([\d.]+ \([\d.]+ – [\d.]+\) and [\d.]+)", rest)
    assert_rounded(
        few, *(two["8"][name] for name in ("median", "lowest", "highest")), least["8"]["median"]
    )


@pytest.mark.parametrize("benchmark", ["scale_simulation", "routing"])
def test_a_result_names_its_commit_and_no_path_of_a_machine(benchmark):
    text = (DOCS / "benchmarks" / f"{benchmark}.json").read_text()
    assert re.findall(r'"commit": "([^"]*)"', text) == [json.loads(text)["commit"]]
    assert not re.search(r'[" =]/\w', text)
