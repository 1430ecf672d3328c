"""Landscapes: an episode or a grid of states, scored as the reward scores it, and drawn."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.map_reader import MapReader
from rllib_vlm_reward.errors import ConfigError, GoalError, LabelError
from rllib_vlm_reward.evaluation.env_states import Axis, render_grid
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.landscape import (
    _above_frames,
    _draw_legend,
    lines,
    only_goal,
)
from rllib_vlm_reward.evaluation.trajectory import Trajectory, play
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.run import Experiment

LIFT = {
    "environment": {
        "env": "rllib_vlm_reward/Lift-v0",
        "env_config": {"room_size": 5, "num_objects": 2, "max_steps": 15},
    },
    "vlm_reward": {
        "encoder": "small",
        "goals": ["pick up the {red|green|blue|purple|yellow|grey} {ball|box|key}"],
        "templates": [
            {
                "goal": "pick up {}",
                "prompt": "the agent is carrying {}",
                "nothing": "the agent is carrying nothing",
            }
        ],
        "threshold": 0.5,
        "frames": {"source": "obs"},
    },
    "stop": {"env_steps": 1},
}


GOAL = "pick up the red ball"


def classic(env, **reward):
    goals = {"encoder": "small", "goals": ["a pole"], "baseline": "a cart", "head": "goal_baseline"}
    return {
        "environment": {"env": env},
        "vlm_reward": {**goals, **reward},
        "stop": {"env_steps": 1},
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function: the folder that the command fills, from a run's settings."""
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")

    def landscape(settings, *options):
        config, output = tmp_path / "run.yaml", tmp_path / "out"
        config.write_text(yaml.safe_dump(settings))
        words = ["landscape", str(config), "--output", str(output), *options]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return output

    return landscape


def test_the_expert_reaches_the_goal_that_was_posed_and_the_reward_fires_there(run):
    folder = run(LIFT, "--goal", "pick up the red ball", "--seed", "3")
    found = json.loads((folder / "landscape.json").read_text())
    assert (found["goal"], found["player"]) == ("pick up the red ball", "expert")
    steps = len(found["steps"])
    assert found["success"] == [False] * (steps - 1) + [True]
    (reward,) = found["rewards"]
    assert reward["head"] == "softmax"
    assert reward["temperature"] == pytest.approx(1 / CLIPEncoder.load("small").logit_scale)
    assert [score > 0.5 for score in reward["scores"]] == found["success"]
    assert reward["weights"] == CLIPEncoder.load("small").fingerprint
    assert "the agent is carrying nothing" in reward["others"]
    with Image.open(folder / "trajectory.gif") as video:
        assert video.n_frames == steps
    with Image.open(folder / "trajectory.png") as picture:
        assert picture.width == 900


def test_with_a_map_the_pictures_are_dark_where_the_goal_is_not(run):
    reward = {**LIFT["vlm_reward"], "encoder": "grounded", "mode": "synchronous", "goal_map": True}
    templates = [{**reward["templates"][0], "noun": "{}"}]
    exact = {"templates": templates, "serving": {"precision": "fp32"}}
    settings = {**LIFT, "vlm_reward": {**reward, **exact}}
    folder = run(settings, "--goal", "pick up the red ball", "--seed", "3")
    found = json.loads((folder / "landscape.json").read_text())
    assert [score > 0.5 for score in found["rewards"][0]["scores"]] == found["success"]
    trajectory = play(Experiment.model_validate(settings), goal="pick up the red ball", seed=3)
    config = VLMRewardConfig(**settings["vlm_reward"])
    (line,) = lines({"a": config}, trajectory.frames, trajectory.goal)
    read = MapReader(config, load_encoder("grounded", precision="fp32"))
    for frame, shown, drawn in zip(
        trajectory.frames, line.maps, line.over(trajectory.frames), strict=True
    ):
        np.testing.assert_allclose(shown, read(frame, trajectory.goal), atol=1e-5)
        light = 0.25 + 0.75 * shown.repeat(8, axis=0).repeat(8, axis=1)
        np.testing.assert_allclose(drawn, frame * light, atol=0.6)
    (plain,) = lines({"a": config.model_copy(update={"goal_map": False})}, trajectory.frames, GOAL)
    assert plain.over(trajectory.frames) is trajectory.frames
    np.testing.assert_array_equal(plain.scores, line.scores)


