import gymnasium as gym
import numpy as np
import pytest
from painted import GOALS, PaintedEnv
from ray.rllib.connectors.env_to_module import FlattenObservations

from rllib_vlm_reward.connectors import goal_embedding
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.connectors.stream import RewardStream
from rllib_vlm_reward.errors import PoolError

PROMPTS = {"templates": [{"goal": "a {} wall", "prompt": "a wall painted {}"}]}


@pytest.fixture
def runner(vlm_config, env_runner):
    """An env runner whose policy is shown the goal, flattened behind our pieces."""
    vlm = vlm_config(goal_embedding=True, **PROMPTS)
    return env_runner(
        vlm, env_to_module_connector=lambda env, spaces, device: [FlattenObservations()]
    )


def test_the_space_gains_the_goal(vlm_config):
    piece = GoalEmbedding(vlm_config(goal_embedding=True), embed_dim=16)
    piece.input_observation_space = PaintedEnv.observation_space
    assert piece.observation_space == gym.spaces.Dict(
        observation=PaintedEnv.observation_space, goal=gym.spaces.Box(-1, 1, (16,), np.float32)
    )


def shown(episodes):
    """Yield each observation's embedding [16], goal index and episode."""
    for episode in episodes:
        for observation in episode.get_observations():
            yield observation[:16], int(observation[-1]), episode.id_


def test_every_observation_carries_the_embedding_of_its_goals_prompt(runner, red_pool):
    prompts = [f"a wall painted {goal.split()[1]}" for goal in GOALS]
    episodes = [episode for _ in range(3) for episode in runner.sample()]
    assert sorted(red_pool.embedded) == sorted(prompts)  # each asked for once
    seen = set()
    for embedding, goal, _ in shown(episodes):
        assert np.array_equal(embedding, red_pool.embed_texts([prompts[goal]])[0])
        seen.add(goal)
    assert seen == {0, 1, 2}


def test_a_wrong_goal_is_no_paraphrase_of_the_goal(vlm_config):
    vlm = vlm_config(
        goals=["paint it red", "paint it blue"],
        evaluation_goals=["make it red"],
        templates=[
            {"goal": "paint it {}", "prompt": "a {} wall", "nothing": "no wall"},
            {"goal": "make it {}", "prompt": "a {} wall", "nothing": "no wall"},
        ],
        goal_embedding=True,
    )
    stream = RewardStream(vlm)
    assert {stream._wrong_goal(0) for _ in range(20)} == {1}


def test_a_wrong_goal_is_shown_for_a_whole_episode(runner, red_pool):
    reward_piece(runner).show_wrong_goals(True)
    lengths = {len(f"a wall painted {goal.split()[1]}") / 100: goal for goal in GOALS}
    by_episode = {}
    for embedding, goal, id_ in shown([e for _ in range(30) for e in runner.sample()]):
        text = lengths[round(float(embedding[0]), 2)]
        assert text != GOALS[goal]
        by_episode.setdefault(id_, set()).add(text)
    assert all(len(texts) == 1 for texts in by_episode.values())
    assert len(set.union(*by_episode.values())) == 3


@pytest.mark.parametrize("use_msgpack", [False, True])
def test_a_checkpoint_brings_the_embeddings_and_a_pool_takes_their_place(
    use_msgpack, vlm_config, red_pool, tmp_path
):
    piece = GoalEmbedding(vlm_config(goal_embedding=True), embed_dim=16)
    piece.attach("red", encoder="w1")
    piece.embed_goals()
    piece.save_to_path(tmp_path / "piece", state=piece.get_state(), use_msgpack=use_msgpack)
    assert piece.get_state().keys() == {"goals"}, "which every env runner gets"
    restored = GoalEmbedding.from_checkpoint(tmp_path / "piece")
    asked = len(red_pool.embedded)
    for goal in GOALS:
        assert np.array_equal(restored.embed(goal), red_pool.embed_texts([goal])[0])
    assert len(red_pool.embedded) == asked + 3  # by this test alone
    restored.attach("another", encoder="w2")
    restored.restore_from_path(tmp_path / "piece")
    restored.embed(GOALS[0])
    assert len(red_pool.embedded) == asked + 4


def test_a_new_goal_that_the_clip_was_never_taught_is_a_warning(vlm_config, caplog):
    piece = GoalEmbedding(vlm_config(goal_embedding=True, encoder="small"), embed_dim=64)
    assert piece.embed("pick up the striped ball").shape == (64,)
    (record,) = caplog.records
    assert "'small' was never taught the words ['pick', 'striped', 'up']" in record.getMessage()


class Lost:
    """A pool of which no actor answers."""

    is_cancelled = False

    def embed_texts(self, texts):
        raise PoolError("no answer")

    def cancel(self):
        self.is_cancelled = True


def test_requests_without_an_answer_are_cancelled(vlm_config, monkeypatch):
    pool = Lost()
    monkeypatch.setattr(goal_embedding.RewardPool, "connect", lambda name, config: pool)
    piece = GoalEmbedding(vlm_config(goal_embedding=True), embed_dim=16)
    piece.attach("pool")
    with pytest.raises(PoolError, match="no answer"):
        piece.embed_goals()
    assert pool.is_cancelled
