"""What each file of tune_experiments/ asks for is a search that can run."""

import importlib
import runpy
import types
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from ray.tune.search.variant_generator import generate_variants

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.connectors.map_reader import MapReader
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.settings import load_object

FOLDER = Path(__file__).parent.parent / "tune_experiments"
SEARCHES = ("goal_curriculum", "goal_curriculum_pbt", "reward_threshold")


def experiment(name):
    return runpy.run_path(str(FOLDER / f"{name}.py"))


def runs(space, draws=20):
    """Draw the space until there are at least `draws` runs: a grid may have more at once."""
    found = []
    while len(found) < draws:
        found += [Experiment.model_validate(drawn) for _, drawn in generate_variants(space)]
    return found


@pytest.mark.parametrize("size", ["quick", "cluster"])
@pytest.mark.parametrize("name", SEARCHES)
def test_every_draw_is_a_run(name, size):
    setting = experiment(name)[size]()
    for run in runs(setting.space):
        run.to_algorithm_config()


@pytest.mark.parametrize("size", ["quick", "cluster"])
def test_a_search_shows_in_training_nothing_that_is_held_out(size):
    """It is nobody's negative there, so a frame that shows it would fire for another goal."""
    (run, *_) = runs(experiment("goal_curriculum")[size]().space, draws=1)
    trained = " ".join(run.vlm_reward.training_goals.texts)
    things = {
        f"{color} {kind}"
        for color in run.environment["env_config"].get("colors", COLORS)
        for kind in KINDS
    }
    held_out = {thing for thing in things if thing not in trained}
    assert held_out
    assert set(run.environment["env_config"]["reserved"]) == held_out


@pytest.fixture(scope="module")
def gain():
    return experiment("curriculum_gain")


def test_curricula_are_compared_on_pairs_that_training_never_asks_for(gain):
    (first, *others) = runs(gain["space"](["uniform", "staged"], 5, 1000), draws=1)
    assert len(others) == 9
    reward = first.vlm_reward
    assert set(reward.training_goals.families) == {"find", "lift", "place"}
    evaluation = reward.goal_set.goals[len(reward.training_goals) :]
    assert {goal.family for goal in evaluation} == {"place"}

    def pair(text):
        return frozenset(text.removeprefix("put the ").split(" next to the "))

    asked = {pair(goal.text) for goal in reward.training_goals.goals}
    held_out = {pair(goal.text) for goal in evaluation}
    assert len(held_out) == 6
    assert not asked & held_out
    things = {thing for its in asked for thing in its}
    assert {thing for its in held_out for thing in its} <= things


def test_goals_are_held_out_of_words_that_training_knows():
    (first, *others) = runs(experiment("held_out_goals")["space"](5, 1000), draws=1)
    assert [run.seed for run in others] == [1, 2, 3, 4]
    first.to_algorithm_config()
    reward = first.vlm_reward
    held_out = set(reward.goal_set.texts[len(reward.training_goals) :])
    assert len(held_out) == 4
    assert not held_out & set(reward.training_goals.texts)
    trained = {word for text in reward.training_goals.texts for word in text.split()}
    assert {word for text in held_out for word in text.split()} <= trained


def test_each_curriculums_course_has_every_seed_of_each_report(gain):
    success = {("uniform", 0): 0.0, ("uniform", 1): 0.1, ("staged", 0): 0.6, ("staged", 1): 0.9}
    reports = [
        {
            "curriculum.kind": kind,
            "seed": seed,
            "env_steps": steps,
            "ground_truth_success": value * steps / 200,
            "goal_blind_success": 0.0,
            "wall_seconds": steps / 10,
        }
        for (kind, seed), value in success.items()
        for steps in (100, 200)
    ]
    staged = gain["summarise"](reports)["staged"]
    assert staged["env_steps"] == [100, 200]
    assert staged["success"][0]["each"] == [0.3, 0.45]
    low, high = scipy.stats.t.interval(
        0.95, 1, loc=0.75, scale=scipy.stats.sem(staged["success"][1]["each"])
    )
    assert staged["success"][1]["low"] == pytest.approx(low)
    assert staged["success"][1]["high"] == pytest.approx(high)


FINDINGS = (
    "paper_scaling",
    pytest.param("house_scaling", marks=pytest.mark.house),
    "paper_threshold",
    "paper_templates",
    "paper_returns",
    "paper_heads",
    "focal_bonus",
    "hindsight",
    pytest.param("goal_codes", marks=pytest.mark.codes),
)


