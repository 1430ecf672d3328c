"""Frames, goals and labels of play, against the env itself; and what is refused."""

import csv
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import register_env
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.envs.babyai.env import make_playroom
from rllib_vlm_reward.errors import FrameError, GoalError, LabelError
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames, check_labels
from rllib_vlm_reward.run.experiment import Experiment

LIFT = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
GOALS = ("a grey wall", "a white wall")


class Corridor(gym.Env):
    """Grows brighter with each step ahead; the third is white. Its frames reuse their memory."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Dict(rgb=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        self.render_mode = config.get("render_mode", "rgb_array")
        self.config = config
        self.picture = np.zeros((8, 8, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.t = 0, 0
        self.goal = "a grey wall"
        if not self.config.get("deaf"):
            self.goal = (options or {}).get("goal", self.goal)
        return self._show()

    def step(self, action):
        self.at, self.t = self.at + action, self.t + 1
        observation, info = self._show()
        if not self.config.get("without_truth"):
            info["there"] = np.bool_(self.at == 3)
        return observation, 0.0, self.at == 3, self.t == 10, info

    def render(self):
        return self.picture

    def _show(self):
        self.picture[:] = 85 * self.at
        return {"rgb": self.picture}, {"goal": self.goal, "rgb": self.picture}


class Growing(Corridor):
    """Its frames are larger from the second step on."""

    def _show(self):
        observation, info = super()._show()
        if self.t > 1:
            self.picture = np.zeros((9, 8, 3), np.uint8)
        return observation, info


class Guided(Corridor):
    def expert_action(self):
        return 1

    def steps_to_go(self):
        return 3 - self.at


@pytest.fixture(scope="module", autouse=True)
def _envs():
    register_env("corridor", lambda config: Corridor(config))
    register_env("guided", lambda config: Guided(config))
    register_env("growing", lambda config: Growing(config))


def corridor(env="guided", *, held_out=False, env_config=(), **reward):
    goals = {"goals": GOALS[:1], "evaluation_goals": GOALS[1:]} if held_out else {"goals": GOALS}
    return Experiment(
        environment={"env": env, "env_config": dict(env_config)},
        vlm_reward={
            "encoder": "small",
            "negatives": ["a wall"],
            "success_key": "there",
            **goals,
            **reward,
        },
        stop={"env_steps": 1},
    )


def room(env, **kwargs):
    return Experiment(
        environment={"env": f"rllib_vlm_reward/{env}-v0", "env_config": kwargs},
        vlm_reward={
            "encoder": "small",
            "goals": ["{go to|pick up} the {red|blue} {ball|box|key}"],
            "frames": {"source": "obs"},
        },
        stop={"env_steps": 1},
    )


ROOM = {"colors": ["red", "blue"], "families": ["find", "lift"]}


@pytest.mark.parametrize("source", ["render", "obs:rgb", "info:rgb"])
def test_each_step_is_a_frame_with_its_goal_and_the_truth(source):
    frames = collect(corridor(frames={"source": source}), players=["random"], episodes=8, seed=3)
    bright = frames.frames(range(len(frames)))[:, 0, 0, 0]
    np.testing.assert_array_equal(frames.labels, bright == 255)
    np.testing.assert_array_equal(frames.steps_to_go, 3 - bright / 85)
    assert set(frames.goals) == {"a grey wall"}
    for index in range(8):
        own = np.array(frames.episodes) == f"random-3-{index}"
        assert frames.steps[own].tolist() == [*range(1, own.sum() + 1)]
        assert frames.labels[own].sum() == 1 or own.sum() == 10
        assert not frames.labels[own][:-1].any()
    assert len(set(frames.episodes)) == 8


def test_frames_and_truth_are_those_of_the_env():
    """Against the env itself, which finds each frame in the layout of the episode's seed."""
    frames = collect(room("Playroom", **ROOM), players=["expert"], episodes=6, seed=1)
    env = make_playroom(**ROOM)
    starts = np.flatnonzero(frames.steps == 1)
    assert len(starts) == 6
    for index, start in enumerate(starts):
        seed = int(np.random.SeedSequence((1, index)).generate_state(2)[0] >> 1)
        reachable = set()
        for action in range(env.action_space.n):
            _, info = env.reset(seed=seed)
            frame, _, _, _, after = env.step(action)
            reachable.add((frame.tobytes(), info["goal"], after["success"], env.steps_to_go()))
        seen = frames.frames([start])[0].tobytes()
        found = frames.goals[start], bool(frames.labels[start]), frames.steps_to_go[start]
        assert (seen, *found) in reachable
    np.testing.assert_array_equal(frames.labels, frames.steps_to_go == 0)


