"""Goals that are added while training goes on are posed, scored and counted like all others."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import recount
from growing import ADDABLE, GOALS, IMPOSSIBLE, POSSIBLE, DeafEnv, GrowingEnv, WilfulEnv
from painted import BANK
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.tune.registry import register_env

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_growth import add_goals, posed_goals
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.pipeline import driver_pieces, reward_piece
from rllib_vlm_reward.curriculum import CurriculumConfig, Proposer
from rllib_vlm_reward.errors import ConfigError, GoalError, PoolError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.reward_model.clip import CLIPEncoder

HINTS = {"goals": {"{}": [{"statement": "near {0}", "nothing": "near nothing"}]}, "weight": 0.1}


class Talkative(Proposer):
    """Raises an error, and then says nonsense, duplicates, one goal and 10,000 lines."""

    asked = 0

    def propose(self, record):
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("no idea")
        nonsense = [None, 7, "", "x" * 1000, "\ud83d", "<b>a red door</b>", "a red wall", "go"]
        return [*nonsense, ADDABLE[0], *(f"a thing {n}" for n in range(10_000))]


FOCAL = {"kind": "focal", "weight": 0.1, "centre": "centre"}
FULL = [{"text": text, "baseline": "a room"} for text in GOALS]


def growth(**propose):
    return CurriculumConfig(signal="vlm_return", propose={"every": 1, "most_alike": 1.0, **propose})


@pytest.fixture
def reward(vlm_config, shared_pool):
    """Returns a function: the reward of the growing world, with changes."""

    def make(**changes):
        return vlm_config(goals=GOALS, serving={"pool_name": shared_pool}, **changes)

    return make


@pytest.fixture
def build(reward, ppo):
    """Returns a function: an algorithm whose goals grow, stopped after the test."""
    built = []

    def make(curriculum=None, config=None, vlm=None, **env_runners):
        config = config or ppo(GrowingEnv, **env_runners)
        config = add_vlm_reward(config, vlm or reward(), curriculum or growth())
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def own(algorithm):
    return next(driver_pieces(algorithm, GoalWeights))


def scores_of(goal, config):
    """Return every bank frame's score for a goal, float32 [F], without any code of a reward."""
    encoder = CLIPEncoder.load(config.encoder, precision="fp32")
    texts = encoder.encode_texts([goal.prompt, *goal.negatives]).numpy()
    logits = encoder.encode_frames(BANK).numpy() @ texts.T / config.head.temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights[:, 0] / weights.sum(axis=1)


def train_until_all_are_posed(algorithm, iterations):
    """Train until each goal that can be posed had an episode; return the results."""
    results = []
    for _ in range(iterations):
        results.append(algorithm.train())
        curriculum = own(algorithm).curriculum
        if len(curriculum.goals) == len(POSSIBLE) - 1 and min(curriculum.episodes) > 0:
            break
    return results


def check(algorithm, results, config, steps, before=0):
    """Check what was posed and counted, and recount the rewards of steps (goal, frame, reward).

    ``before`` is the number of episodes before the results.
    """
    piece = own(algorithm)
    assert sorted(piece.known.training.texts) == sorted({*POSSIBLE} - {IMPOSSIBLE})
    curriculum = piece.curriculum
    assert min(curriculum.episodes) > 0
    ended = sum(int(result["env_runners"].get("num_episodes", 0)) for result in results)
    assert sum(curriculum.episodes) == before + ended
    assert piece.known.all.goals[:3] == config.goal_set.goals
    table = {POSSIBLE.index(goal.text): scores_of(goal, config) for goal in piece.known.all.goals}
    assert {*steps[:, 0].astype(int)} == {*table}
    expected = np.array([table[int(goal)][int(frame)] for goal, frame, _ in steps])
    assert recount.mismatches([steps[:, 2]], [expected]) == 0


def seen_by_the_learner():
    """Return the steps that reached a local learner, float64 [N, 3]."""
    chunks = [chunk for chunk in recount.Witness.chunks if len(chunk.rewards)]
    return np.concatenate(
        [np.column_stack([*chunk.columns[[4, 3], 1:], chunk.rewards]) for chunk in chunks]
    )


def report(*, samples, metrics_logger, **_):
    """Send the steps of a fragment among the metrics, as they leave the env runner."""
    for chunk in samples:
        observations = np.array(chunk.get_observations())[1:]
        steps = np.column_stack([observations[:, [4, 3]], chunk.get_rewards()]).tolist()
        metrics_logger.log_value("steps", tuple(map(tuple, steps)), reduce="item_series")


@pytest.mark.parametrize("num_env_runners", [0, 2])
def test_goals_that_are_added_are_posed_scored_and_counted_once(build, reward, num_env_runners):
    algorithm = build(num_env_runners=num_env_runners)
    results = train_until_all_are_posed(algorithm, 12)
    check(algorithm, results, reward(), seen_by_the_learner())
    numbers = results[-1]["curriculum"]["growth"]
    assert numbers["goals"] == 5
    assert numbers["added"] == 2
    assert numbers["refused"]["not_posed"] == 1
    assert own(algorithm).growth.refused == {IMPOSSIBLE: "not_posed"}