@pytest.fixture
def finding(monkeypatch):
    """Run a file of the paper's findings, which imports others beside it, on few frames."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.import_module("paper_finding"), "EPISODES", 12)
    return experiment


@pytest.mark.parametrize("name", FINDINGS)
def test_every_variant_of_a_finding_is_a_run(finding, name):
    variants = runs(finding(name)["space"](3, 1000), draws=1)
    assert len(variants) > 2
    for run in variants:
        assert run.seed == 3
        assert run.stop.env_steps == 1000
        run.to_algorithm_config()


@pytest.mark.house
def test_ground_truth_alone_pays_the_ceiling_of_the_house(finding):
    *sizes, ceiling = runs(finding("house_scaling")["space"](0, 1000), draws=1)
    assert [Path(run.vlm_reward.encoder).name for run in sizes] == ["xs", "s", "m", "l", "xl"]
    for run in sizes:
        assert run.vlm_reward.env_reward_weight == 0
        assert not run.environment["env_config"]["end_on_success"]
    assert ceiling.vlm_reward.env_reward_weight == 1
    assert ceiling.vlm_reward.threshold == 0.9999  # of a cosine
    assert ceiling.environment["env_config"] == {
        **sizes[0].environment["env_config"],
        "end_on_success": True,
    }


def test_returns_are_compared_on_each_tasks_own_goals(finding):
    find, lift, place = runs(finding("paper_returns")["space"](0, 1000), draws=1)
    for run, family in ((find, "find"), (lift, "lift")):
        assert set(run.vlm_reward.goal_set.families) == {family}
        assert run.curriculum.kind == "uniform"
    assert set(place.vlm_reward.training_goals.families) == {"find", "lift", "place"}
    evaluation = place.vlm_reward.goal_set.goals[len(place.vlm_reward.training_goals) :]
    assert {goal.family for goal in evaluation} == {"place"}


def test_a_goals_negatives_are_drawn_anew_each_episode(finding):
    runs_ = runs(finding("paper_heads")["space"](0, 1000), draws=1)
    (anew,) = (run for run in runs_ if run.vlm_reward.goal_set.texts[0].endswith("#0"))
    goals = anew.vlm_reward.goal_set.goals
    red = [goal for goal in goals if goal.text.startswith("pick up the red ball #")]
    assert {goal.prompt for goal in red} == {"the agent is carrying the red ball"}
    assert len({goal.negatives for goal in red}) > 10
    assert all(len(goal.negatives) == 4 for goal in goals)

    env = gym.make(anew.environment["env"], **anew.environment["env_config"])
    _, info = env.reset(seed=0, options={"goal": "pick up the red ball #7"})
    assert info["goal"] == "pick up the red ball #7"
    assert env.unwrapped.mission == "pick up the red ball"


def test_the_focal_score_and_p_are_ranked_by_the_steps_to_the_goal(finding):
    focal_bonus = finding("focal_bonus")
    frames = focal_bonus["play"]()
    assert len({*frames.episodes}) == 24
    found = focal_bonus["correlations"](frames)
    (reward, *_) = runs(focal_bonus["space"](0, 1), draws=1)
    config = reward.vlm_reward.model_copy(update={"goal_map": True, "mode": "synchronous"})
    read = MapReader(config, load_encoder("grounded", precision="fp32"))
    known = np.isfinite(frames.steps_to_go)  # not after a wrong thing was picked up
    # The agent stands in the middle of the lowest row of 7 x 7 tiles.
    rows, columns = np.mgrid[:7, :7]
    near = np.exp(-4.5 * (((columns - 3) / 7) ** 2 + ((rows - 6) / 7) ** 2))[..., None]
    focal = [
        (read(frame, frames.goals[row]) * near).mean() for (row,), (frame,) in frames.batches(1)
    ]
    near = -frames.steps_to_go[known]
    ranks = [scipy.stats.rankdata(each) for each in (np.array(focal)[known], near)]
    assert found["focal"] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-3)
    assert -1 <= found["p"] < found["focal"] <= 1


def test_random_play_reaches_the_goals_that_it_carries_things_of(finding):
    hindsight = finding("hindsight")
    variants = runs(hindsight["space"](0, 1000), draws=1)
    (run,) = (run for run in variants if run.vlm_reward.hindsight)
    own, by_clip, by_truth = hindsight["play"](run, 30)
    env = gym.make(run.environment["env"], **run.environment["env_config"])
    env.action_space.seed(0)
    carried = []
    for episode in range(30):
        env.reset(seed=episode)
        held, step, done = {}, 0, False
        while not done:
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            step, done = step + 1, terminated or truncated
            if (thing := env.unwrapped.carrying) is not None:
                text = f"pick up the {thing.color} {thing.type}"
                held.setdefault(run.vlm_reward.goal_set.index(text), step)
        carried.append(held)
    assert by_truth == carried == by_clip
    assert sum(map(len, carried)) > 2
    assert run.vlm_reward.goal_set[own[-1]].text == info["goal"]


def test_copies_that_are_wrong_or_missing_are_counted(finding):
    relabelling = finding("hindsight")["relabelling"]
    own = [0, 0, 1, 2]
    by_truth = [{0: 3}, {1: 2, 2: 5}, {}, {0: 4}]
    by_clip = [{0: 3, 1: 3}, {1: 2}, {}, {0: 3}]  # a wrong goal, a missed one, a wrong step
    found = relabelling(own, by_clip, by_truth)
    assert found["own_goal"]["value"] == 1 / 4
    assert found["other_goals_per_episode"] == 3 / 4
    assert found["copies"] == 3
    assert found["wrong_copies"]["value"] == 2 / 3
    assert found["missed_copies"]["value"] == 2 / 3
    assert 0 < found["own_goal"]["low"] < 1 / 4 < found["own_goal"]["high"] < 1
    assert relabelling([0], [{}], [{}])["wrong_copies"] is None


@pytest.mark.codes
def test_goals_are_shown_in_forms_of_equal_size_and_with_noise_that_repeats(finding):
    experiment = finding("goal_codes")
    dim, frame = 64, gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    goal = gym.spaces.Box(-1, 1, (dim,), np.float32)

    def module(name):
        section = experiment["policies"]()[name]
        torch.manual_seed(0)
        return load_object(section["module"], "policy.module")(
            observation_space=gym.spaces.Dict(observation=frame, goal=goal),
            action_space=gym.spaces.Discrete(3),
            model_config=section["model_config"],
        )

    def size(module):
        return sum(each.numel() for each in module.encoder.goal_code.parameters())

    assert size(module("continuous")) == pytest.approx(size(module("4 × 32")), rel=0.01)
    one_hot = module("one-hot").encoder.goal_code
    shown = one_hot(one_hot.embeddings)
    assert torch.equal(shown, torch.eye(dim)[:18] * 8)

    noisy = module("4 × 32, noise")
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (200, 16, 16, 3), np.uint8)
    seen = {"observation": torch.from_numpy(frames), "goal": torch.zeros(200, dim)}
    given = []
    noisy.encoder.encoder.register_forward_hook(lambda _, batch, __: given.append(batch[0]["obs"]))
    noisy.forward_train({"obs": seen})
    halves = {key: value.unflatten(0, (2, 100)) for key, value in seen.items()}
    noisy.forward_train({"obs": halves})
    first, again = (each["goal"].reshape(200, dim) for each in given)
    assert torch.equal(first, again)
    assert float(first.norm(dim=1).mean()) == pytest.approx(0.5, rel=0.05)
    assert len(first.unique(dim=0)) > 180


@pytest.mark.codes
def test_the_information_in_a_code_is_that_of_scikit_learn(finding):
    experiment, generator = finding("goal_codes"), np.random.default_rng(0)
    codes, words = generator.integers(0, 4, 50), generator.integers(0, 6, 50)
    nats = sklearn.metrics.mutual_info_score(codes, words)
    found = experiment["mutual_information"]([*map(str, codes)], [*map(str, words)])
    assert found == pytest.approx(nats / np.log(2))


@pytest.mark.codes
def test_each_form_of_the_goal_has_its_agents_and_codes(finding, monkeypatch, tmp_path):
    experiment = finding("goal_codes")
    policies = experiment["policies"]()
    measures = {"vlm_return_mean": 1.0, "false_positives_per_episode": 0.0, "wall_seconds": 9.0}

    def results(seed):
        rows = [
            {
                "trial_id": f"{seed}-{name}",
                "policy": policy,
                "ground_truth_success": (place + seed) / 32,
                "goal_blind_success": 0.0,
                **measures,
            }
            for place, (name, policy) in enumerate(policies.items())
        ]
        checkpoints = {row["trial_id"]: Path(row["trial_id"]) for row in rows}
        return types.SimpleNamespace(rows=rows[::-1], checkpoints=checkpoints)

    def code_bits(checkpoint):
        return {"colour_bits": float(checkpoint.name[0]), "kind_bits": 1.0, "distinct_codes": 18}

    monkeypatch.setitem(experiment["summarise"].__globals__, "code_bits", code_bits)
    figures = experiment["summarise"]([results(0), results(1)])
    assert [*figures] == [*policies]
    assert figures["1 × 8, noise"]["agents"]["success"]["each"] == [1 / 32, 2 / 32]
    assert figures["8 × 32"]["codes"]["colour_bits"]["each"] == [0.0, 1.0]
    assert {name for name in figures if "codes" not in figures[name]} == {
        f"{form}{noise}" for form in ("continuous", "one-hot") for noise in ("", ", noise")
    }
    experiment["draw"](figures, tmp_path / "goal_codes.png")
    assert (tmp_path / "goal_codes.png").stat().st_size > 10_000


def test_a_finding_is_a_mean_over_seeds_of_each_variant(finding):
    measures = {
        "vlm_return_mean": 1.0,
        "false_positives_per_episode": None,
        "goal_blind_success": 0.0,
    }
    rows = [
        {"which": which, "ground_truth_success": success, "wall_seconds": 1.0, **measures}
        for which, success in (("b", 0.2), ("a", 0.5), ("b", 0.4))
    ]
    means = finding("paper_finding")["over_seeds"](rows, lambda row: row["which"])
    assert [*means] == ["a", "b"]
    assert means["b"]["success"]["each"] == [0.2, 0.4]
    assert means["b"]["success"]["mean"] == pytest.approx(0.3)
    assert "false_positives" not in means["a"]
