"""Outcomes, against what the env itself remembers of the episodes that it played."""

import dataclasses
import itertools

import numpy as np
import painted
import pytest
from filmed import Filmed
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.policies import GoalConditionedModule
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.run.evaluator import STEPS, Evaluator, _false_positives


@dataclasses.dataclass
class Played:
    length: int
    success: bool
    ended: bool = False
    actions: list[int] = dataclasses.field(default_factory=list)


class RememberedEnv(painted.PaintedEnv):
    """Success comes after 4 to 30 steps, failure after 61: the first to end are the successful."""

    played: list[Played] = []  # noqa: RUF012  in the order in which they began

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
            self.episode = 0
        shown = super().reset()
        success = self.length % 2 == 0
        self.length = self.length if success else 61
        self.mine = Played(self.length, success)
        self.played.append(self.mine)
        return shown

    def step(self, action):
        result = super().step(action)
        self.mine.ended = self.t == self.length
        self.mine.actions.append(int(action))
        return result


class FailingEnv(RememberedEnv):
    """Each 300th step of all fails."""

    taken = itertools.count(1)

    def step(self, action):
        if next(self.taken) % 300 == 0:
            raise RuntimeError("a simulator broke down")
        return super().step(action)


@pytest.fixture
def evaluator(vlm_config, shared_pool):
    """Returns a function: an evaluator of four sub-envs."""
    opened = []

    def make(env=RememberedEnv, episodes=32, fault_tolerance=None, evaluation=None, **vlm):
        config = (
            PPOConfig()
            .environment(env)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
            .fault_tolerance(**fault_tolerance or {})
            .evaluation(**evaluation or {})
        )
        if issubclass(env, Filmed):
            spec = RLModuleSpec(module_class=GoalConditionedModule, model_config={"hidden": 8})
            config.rl_module(rl_module_spec=spec)
        else:
            config.rl_module(model_config={"fcnet_hiddens": [8]})
        reward = vlm_config(serving={"pool_name": shared_pool}, **vlm)
        algorithm = add_vlm_reward(config, reward).build_algo()
        opened.append(algorithm)
        opened.append(Evaluator(algorithm, episodes=episodes))
        env.played.clear()
        return opened[-1]

    yield make
    for each in reversed(opened):
        each.close() if isinstance(each, Evaluator) else each.stop()


@pytest.mark.parametrize("mode", ["synchronous", "deferred"])
def test_the_first_that_begin_count_whole_and_no_other(evaluator, mode):
    evaluator = evaluator(mode=mode, threshold=0.34)
    for episodes in (32, 3, 32):
        RememberedEnv.played.clear()
        with evaluator._recording() as recorder:
            outcome = evaluator.trained(episodes)
        counted = RememberedEnv.played[:episodes]
        assert all(each.ended for each in counted)
        assert max(each.length for each in counted) > STEPS, "or no episode is cut"
        assert outcome.episodes == episodes
        assert outcome.ground_truth_success == pytest.approx(
            sum(each.success for each in counted) / episodes
        )
        assert outcome.ground_truth_return_mean == pytest.approx(
            painted.ENV_REWARD * sum(each.length for each in counted) / episodes
        )
        seen = recorder.frames
        ids = [*dict.fromkeys(it.episode for it in seen)][:episodes]  # as they were first scored
        lengths = dict(zip(ids, counted, strict=True))
        fired = [it[:2] for it in seen if it.score > 0.34 and it.episode in lengths]
        assert outcome.vlm_return_mean == pytest.approx(len(fired) / episodes)
        wrong = sum(t < lengths[id_].length or not lengths[id_].success for id_, t in fired)
        assert outcome.false_positives_per_episode == pytest.approx(wrong / episodes)
    assert 0 < wrong < len(seen)


def test_few_episodes_are_played_in_few_sub_envs(evaluator):
    width = [evaluator(episodes=episodes)._runner.num_envs for episodes in (1, 15, 16, 1000)]
    assert width == [1, 1, 2, 4]


def test_each_call_plays_the_same_layouts(evaluator):
    evaluator = evaluator()
    seen = []
    for play in (evaluator.trained, evaluator.random, evaluator.trained):
        RememberedEnv.played.clear()
        play(32)
        seen.append([each.length for each in RememberedEnv.played[:32]])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("explore", [None, False, True])
