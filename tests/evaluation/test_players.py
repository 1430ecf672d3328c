"""Episodes of a run's env, against the env itself."""

import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.env import make_find
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.evaluation.players import PlayedEnv
from rllib_vlm_reward.run import Experiment

ROOM = {"colors": ["red", "blue"], "max_steps": 9}
RUN = Experiment.model_validate(
    {
        "environment": {"env": "rllib_vlm_reward/Find-v0", "env_config": ROOM},
        "vlm_reward": {
            "encoder": "small",
            "goals": ["go to the {red|blue} {ball|box|key}"],
            "frames": {"source": "obs"},
        },
        "stop": {"env_steps": 1},
    }
)


def test_an_episode_is_the_env_s_own():
    with PlayedEnv(RUN) as played:
        goal = played.reset(seed=3, goal="go to the blue key")
        seen = [
            (frame.copy(), info["success"], played.steps_to_go())
            for frame, info in played.play(played.act("random"), seed=5)
        ]
    env = make_find(**ROOM)
    _, info = env.reset(seed=3, options={"goal": "go to the blue key"})
    assert goal == info["goal"] == "go to the blue key"
    env.action_space.seed(5)
    for frame, success, to_go in seen:
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        np.testing.assert_array_equal(frame, observation)
        assert (success, to_go) == (info["success"], env.steps_to_go())
    assert terminated or truncated


def test_an_env_without_an_expert_has_none_and_no_steps_to_go():
    settings = {**RUN.to_dict(), "environment": {"env": "CartPole-v1"}}
    reward = {"encoder": "small", "goals": ["a pole"], "head": "cosine"}
    with PlayedEnv(Experiment.model_validate({**settings, "vlm_reward": reward})) as played:
        assert [*played.acts] == ["random"]
        assert played.steps_to_go() is None
        with pytest.raises(LabelError, match=r"'expert': .*\['random'\].*expert_action\(\)"):
            played.act("expert")


def test_a_goal_that_the_run_lacks_is_refused():
    with PlayedEnv(RUN) as played, pytest.raises(GoalError):
        played.reset(seed=0, goal="go to the grey door")