def test_appo_samples_ahead_and_loses_no_goal(build, reward):
    config = (
        APPOConfig()
        .environment(GrowingEnv)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=3, rollout_fragment_length=17)
        .training(train_batch_size_per_learner=102)
        .callbacks(on_sample_end=report)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=200)
    )
    algorithm = build(config=config)
    results = train_until_all_are_posed(algorithm, 20)
    steps = [chunk for result in results for chunk in result["env_runners"].get("steps", ())]
    check(algorithm, results, reward(), np.concatenate(list(map(np.array, steps))))


def test_training_goes_on_whatever_a_proposer_does(build, caplog):
    talkative = growth(kind="test_goal_growth.Talkative", at_once=1)
    algorithm = build(talkative)
    for _ in range(20):
        result = algorithm.train()
        if result["curriculum"]["growth"]["added"]:
            break
    assert "Talkative raised RuntimeError: no idea" in caplog.text
    assert own(algorithm).known.added == ((ADDABLE[0],),)
    assert result["curriculum"]["growth"]["refused"] == {
        "failed": 1,
        "no_text": 3,
        "too_long": 1,
        "not_plain": 2,
        "known": 1,
        "not_posed": 1,
        "too_many": 10_000 - 9 + 1,
    }


def test_the_policy_is_shown_the_goals_that_were_added(build, reward):
    vlm = reward(goal_embedding=True, templates=[{"goal": "a {}", "prompt": "the {} there"}])
    algorithm = build(
        vlm=vlm,
        num_env_runners=2,
        env_to_module_connector=lambda env, spaces, device: [FlattenObservations()],
    )
    train_until_all_are_posed(algorithm, 12)
    encoder = CLIPEncoder.load(vlm.encoder, precision="fp32")
    prompts = [f"the {text.removeprefix('a ')} there" for text in POSSIBLE]
    table = encoder.encode_texts(prompts).numpy()
    seen = set()
    for chunk in recount.Witness.chunks:
        np.testing.assert_allclose(chunk.extra, table[chunk.columns[4]], atol=1e-5)
        seen |= {*chunk.columns[4].tolist()}
    assert len(seen) == len(POSSIBLE) - 1
    (embedding,) = driver_pieces(algorithm, GoalEmbedding)
    known = [goal.prompt for goal in own(algorithm).known.all.goals]
    expected = table[[prompts.index(prompt) for prompt in known]]
    np.testing.assert_allclose(embedding.goals, expected, atol=1e-5)  # for the checkpoint


def test_goals_come_back_from_a_checkpoint_also_over_those_of_another_run(build, reward, tmp_path):
    first = build(growth(at_once=1, seed=0), num_env_runners=2)
    train_until_all_are_posed(first, 20)
    path = first.save_to_path(str(tmp_path / "checkpoint"))
    second = build(growth(at_once=1, seed=1), num_env_runners=2)
    train_until_all_are_posed(second, 20)  # so that episodes with such goals are in progress
    assert own(second).known.added == own(first).known.added[::-1]
    second.restore_from_path(path)
    assert own(second).known.all == own(first).known.all
    assert own(second).curriculum.get_state() == own(first).curriculum.get_state()
    assert own(second).growth.get_state() == own(first).growth.get_state()
    counted = sum(own(second).curriculum.episodes)
    recount.Witness.chunks.clear()
    results = [second.train() for _ in range(3)]
    check(second, results, reward(), seen_by_the_learner(), before=counted)


def test_an_env_runner_that_is_made_again_knows_the_goals_that_were_added(build, reward, ppo):
    config = ppo(GrowingEnv, num_env_runners=2)
    config.fault_tolerance(delay_between_env_runner_restarts_s=0)
    algorithm = build(config=config)
    results = train_until_all_are_posed(algorithm, 12)
    group = algorithm.env_runner_group
    ray.kill(group._worker_manager.actors()[1], no_restart=False)

    def goals(runner):
        return runner.env.unwrapped.get_attr("drawn_goals")

    for _ in range(20):
        results.append(algorithm.train())
        drawn = group.foreach_env_runner(goals, local_env_runner=False)
        if len(drawn) == 2:
            break
        time.sleep(1)
    results.append(algorithm.train())
    check(algorithm, results, reward(), seen_by_the_learner())
    assert drawn == [(own(algorithm).known.all.texts,) * 3] * 2