def test_an_expert_succeeds_and_is_seen_to_stray_where_chance_fails():
    frames = collect(room("Find", colors=["red", "blue"]), episodes=25)
    assert set(frames.players) == {"random", "expert"}
    by_player = {
        player: frames.take(np.array(frames.players) == player) for player in ("random", "expert")
    }
    shares = {player: own.labels.sum() / 25 for player, own in by_player.items()}
    assert shares["expert"] == 1 > shares["random"]
    progress = np.diff(by_player["expert"].steps_to_go)
    within = np.diff(by_player["expert"].episode_indices) == 0
    assert 0.02 < (progress[within] > -1).mean() < 0.35


def test_a_seed_gives_the_same_frames_and_another_gives_fresh_ones():
    first, again, other = (
        collect(room("Find", colors=["red", "blue"]), episodes=4, seed=seed) for seed in (5, 5, 6)
    )
    assert (first.images, first.goals) == (again.images, again.goals)
    assert set(first.episodes) == set(again.episodes)
    assert not set(first.episodes) & set(other.episodes)
    assert first.images != other.images


def test_held_out_goals_are_posed_in_turn():
    experiment = room("Find", colors=["red", "blue", "grey"])
    held_out = ["go to the grey ball", "go to a grey key"]
    reward = experiment.vlm_reward.model_copy(update={"evaluation_goals": held_out})
    experiment = experiment.model_copy(update={"vlm_reward": reward})
    frames = collect(experiment, players=["expert"], episodes=4, held_out=True)
    assert [*dict(zip(frames.episodes, frames.goals, strict=True)).values()] == held_out * 2


def test_a_curriculum_poses_its_own_goals():
    uniform = {"kind": "uniform", "signal": "ground_truth_success"}
    experiment = room("Find").model_copy(update={"curriculum": uniform})
    goals = ["go to the red ball", "go to the blue key"]  # of the 18 that the env would choose
    reward = experiment.vlm_reward.model_copy(update={"goals": goals})
    experiment = experiment.model_copy(update={"vlm_reward": reward})
    frames = collect(experiment, players=["random"], episodes=8)
    assert set(frames.goals) == set(goals)


@pytest.mark.parametrize(
    ("experiment", "options", "error", "words"),
    [
        (lambda: corridor(success_key="success"), {}, LabelError, r"'there'.*expected.*'success'"),
        (lambda: corridor(env_config={"without_truth": True}), {}, LabelError, "--folder"),
        (lambda: corridor("corridor"), {"players": ["expert"]}, LabelError, r"expert_action\(\)"),
        (lambda: corridor(), {"players": ["runs/none"]}, LabelError, "for `collect` the folder"),
        (lambda: corridor(), {"held_out": True}, GoalError, "the run has no evaluation_goals"),
        (
            lambda: corridor(held_out=True, env_config={"deaf": True}),
            {"held_out": True},
            GoalError,
            "chose .a grey wall.",
        ),
        (lambda: corridor(frames={"source": "info:none"}), {}, FrameError, "info:none"),
        (lambda: corridor(goals=["a door", "a hall"]), {}, GoalError, "a grey wall"),
    ],
)
def test_what_cannot_be_labelled_is_refused(experiment, options, error, words):
    with pytest.raises(error, match=words):
        collect(experiment(), episodes=1, **options)


def invoke(*arguments):
    return CliRunner().invoke(app, ["collect", *map(str, arguments)])


def test_frames_of_several_sizes_are_refused_when_the_first_is_seen():
    with pytest.raises(FrameError, match=r"random-0-0, step 2: .* \(8, 9\) .* expected \(8, 8\)"):
        collect(corridor("growing"), players=["random"], episodes=100)


