"""The parts agree with what was measured."""

import io
import json
import math

import pytest
from rich.console import Console

from rllib_vlm_reward.bench.breakdown import break_down
from rllib_vlm_reward.bench.iteration import Iteration
from rllib_vlm_reward.bench.limit import Limit, Way
from rllib_vlm_reward.bench.served import Served, read_load
from rllib_vlm_reward.bench.tables import save_picture, tables
from rllib_vlm_reward.errors import ConfigError

LOAD = read_load("small", "56x56", runners=2, actors=1, request=16, seconds=1.0)


def served(preprocess=0.001, forward=0.003, transport=0.001):
    whole = preprocess + forward
    way = Way(1, 2, 64, 1 / whole)
    limit = Limit(way, 1 / forward, "fp32", (way,))
    return Served(1 / (whole + transport), limit, 1 / whole, 30.0, preprocess, forward, transport)


@pytest.mark.parametrize(
    ("parts", "run", "bottleneck"),
    [
        ({}, None, "reward"),
        ({"transport": 0.1}, None, "transport"),
        # Neither half is the largest, but the CLIP as a whole is: 4 s of 9.
        ({"preprocess": 0.002, "forward": 0.002}, (1.0, 3.0), "reward"),
        ({}, (9.0, 1.0), "env"),
        ({}, (1.0, 9.0), "learner"),
    ],
)
def test_the_largest_part_is_named(parts, run, bottleneck):
    iteration = None
    if run is not None:
        env, learner = run
        iteration = Iteration(20.0, env + learner, learner, 1000, (56, 56), "deferred")
    found = break_down(LOAD, served(**parts), iteration)
    assert found.bottleneck == bottleneck
    shares = {part.name: part.share for part in found.parts}
    assert math.isclose(sum(shares.values()), 1.0)
    total = sum(part.seconds for part in found.parts)
    assert all(math.isclose(s.share, s.seconds / total) for s in found.parts)
    reward = shares["preprocess"] + shares["forward"]
    largest = max(reward, *(shares[name] for name in shares.keys() - {"preprocess", "forward"}))
    named = reward if bottleneck == "reward" else shares[bottleneck]
    assert named == largest
    assert f"{largest:.0%}" in found.sentence
    assert found.remedy


def test_a_runs_parts_are_seconds_of_an_iteration():
    iteration = Iteration(3.0, 2.0, 0.5, 200, (56, 56), "deferred")
    seconds = {part.name: part.seconds for part in break_down(LOAD, served(), iteration).parts}
    expected = {"env": 1.5, "transport": 0.2, "preprocess": 0.2, "forward": 0.6, "learner": 0.5}
    assert seconds == pytest.approx(expected)


def test_a_breakdown_is_json_tables_and_a_picture(tmp_path):
    found = break_down(LOAD, served(), Iteration(3.0, 2.0, 0.5, 200, (56, 56), "deferred"))
    read = json.loads(json.dumps(found.to_dict()))
    assert read["bottleneck"] == "env"
    assert read["served"]["frames_per_second"] == pytest.approx(200)
    assert read["iteration"]["seconds"] == 3.0
    console = Console(file=io.StringIO(), record=True, width=200)
    console.print(tables(found))
    text = console.export_text()
    assert all(name in text for name in ("env", "transport", "preprocess", "forward", "learner"))
    assert "3.00 s with the reward (deferred) and 2.00 s" in text
    save_picture(tmp_path / "shares.png", found)
    assert (tmp_path / "shares.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_measured_without_the_map_of_a_run_says_so():
    templates = [{"goal": "a {}", "noun": "a {}"}]
    changes = {"goal_map": True, "mode": "synchronous", "templates": templates}
    reward = LOAD.reward.model_copy(update={"encoder": "grounded", **changes})
    with_map = LOAD.model_copy(update={"reward": reward})
    for load, says in ((LOAD, ""), (with_map, "without goal_map")):
        found = break_down(load, served(), None)
        assert says in found.caveat
        assert bool(found.caveat) == bool(says)
        assert found.to_dict()["caveat"] == found.caveat
        console = Console(file=io.StringIO(), record=True, width=200)
        console.print(tables(found))
        text = console.export_text()
        assert ("goal_map" in text) == bool(says)


@pytest.mark.parametrize("frame", ["56", "56x", "axb", "56x56x3", "-5x5"])
def test_a_frame_that_is_no_size_is_refused(frame):
    with pytest.raises(ConfigError, match="HEIGHTxWIDTH"):
        read_load("small", frame, runners=1, actors=1, request=1, seconds=1.0)


def test_a_load_needs_an_encoder():
    with pytest.raises(ConfigError, match="--encoder"):
        read_load(None, "56x56", runners=1, actors=1, request=1, seconds=1.0)