def test_held_out_goals_keep_their_index_and_are_never_added(build, reward, ppo):
    vlm = reward(evaluation_goals=ADDABLE[:1])
    config = ppo(GrowingEnv).evaluation(evaluation_interval=1, evaluation_duration=4)
    algorithm = build(config=config, vlm=vlm)
    for _ in range(6):
        result = algorithm.train()
    known = own(algorithm).known
    assert known.all.texts == (*GOALS, *ADDABLE)
    assert ADDABLE[0] not in known.training.texts
    assert all(ADDABLE[0] not in goal.negatives for goal in known.training.goals)
    chunks = recount.Witness.chunks
    assert {POSSIBLE[chunk.columns[4, 0]] for chunk in chunks} == {*known.training.texts}
    assert result["evaluation"]["env_runners"]["num_episodes"] >= 4


def test_an_old_scorer_is_released(build):
    algorithm = build(growth(at_once=1))
    train_until_all_are_posed(algorithm, 20)
    assert len(own(algorithm).known.added) == len(ADDABLE)
    pool = reward_piece(algorithm.env_runner).pool
    assert len(pool._shared) == 1
    assert len(callbacks_of(algorithm)._pool._shared) <= 1


@pytest.mark.parametrize(
    ("changes", "propose", "error", "says"),
    [
        ({}, {"kind": "nowhere.Mine"}, ConfigError, "cannot import 'nowhere.Mine'"),
        ({}, {"at_most": 3}, GoalError, "got at_most 3 with 3 training goals"),
        ({}, {"at_most": 1001}, GoalError, "got at_most 1,001 without num_negatives"),
        ({"num_negatives": 2}, {"at_most": 10**6, "kind": "nowhere.Mine"}, ConfigError, "import"),
        (
            {"head": "goal_baseline", "goals": FULL},
            {},
            GoalError,
            "needs a baseline for every goal",
        ),
        ({"evaluation_goals": [*ADDABLE, IMPOSSIBLE]}, {}, ConfigError, "nothing to propose"),
        ({"hindsight": 2, "threshold": 0.5, "goal_embedding": True}, {}, GoalError, "hindsight"),
        ({"hints": HINTS, "threshold": 0.5}, {}, GoalError, "hints"),
        ({"head": "dense"}, {}, GoalError, "depends on the number of negatives"),
        ({"bonus": FOCAL, "templates": [{"noun": "{}"}]}, {}, GoalError, "together with bonus"),
    ],
)
def test_what_cannot_grow_is_refused(vlm_config, changes, propose, error, says):
    vlm = vlm_config(**{"goals": GOALS, **changes})
    kind = DQNConfig if "hindsight" in changes else PPOConfig
    config = kind().environment(GrowingEnv).rl_module(model_config={"fcnet_hiddens": [8]})
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=RLModule))
    with pytest.raises(error, match=says):
        add_vlm_reward(config, vlm, growth(**propose))


def test_an_env_that_does_not_follow_is_refused_before_training(reward, ppo, cluster):
    config = add_vlm_reward(ppo(WilfulEnv), reward(), growth())
    with pytest.raises(GoalError, match=r"chose another goal.*reset\(options="):
        config.build_algo()


def test_an_env_that_follows_only_the_goals_of_the_beginning_gets_no_other(build, ppo):
    algorithm = build(config=ppo(DeafEnv))
    for _ in range(4):
        result = algorithm.train()
    assert result["curriculum"]["growth"]["added"] == 0
    assert result["curriculum"]["growth"]["refused"]["not_posed"] == len(ADDABLE) + 1


class Silent:
    """A judge whose pool does not answer."""

    def __init__(self, config, frames):
        self.config, self.frames = config, frames

    def embed(self, texts):
        raise PoolError("the pool is late")


def test_a_pool_that_does_not_answer_is_a_warning(vlm_config, caplog):
    config = vlm_config(goals=GOALS)
    piece = GoalWeights(config, growth(every=3))
    assert piece.begin_growth()
    record = dict.fromkeys(GOALS)
    add_goals(piece, piece.growth, Silent(config, []), lambda: {"goals": record}, 3)
    assert piece.growth.is_due(4)  # without a frame nobody was asked
    add_goals(piece, piece.growth, Silent(config, [BANK[0]]), lambda: {"goals": record}, 4)
    assert "iteration 4 cannot be checked (the pool is late)" in caplog.text
    assert [piece.growth.is_due(iteration) for iteration in (6, 7)] == [False, True]
    assert piece.growth.counts == {"unchecked": 1}
    assert piece.known.added == ()


def test_an_env_that_exists_only_once_cannot_try_goals(caplog):
    def make(config):
        if config.worker_index == 1:
            raise RuntimeError("the port is taken")
        return GrowingEnv(config)

    register_env("only-once", make)
    config = PPOConfig().environment("only-once")
    first, second = (SimpleNamespace(config=config, worker_index=index) for index in (1, 2))
    texts = [ADDABLE[0], IMPOSSIBLE]
    assert posed_goals(first, texts) is None
    assert "the port is taken" in caplog.text
    assert posed_goals(second, texts) == [True, False]