def test_actions_are_drawn_only_if_the_evaluation_of_rllib_explores(explore, evaluator):
    given = {} if explore is None else {"evaluation_config": {"explore": explore}}
    evaluator = evaluator(evaluation=given)
    seen = []
    for play in (evaluator.trained, evaluator.trained):
        RememberedEnv.played.clear()
        play(32)
        seen.append([each.actions for each in RememberedEnv.played[:32]])
    assert [*map(len, seen[0])] == [*map(len, seen[1])]
    assert (seen[0] != seen[1]) is bool(explore)


class FilmedEnv(Filmed):
    """Its observation is the frame, so that the default policy sees frame, goal and map."""

    played: list[Played] = []  # noqa: RUF012  which stays empty


def test_a_recorded_frame_has_the_map_that_the_policy_saw(evaluator, tiny_clip):
    templates, frames = [{"noun": "{}"}], {"source": "obs"}
    settings = {"goal_map": True, "mode": "synchronous", "templates": templates, "frames": frames}
    evaluator = evaluator(FilmedEnv, episodes=1, goal_embedding=True, **settings)
    moments = evaluator.record(3)
    encoder = CLIPEncoder.load(tiny_clip, precision="fp32")
    words = encoder.encode_texts([*painted.GOALS, "nothing"]).double().numpy()
    patches = encoder.tower.with_patches(np.stack([it.frame for it in moments]))[1].double()
    powers = np.exp(encoder.logit_scale * patches.numpy() @ words.T)
    probability = powers / powers.sum(axis=-1, keepdims=True)
    for moment, found in zip(moments, probability, strict=True):
        goal = painted.GOALS.index(moment.goal)
        np.testing.assert_allclose(moment.goal_map[..., 0], found[..., goal], atol=1e-5)


def test_where_sub_envs_are_restarted_no_long_episode_is_lost_for_a_short_one(evaluator):
    evaluator = evaluator(FailingEnv, fault_tolerance={"restart_failed_sub_environments": True})
    outcome = evaluator.trained(32)
    assert not all(each.ended for each in FailingEnv.played), "or none failed"
    counted = [each for each in FailingEnv.played if each.ended]
    assert outcome.episodes == len(counted) == 32
    assert outcome.ground_truth_return_mean == pytest.approx(
        painted.ENV_REWARD * sum(each.length for each in counted) / 32
    )


def test_behind_a_cut_lie_the_observations_before_it(evaluator):
    cut = [chunk for chunk in evaluator()._sample(32) if chunk.t_started]
    assert cut
    for chunk in cut:
        before = chunk.get_observations(slice(-STEPS, 0), neg_index_as_lookback=True)
        times = [int(observation[2]) for observation in before]
        assert times == [*range(max(0, chunk.t_started - STEPS), chunk.t_started)]


def test_what_is_recorded_is_every_frame_in_the_order_of_the_episodes(evaluator):
    moments = evaluator().record(5)
    lengths = [each.length for each in RememberedEnv.played[:5]]
    assert [moment.t for moment in moments] == [t for n in lengths for t in range(1, n + 1)]
    assert [moment.info["success"] for moment in moments] == [
        t == each.length and each.success
        for each in RememberedEnv.played[:5]
        for t in range(1, each.length + 1)
    ]


def config(**changes):
    return VLMRewardConfig(
        encoder="small", goals=["a ball", "a key"], **{"threshold": 0.5, **changes}
    )


def episode(*steps, env_reward=-7.0, weight=0.0):
    """Steps of (fired, success); success None is not told."""
    made = SingleAgentEpisode()
    made.add_env_reset(0.0, {})
    for fired, success in steps:
        info = {"env_reward": env_reward} | ({} if success is None else {"success": success})
        made.add_env_step(0.0, 0, float(fired) + weight * env_reward, info)
    return made


EPISODES = [((1, False), (1, True), (0, False)), ((1, False), (1, False)), ((0, True),)]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_fired_without_success_is_counted_an_episode(weight):
    played = [episode(*steps, weight=weight) for steps in EPISODES]
    assert _false_positives(played, config(env_reward_weight=weight)) == pytest.approx(3 / 3)


def test_where_the_env_is_mute_or_nothing_fires_there_is_no_count():
    assert _false_positives([episode((1, None))], config()) is None
    assert _false_positives([episode((1, False))], config(threshold=None)) is None