def test_an_episode_of_labelled_frames_is_drawn_in_its_order(run, tmp_path):
    black, white = (encode(np.full((56, 56, 3), value, np.uint8)) for value in (0, 255))
    goals = ["pick up the red ball", "pick up the red key", "pick up the red ball"]
    frames = LabelledFrames.of(
        [white, black, black], goals, [True, False, False], episodes="xyx", steps=[2, 1, 1]
    )
    frames.save(tmp_path / "frames.parquet")
    options = ["--frames", str(tmp_path / "frames.parquet"), "--episode", "x"]
    folder = run(LIFT, *options, "--encoder", "small", "--encoder", "base")
    found = json.loads((folder / "landscape.json").read_text())
    assert (found["steps"], found["success"]) == ([1, 2], [False, True])
    assert [reward["encoder"] for reward in found["rewards"]] == ["small", "base"]


def test_an_episode_that_is_not_there_is_said():
    black = encode(np.zeros((8, 8, 3), np.uint8))
    frames = LabelledFrames.of([black] * 2, ["a", "b"], [True, False], episodes="xx")
    with pytest.raises(LabelError, match="2 frames of 2 goals"):
        Trajectory.of(frames, "x")
    with pytest.raises(LabelError, match=r"expected one of the 1 episodes\. The first are"):
        Trajectory.of(frames, "y")
    names = [f"random-0-{number}" for number in range(30)]
    many = LabelledFrames.of([black] * 30, ["a"] * 30, [True] * 30, episodes=names)
    with pytest.raises(
        LabelError, match=r"expected one of the 30 episodes\. Did you mean 'random-0-17'"
    ):
        Trajectory.of(many, "random-017")


def test_an_episode_whose_frames_have_no_order_is_refused():
    black = encode(np.zeros((8, 8, 3), np.uint8))
    for steps in (None, [1, 2, 2]):  # a table without the column has 0 everywhere
        frames = LabelledFrames.of([black] * 3, ["a"] * 3, [True] * 3, episodes="xxx", steps=steps)
        with pytest.raises(LabelError, match=r"3 frames with the steps \(.*column 'step'"):
            Trajectory.of(frames, "x")


def test_play_is_seeded_and_random_where_asked():
    experiment = Experiment.model_validate(LIFT)
    one, again, other = (play(experiment, player="random", seed=seed) for seed in (1, 1, 2))
    assert one.player == "random"
    np.testing.assert_array_equal(one.frames, again.frames)
    assert one.goal == again.goal
    assert one.frames.shape != other.frames.shape or (one.frames != other.frames).any()


def test_the_experts_longest_episode_that_reaches_its_goal_is_shown():
    experiment = Experiment.model_validate(LIFT)
    each = [play(experiment, seed=seed) for seed in range(16)]
    reached = [len(it.steps) for it in each if any(it.success)]
    shown = play(experiment)
    assert shown.player == "expert"
    assert shown.success[-1]
    assert len(shown.steps) == max(reached) > min(reached)


def test_the_legend_hides_no_line():
    figure, axes = _above_frames(np.arange(5.0), np.zeros((5, 8, 8, 3), np.uint8))
    for number in range(5):
        axes.plot(range(5), range(5), label=f"p of “{'the agent is carrying ' * 2}{number}”")
    axes.set_title("pick up the grey key")
    _draw_legend(figure, axes)
    figure.canvas.draw()
    legend, title = axes.get_legend().get_window_extent(), axes.title.get_window_extent()
    plt.close(figure)
    assert axes.bbox.y1 - 1 <= legend.y0 < legend.y1 <= title.y0 < title.y1 <= figure.bbox.y1
    assert legend.x1 <= figure.bbox.x1