def test_the_command_plays_the_quickstart_and_counts(tmp_path):
    output = tmp_path / "frames.parquet"
    result = invoke(LIFT, "--output", output, "--episodes", 12, "--seed", 2)
    assert result.exit_code == 0, result.exception
    frames = LabelledFrames.load(output)
    for player in ("random", "expert"):
        own = frames.take(np.array(frames.players) == player)
        (row,) = (line for line in result.output.splitlines() if f" {player} " in line)
        counts = [cell.strip() for cell in row.split("│")[2:-1]]
        assert counts == ["pick up {}", str(len(own)), str(own.labels.sum()), "12"]
    refused = invoke(LIFT, "--output", output).exception
    assert isinstance(refused, FileExistsError)
    assert "Choose another --output" in str(refused)


def test_no_command_needs_a_policy(tmp_path):
    """RLlib has none for a mapping of frames, and calibrate needs goals and frames alone."""
    goal = {"text": GOALS[0], "prompt": "a black wall", "negatives": ["a white wall"]}
    experiment = corridor(goals=[goal], negatives=[], threshold=0.5)
    with pytest.raises(ValueError, match="No default encoder config"):
        SingleAgentEnvRunner(config=experiment.to_algorithm_config())
    run, frames = tmp_path / "run.yaml", tmp_path / "frames.parquet"
    run.write_text(experiment.to_yaml())
    assert "policy" not in yaml.safe_load(run.read_text())
    for command, *options in (
        ("collect", "--output", frames, "--episodes", 30),
        ("calibrate", "--frames", frames, "--false-positives", 9, "--output", tmp_path / "c.yaml"),
        ("landscape", "--player", "random", "--output", tmp_path / "landscape"),
    ):
        result = CliRunner().invoke(app, [command, str(run), *map(str, options)])
        assert result.exit_code == 0, (command, result.exception)
    assert {*LabelledFrames.load(frames).players} == {"random", "expert"}
    assert {file.name for file in tmp_path.iterdir()} == {
        *(run.name, frames.name, "c.yaml", "landscape")
    }


def test_the_command_says_where_nothing_can_be_measured(tmp_path):
    settings = yaml.safe_load(LIFT.read_text())
    settings["environment"]["env_config"]["max_steps"] = 1
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings))
    result = invoke(config, "--output", tmp_path / "f.parquet", "--episodes", 1)
    assert isinstance(result.exception, LabelError)
    assert "0 successes among 2 frames" in str(result.exception)
    assert not (tmp_path / "f.parquet").exists()


@pytest.mark.parametrize(
    ("players", "success", "advice"),
    [
        (["random"], False, "expert, the folder of a run that succeeds."),
        (["expert", "runs/untrained"], False, "player: the folder of a run that succeeds."),
        (["expert"], True, "with another player: random."),
        (["random"], True, "Collect more."),
    ],
)
def test_other_players_than_those_that_played_are_named(players, success, advice):
    frames = LabelledFrames.of(
        [encode(np.zeros((4, 4, 3), np.uint8))] * len(players),
        GOALS[:1] * len(players),
        [success] * len(players),
        player=players,
    )
    with pytest.raises(LabelError) as found:
        check_labels(frames)
    assert str(found.value).endswith(advice)


def test_the_command_imports_a_folder(tmp_path):
    rows = [("black.png", "a white wall", "false"), ("white.png", "a white wall", "true")]
    for shade, (name, _, _) in zip((0, 255), rows, strict=True):
        (tmp_path / name).write_bytes(encode(np.full((4, 4, 3), shade, np.uint8)))
    with (tmp_path / "metadata.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("file_name", "goal", "label"), *rows])
    output = tmp_path / "out" / "f.parquet"
    result = invoke("--folder", tmp_path, "--output", output)
    assert result.exit_code == 0, result.exception
    (row,) = (line for line in result.output.splitlines() if "a white wall" in line)
    assert "imported" in row
    assert LabelledFrames.load(output).labels.tolist() == [False, True]


@pytest.mark.parametrize("sources", [(), (LIFT, "--folder", LIFT.parent)])
def test_the_command_takes_a_run_or_a_folder(tmp_path, sources):
    result = invoke(*sources, "--output", tmp_path / "f.parquet")
    assert result.exit_code == 2
    assert "give either CONFIG" in result.output
