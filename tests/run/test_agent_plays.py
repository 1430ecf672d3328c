"""What is played and printed, against what the env itself remembers."""

import gymnasium as gym
import numpy as np
import painted
import pytest
from filmed import Filmed
from PIL import Image
from typer.testing import CliRunner

from rllib_vlm_reward import cli
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError
from rllib_vlm_reward.run.agent import Agent
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.play import play


class Remembered(Filmed):
    """Remembers its episodes; ignores a requested goal if its config says so."""

    played = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        if self.config.get("deaf"):
            options = None
        known = options and options["goal"] in painted.GOALS
        shown = super().reset(options=options if known else None)
        self.mine = {
            "goal": painted.GOALS[self.goal],
            "seed": seed,
            "frames": [],
            "actions": [],
            "success": False,
        }
        self.played.append(self.mine)
        return shown

    def step(self, action):
        result = super().step(action)
        self.mine["frames"].append(painted.BANK[self.frame])
        self.mine["actions"].append(int(action))
        self.mine["success"] |= result[-1]["success"]
        return result


class Small(Remembered):
    """Its observation is no frame, for a policy without an input for the goal."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)

    def _show(self):
        _, info = super()._show()
        return np.zeros(1, np.float32), info


SETTINGS = {
    "environment": {"env": "test_agent_plays.Remembered"},
    "env_runners": {"num_env_runners": 0, "rollout_fragment_length": 17},
    "training": {"train_batch_size_per_learner": 17, "minibatch_size": 17, "num_epochs": 1},
    "policy": {"model_config": {"hidden": 8}},
    "stop": {"env_steps": 1},
}


@pytest.fixture(scope="module")
def folder(painted_config, shared_pool, tmp_path_factory):
    """Returns a function: the folder of an untrained run; each is made once."""
    folders = {}

    def make(reward=None, **changes):
        key = repr((reward, changes))
        if key not in folders:
            reward = painted_config(
                goal_embedding="policy" not in changes,
                frames={"source": "render"},
                serving={"pool_name": shared_pool},
                **(reward or {}),
            )
            run = Experiment(**{**SETTINGS, **changes}, vlm_reward=reward)
            algorithm = run.to_algorithm_config().build_algo()
            folders[key] = tmp_path_factory.mktemp("run")
            algorithm.save_to_path(str(folders[key] / "checkpoint"))
            algorithm.stop()
            (folders[key] / "config.yaml").write_text(run.to_yaml())
        Remembered.played.clear()
        return folders[key]

    return make


def test_episodes_are_what_the_env_remembers(folder):
    episodes = [*play(folder(), episodes=6, seed=3, pictures=True)]
    assert [it["seed"] for it in Remembered.played] == [3, 4, 5, 6, 7, 8]
    for episode, played in zip(episodes, Remembered.played, strict=True):
        assert episode.goal == played["goal"]
        assert episode.success == played["success"]
        assert episode.length == len(played["frames"])
        assert episode.env_return == pytest.approx(painted.ENV_REWARD * episode.length)
        np.testing.assert_array_equal([it.frame for it in episode.moments], played["frames"])
        assert [it.success for it in episode.moments][-1] == played["success"]
        assert [it.t for it in episode.moments] == [*range(1, episode.length + 1)]
    assert {episode.success for episode in episodes} == {True, False}


def test_the_agent_explores_where_its_run_is_evaluated_with_exploration(folder):
    def actions(run):
        Remembered.played.clear()
        assert len([*play(run, episodes=3)]) == 3
        return [action for it in Remembered.played for action in it["actions"]]

    explores = {"evaluation": {"evaluation_config": {"explore": True}}}
    best, drawn = actions(folder()), actions(folder(**explores))
    assert actions(folder(**explores)) == drawn, "the seed is also that of the actions"
    assert len(best) == len(drawn) > 20
    assert best != drawn
    assert 0.2 < np.mean(drawn) < 0.8, "an untrained policy draws both actions alike"


@pytest.fixture
def shown_goals(monkeypatch):
    """Return the goals that an agent is given, one a step."""
    goals, act = [], Agent.act

    def noted(self, observation, goal=None, **how):
        goals.append(goal)
        return act(self, observation, goal, **how)

    monkeypatch.setattr(Agent, "act", noted)
    return goals


def test_a_requested_goal_is_posed_and_pursued(folder, shown_goals):
    episodes = [*play(folder(), episodes=3, goal="a green wall")]
    assert {it["goal"] for it in Remembered.played} == {"a green wall"} == set(shown_goals)
    assert all(episode.success is not None for episode in episodes)


@pytest.mark.parametrize("goal", ["a pink wall", "a red wall"])
def test_a_goal_that_the_env_does_not_pose_is_pursued_and_nothing_is_said_of_success(
    goal, folder, shown_goals
):
    deaf = folder(environment={"env": "test_agent_plays.Remembered", "env_config": {"deaf": True}})
    episodes = [*play(deaf, episodes=3, goal=goal)]
    assert set(shown_goals) == {goal}
    for episode, played in zip(episodes, Remembered.played, strict=True):
        expected = played["success"] if played["goal"] == goal else None
        assert (episode.goal, episode.success) == (goal, expected)
    assert None in {episode.success for episode in episodes}


UNTOLD = {"policy": None, "environment": {"env": "test_agent_plays.Small"}}


def test_a_policy_without_a_goal_input_plays_what_the_env_poses(folder, shown_goals):
    run = folder(**UNTOLD)
    assert [it.goal for it in play(run, episodes=1, goal="a blue wall")] == ["a blue wall"]
    assert set(shown_goals) == {None}
    with pytest.raises(GoalError, match=r"'a pink wall': the env chose 'a \w+ wall', and this"):
        next(play(run, episodes=1, goal="a pink wall"))


MAPPED = {"goal_map": True, "mode": "synchronous", "templates": [{"noun": "{}"}]}


def test_a_policy_with_a_map_plays_and_its_pictures_have_the_map(folder, monkeypatch):
    run, seen, act = folder(MAPPED), [], Agent.act

    def noted(self, *given, **how):
        action = act(self, *given, **how)
        seen.append(self._episode.get_observations(-1)["map"])
        return action

    monkeypatch.setattr(Agent, "act", noted)
    (episode,) = play(run, episodes=1, seed=3, pictures=True)
    maps = [moment.goal_map for moment in episode.moments]
    # The policy saw the map of each frame but the last, and before them that of the reset.
    assert len(maps) == len(seen) == episode.length
    np.testing.assert_array_equal(maps[:-1], seen[1:])
    agent = Agent.load(run)
    for moment in episode.moments:
        expected = agent.read_map(moment.frame, episode.goal)
        np.testing.assert_allclose(moment.goal_map, expected, atol=1e-6)


def test_a_map_of_rendered_frames_is_not_for_a_window(folder):
    with pytest.raises(FrameError, match="--render: this policy sees a map of the rendered"):
        next(play(folder(MAPPED), episodes=1, render=True))


def test_an_env_without_a_window_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Remembered, "__init__", _always_draws)
    with pytest.raises(FrameError, match="got the render mode 'rgb_array', expected 'human'"):
        next(play(folder(), episodes=1, render=True))


def _always_draws(self, config):
    painted.PaintedEnv.__init__(self, {**config, "render_mode": "rgb_array"})


def test_an_env_with_a_window_is_asked_for_it(folder, monkeypatch):
    modes = []

    def opens(self, config):
        painted.PaintedEnv.__init__(self, config)
        modes.append(self.render_mode)

    monkeypatch.setattr(Remembered, "__init__", opens)
    assert len([*play(folder(), episodes=1, render=True)]) == 1
    assert modes[-1] == "human"


def test_a_checkpoint_alone_names_no_env(folder):
    with pytest.raises(ConfigError, match=r"without config\.yaml.*Agent\.load"):
        next(play(folder() / "checkpoint", episodes=1))


def run(*words):
    ran = CliRunner().invoke(cli.app, ["play", *map(str, words)])
    assert ran.exit_code == 0, ran.output + repr(ran.exception)
    return ran.output.splitlines()


def test_the_command_prints_a_line_an_episode_and_draws(folder, tmp_path):
    gif = tmp_path / "agent.gif"
    lines = run(folder(), "--episodes", 4, "--seed", 3, "--gif", gif)
    played = Remembered.played
    for number, (line, one) in enumerate(zip(lines[-6:-2], played, strict=True), 1):
        success, steps = "success" if one["success"] else "failure", len(one["frames"])
        assert line == (
            f"  {number}  {success}  return {-100 * steps:.2f}  {steps} steps  {one['goal']}"
        )
    mean = np.mean([-100 * len(one["frames"]) for one in played])
    successes = sum(one["success"] for one in played)
    assert lines[-2] == f"success in {successes} of 4 episodes, mean return {mean:.2f}"
    assert "holds 4 episodes." in lines[-1]
    assert Image.open(gif).n_frames == sum(len(one["frames"]) for one in played)


def test_a_picture_is_never_replaced_nor_drawn_from_a_window(folder, tmp_path):
    there = tmp_path / "there.gif"
    there.touch()
    refused = CliRunner().invoke(cli.app, ["play", str(tmp_path), "--gif", str(there)])
    assert isinstance(refused.exception, FileExistsError)
    both = ["play", str(tmp_path), "--gif", str(tmp_path / "new.gif"), "--render"]
    assert CliRunner().invoke(cli.app, both).exit_code == 2