def test_an_env_without_truth_or_expert_is_played_at_random():
    seen = play(Experiment.model_validate(classic("CartPole-v1")))
    assert (seen.player, seen.success, seen.goal) == ("random", None, "a pole")
    with pytest.raises(LabelError, match="expected one of \\['random'\\]"):
        play(Experiment.model_validate(classic("CartPole-v1")), player="expert")


def test_an_unknown_goal_is_refused():
    with pytest.raises(GoalError):
        play(Experiment.model_validate(LIFT), goal="pick up the pink ball")


def test_the_others_are_the_softmax_beside_the_score():
    config = VLMRewardConfig(**LIFT["vlm_reward"])
    frames = np.random.default_rng(0).integers(0, 256, (5, 56, 56, 3), np.uint8)
    (line,) = lines({"it": config}, frames, "pick up the red key")
    encoder = CLIPEncoder.load("small")
    goal = config.goal_set[config.goal_set.index("pick up the red key")]
    texts = encoder.encode_texts([goal.prompt, *goal.negatives])
    p = (encoder.logit_scale * encoder.encode_frames(frames) @ texts.T).softmax(dim=1).numpy()
    np.testing.assert_allclose(line.scores, p[:, 0], atol=1e-5)
    best = np.argsort(-p[:, 1:].max(axis=0))[:2]
    assert list(line.others) == [goal.negatives[i] for i in best]
    np.testing.assert_allclose(list(line.others.values()), p[:, 1 + best].T, atol=1e-5)


def test_no_clip_is_loaded_and_no_frame_encoded_twice(loads):
    config = VLMRewardConfig(**LIFT["vlm_reward"])
    rewards = {"a": config, "other": config.model_copy(update={"encoder": "base"}), "b": config}
    frames = np.random.default_rng(0).integers(0, 256, (5, 56, 56, 3), np.uint8)
    drawn = lines(rewards, frames, "pick up the red key")
    assert [line.name for line in drawn] == ["a", "other", "b"]
    np.testing.assert_array_equal(drawn[0].scores, drawn[2].scores)
    assert sorted(spec for spec, _ in loads) == ["base", "small"]
    assert [encoded() for _, encoded in loads] == [5, 5]


def test_other_weights_than_the_calibrated_are_refused(monkeypatch):
    config = VLMRewardConfig(**LIFT["vlm_reward"])

    def refuse(self, weights):
        raise LabelError(weights)

    monkeypatch.setattr(VLMRewardConfig, "check_weights", refuse)
    with pytest.raises(LabelError, match=CLIPEncoder.load("small").fingerprint):
        lines({"it": config}, np.zeros((1, 8, 8, 3), np.uint8), "pick up the red key")


def test_several_goals_need_a_choice():
    config = VLMRewardConfig(**LIFT["vlm_reward"])
    assert only_goal(config, "pick up the red key") == "pick up the red key"
    with pytest.raises(GoalError, match="--goal"):
        only_goal(config, None)


def test_a_grid_of_cart_poles_is_what_the_env_renders(run):
    axes = [Axis.parse("theta=-1:1:3"), Axis.parse("x=-2:2:2")]
    frames = render_grid(Experiment.model_validate(classic("CartPole-v1")), axes)
    assert frames.shape[:2] == (3, 2)
    dark = frames.max(axis=-1) < 60  # the cart, and its track, which is a pixel high
    columns = [np.flatnonzero(dark[1, side].sum(axis=0) > 10).mean() for side in (0, 1)]
    assert columns[0] < 150 < 450 < columns[1]
    settings = classic("CartPole-v1", head={"kind": "goal_baseline", "alpha": 0.25})
    folder = run(settings, "--grid", "theta=-1:1:3", "--grid", "x=-2:2:2")
    found = json.loads((folder / "landscape.json").read_text())
    assert found["axes"][0] == {"name": "theta", "values": [-1.0, 0.0, 1.0]}
    expected = lines(
        {"it": VLMRewardConfig(**settings["vlm_reward"])},
        frames.reshape(6, *frames.shape[2:]),
        "a pole",
    )[0].scores
    (reward,) = found["rewards"]
    np.testing.assert_allclose(reward["scores"], expected, atol=1e-5)
    assert reward["head"] == {"kind": "goal_baseline", "alpha": 0.25}
    assert reward["temperature"] is None
    assert (folder / "landscape.png").exists()


def test_a_line_of_mountain_cars(run):
    settings = classic("MountainCar-v0")
    folder = run(settings, "--grid", "position=-1:0.5:4", "--encoder", "small", "--encoder", "base")
    found = json.loads((folder / "landscape.json").read_text())
    assert len(found["rewards"]) == 2
    assert len(set(found["rewards"][0]["scores"])) == 4
    assert (folder / "landscape.png").exists()


@pytest.mark.parametrize(
    "text",
    [
        *("theta", "theta=1:2", "theta=2:1:3", "theta=0:1:1", "=0:1:2", "theta=nan:1:2"),
        *("theta=-inf:1:3", "theta=0:inf:3", "theta=-1e308:1e308:3"),
    ],
)
def test_an_axis_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="NAME=LOW:HIGH:NUMBER"):
        Axis.parse(text)


@pytest.mark.parametrize(
    ("settings", "names", "says"),
    [
        (classic("CartPole-v1"), ["angle"], "variables of .*'x', 'x_dot', 'theta'"),
        (classic("CartPole-v1"), ["x", "x"], "different variables"),
        (classic("CartPole-v1"), ["theta", "2"], "different variables"),  # two names of one
        (classic("CartPole-v1"), ["x", "x_dot"], "the same frame for all 2 values of 'x_dot'"),
        (classic("CartPole-v1", frames={"source": "obs"}), ["x"], "frames.source 'obs'"),
        (classic("rllib_vlm_reward/Lift-v0"), ["0"], "keeps no array in `state`"),
        (LIFT, ["0"], "keeps no array in `state`"),  # and neither is it asked for rendering
    ],
)
def test_a_grid_that_cannot_be_is_refused(settings, names, says):
    with pytest.raises(ConfigError, match=says):
        render_grid(Experiment.model_validate(settings), [Axis(name, 0, 1, 2) for name in names])


def test_an_env_without_states_is_said_before_a_goal_is_asked_for(tmp_path):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(LIFT))  # of 18 goals
    words = [str(tmp_path / "run.yaml"), "--grid", "x=-1:1:3", "--output", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, ["landscape", *words]).exception
    assert isinstance(refused, ConfigError)
    assert "keeps no array in `state`" in str(refused)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--grid", "x=-1:1:3"]])
def test_a_wrong_goal_is_refused_before_anything_is_seen(options, tmp_path, monkeypatch):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(LIFT))
    for road in ("trajectory.play", "env_states.render_grid"):
        monkeypatch.setattr(f"rllib_vlm_reward.evaluation.{road}", pytest.fail)
    words = [str(tmp_path / "run.yaml"), "--goal", "a pink ball", *options]
    words += ["--output", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, ["landscape", *words]).exception
    assert isinstance(refused, GoalError)
    assert "pink" in str(refused)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--frames", "run.yaml", "--episode", "x", "--goal", "a ball"], "were played already"),
        (["--frames", "run.yaml", "--episode", "x", "--player", "random"], "were played already"),
        (["--grid", "x=-1:1:3", "--player", "random"], "--player does not apply to --grid"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(LIFT))
    refused = CliRunner().invoke(app, ["landscape", "run.yaml", *options, "--output", "out"])
    assert refused.exit_code == 2
    assert says in refused.output
