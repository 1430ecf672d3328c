"""What a checkpoint brings back, where it is restored, and what it refuses."""

import json
import os
import subprocess
import textwrap

import fork_server
import numpy as np
import pytest
import recount
from painted import BANK, PaintedEnv
from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.plugin import add_vlm_reward

# To the last bit, a score depends on the batch that its frame was encoded in, and so on the cache.
SAME_BATCHES = {"serving": {"cache_frames": 0, "max_batch_size": 64}}
DRAWN = {"num_negatives": 1, "negatives_seed": 3, "normalize_rewards": True, **SAME_BATCHES}
RESTORE = """
    import json, ray, recount
    from ray.rllib.algorithms.algorithm import Algorithm
    from test_checkpoint import account_of

    ray.init(address={address!r}, log_to_driver=False)
    algorithm = Algorithm.from_checkpoint({path!r})
    print("ACCOUNT", json.dumps(account_of(algorithm), default=bytes.hex))
    for _ in range(2):
        algorithm.train()
    print("LATER", json.dumps(account_of(algorithm), default=bytes.hex))
    print("ROWS", sum(len(chunk.rewards) for chunk in recount.Witness.chunks))
    algorithm.stop()
"""


def account_of(algorithm):
    """Return all that rewards rest on, and what a few frames are paid, to the last bit."""
    piece = reward_piece(algorithm.env_runner)
    stream = piece._streams[None]
    goals = np.arange(64, dtype=np.int64) % 3
    scores = piece.pool.score(np.ascontiguousarray(BANK[:64]), goals, stream.rater)
    return {
        "negatives": [goal.negatives for goal in piece.config.goal_set.goals],
        "state": {key: it for key, it in piece.get_state().items() if key != "epoch"},
        "rewards": stream.normalizer._rest.merge(stream.normalizer._own).variance,
        "scores": scores.tobytes().hex(),
    }


def counts(account):
    return {key: moments[0] for key, moments in account["state"]["moments"]["None"].items()}


def as_json(value):
    return json.loads(json.dumps(value, default=bytes.hex))


@pytest.mark.parametrize("num_env_runners", [0, 2])
def test_it_goes_on_in_a_new_process_as_it_was(num_env_runners, vlm_config, ppo, cluster, tmp_path):
    config = ppo(num_env_runners=num_env_runners)
    # What an env runner reports later than this (10 s in RLlib 2.60) counts an iteration later.
    config.sync_filters_on_rollout_workers_timeout_s = 120.0
    algorithm = add_vlm_reward(config, vlm_config(**DRAWN)).build_algo()
    for _ in range(2):
        algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    reward_piece(algorithm.env_runner)._pool_name = _pool_of(algorithm)
    account = as_json(account_of(algorithm))
    assert len(counts(account)) == max(1, num_env_runners)
    assert len(account["state"]["monitor"]["alarms"]["None"]["window"]) == 2
    steps = sum(len(chunk.rewards) for chunk in recount.Witness.chunks)
    assert sum(counts(account).values()) == steps  # none twice, none lost
    algorithm.stop()

    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    code = textwrap.dedent(RESTORE.format(path=str(path), address=cluster))
    output = subprocess.run(
        [*fork_server.python(), "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    ).stdout
    told = dict(
        line.split(" ", 1)
        for line in output.splitlines()
        if line.split(" ")[0] in ("ACCOUNT", "LATER", "ROWS")
    )
    assert json.loads(told["ACCOUNT"]) == account
    later = counts(json.loads(told["LATER"]))
    assert later.items() > counts(account).items()  # those of the old env runners stay
    assert sum(later.values()) == steps + int(told["ROWS"])


def _pool_of(algorithm):
    if algorithm.env_runner.env is not None:
        return reward_piece(algorithm.env_runner)._pool_name
    (name, *_) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: reward_piece(runner)._pool_name, local_env_runner=False
    )
    return name


def test_it_restores_beside_its_writer_and_with_other_actors(vlm_config, ppo, cluster, tmp_path):
    vlm = vlm_config(num_negatives=1, negatives_seed=3)
    algorithm = add_vlm_reward(ppo(), vlm).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")

    elsewhere = vlm.model_copy(
        update={"serving": {"num_actors": 2, "max_batch_size": 16, "timeout_s": 30.0}}
    )
    restored = Algorithm.from_checkpoint(path, config=add_vlm_reward(ppo(), elsewhere))
    assert len(reward_piece(restored.env_runner).pool.describe()) == 2
    recount.Witness.chunks.clear()
    restored.train()
    chunks = list(recount.Witness.chunks)
    got, expected = [chunk.rewards for chunk in chunks], recount.expected_rewards(chunks, vlm)
    assert recount.mismatches(got, expected) == 0
    restored.stop()

    algorithm.train()  # its pool is its own
    algorithm.restore_from_path(path)
    algorithm.train()
    algorithm.stop()


@pytest.fixture(scope="module")
def written(cluster, tmp_path_factory):
    """Returns a function: the path of a checkpoint of this reward, written once."""
    paths = {}

    def write(config):
        if not paths:
            algorithm = config.build_algo()
            algorithm.train()
            paths["one"] = algorithm.save_to_path(tmp_path_factory.mktemp("run") / "checkpoint")
            algorithm.stop()
        return paths["one"]

    return write


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threshold": 0.7}, r"threshold: 0\.5, now 0\.7"),
        ({"num_negatives": 1}, r"num_negatives: None, now 1"),
        (
            {"head": "cosine"},
            r"head: \{'kind': 'softmax', 'temperature': 0\.3\}, now 'cosine'",
        ),
        ({"frames": {"scored_steps": 2}}, r"scored_steps: 'all', now 2"),
        ({"normalize_rewards": True}, r"normalize_rewards: False, now True"),
    ],
)
def test_another_reward_says_what_differs(
    changes, says, written, vlm_config, ppo, shared_pool, tmp_path
):
    given = {"threshold": 0.5, "serving": {"pool_name": shared_pool}}
    path = written(add_vlm_reward(ppo(), vlm_config(**given)))
    vlm = vlm_config(**given).model_copy(update=changes)
    algorithm = add_vlm_reward(ppo(), vlm).build_algo()
    with pytest.raises(RewardError, match=says):
        algorithm.restore_from_path(path)
    algorithm.stop()


def test_a_change_that_is_asked_for_takes_effect(written, vlm_config, ppo, shared_pool):
    given = {"threshold": 0.5, "serving": {"pool_name": shared_pool}}
    path = written(add_vlm_reward(ppo(), vlm_config(**given)))
    vlm = vlm_config(head="cosine", may_change=True, serving={"pool_name": shared_pool})
    algorithm = add_vlm_reward(ppo(PaintedEnv), vlm).build_algo()
    algorithm.restore_from_path(path)
    recount.Witness.chunks.clear()
    algorithm.train()
    algorithm.stop()
    chunks = list(recount.Witness.chunks)
    got, expected = [chunk.rewards for chunk in chunks], recount.expected_rewards(chunks, vlm)
    assert recount.mismatches(got, expected) == 0


@pytest.mark.parametrize("num_env_runners", [0, 2])
def test_a_restore_takes_back_what_came_after_the_checkpoint(
    num_env_runners, vlm_config, ppo, shared_pool, tmp_path
):
    def counted():
        moments = reward_piece(algorithm.env_runner).get_state()["moments"]["None"]
        return sum(count for count, _, _ in moments.values())

    vlm = vlm_config(normalize_rewards=True, serving={"pool_name": shared_pool})
    algorithm = add_vlm_reward(ppo(num_env_runners=num_env_runners), vlm).build_algo()
    algorithm.train()
    saved, path = counted(), algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.train()
    assert counted() > saved
    algorithm.restore_from_path(path)
    assert counted() == saved
    recount.Witness.chunks.clear()
    algorithm.train()
    # What env runners knew of the time between is gone with it.
    assert counted() == saved + sum(len(chunk.rewards) for chunk in recount.Witness.chunks)
    algorithm.stop()


def test_an_alarm_of_the_start_holds_on_when_it_is_restored_later(vlm_config, ppo, shared_pool):
    """`constant` is looked for in the first three iterations alone."""
    flat = vlm_config(
        serving={"pool_name": shared_pool}, head={"kind": "softmax", "temperature": 100.0}
    )
    algorithm = add_vlm_reward(ppo(batch=300), flat).build_algo()
    for _ in range(4):
        algorithm.train()
    state = algorithm.get_state()
    algorithm.stop()
    also_flat = flat.model_copy(
        update={"may_change": True, "head": {"kind": "softmax", "temperature": 50.0}}
    )
    good = flat.model_copy(
        update={"may_change": True, "head": {"kind": "softmax", "temperature": None}}
    )
    # Another reward is watched anew, as if its run began now.
    for vlm, expected in ((flat, True), (also_flat, True), (good, False)):
        restored = add_vlm_reward(ppo(batch=300), vlm).build_algo()
        restored.set_state(state)
        restored.train()
        assert ("constant" in callbacks_of(restored).monitor.in_force) == expected
        restored.stop()


def test_moments_of_other_rewards_are_not_taken_over(vlm_config):
    state = VLMReward(vlm_config(normalize_rewards=True)).get_state()
    state["moments"]["None"] = {"another": (10.0, 1.0, 1.0)}
    same = VLMReward(vlm_config(normalize_rewards=True))
    same.set_state(state)
    assert same.get_state()["moments"] == state["moments"]
    changed = VLMReward(vlm_config(normalize_rewards=True, head="cosine", may_change=True))
    changed.set_state(state)
    assert changed.get_state()["moments"] == {"None": {}}


def test_what_is_merged_on_the_driver_is_kept_there(vlm_config):
    """RLlib gives the merged state of APPO and IMPALA to their env runners only."""
    driver = VLMReward(vlm_config(normalize_rewards=True))
    states = [driver.get_state() for _ in range(2)]
    for number, state in enumerate(states):
        state["moments"] = {"None": {f"runner {number}": (10.0, 1.0, 1.0)}}
    merged = driver.merge_states(states)
    assert [*merged["moments"]["None"]] == ["runner 0", "runner 1"]
    assert driver.get_state()["moments"] == merged["moments"]


def test_weights_count_and_not_their_name(vlm_config):
    def attached(weights, **changes):
        piece = VLMReward(vlm_config(**changes))
        piece.attach("red", weights={"": weights})
        return piece

    state = attached("w1").get_state()
    attached("w1", encoder="ViT-B-32/random").set_state(state)
    with pytest.raises(RewardError, match="other weights under the same name"):
        attached("w2").set_state(state)


@pytest.mark.parametrize(
    ("was", "now", "warned"),
    [("bf16", "fp32", True), ("fp32", "fp32", False), ("bf16", None, False), (None, "bf16", False)],
)
def test_another_precision_than_before_is_a_warning(was, now, warned, vlm_config, caplog):
    def on_the_driver(precision):
        vlm = vlm_config(serving={"precision": "auto"})
        piece = VLMReward(vlm)
        chosen = {} if precision is None else {vlm.scorer.fingerprint: precision}
        piece.attach("red", weights={"": "w1"}, precisions=chosen)
        piece.monitor = RewardMonitor(vlm)
        return piece

    state, piece = on_the_driver(was).get_state(), on_the_driver(now)
    piece.set_state({key: each for key, each in state.items() if key != "monitor"})
    assert not caplog.records  # what env runners send while they train
    piece.set_state(state)
    says = "before it were computed in bf16, and those from here on are computed in fp32"
    assert (says in caplog.text) == warned
    assert len(caplog.records) == int(warned)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation_goals": ["a pink wall"]},
        {"success_key": "won"},
        {"agents": {"a": {"head": {"kind": "softmax", "temperature": 0.3}}}},
        {"mode": "synchronous", "serving": {"num_actors": 3}},
    ],
    ids=str,
)
def test_what_no_reward_of_training_depends_on_may_differ(changes, vlm_config):
    state = VLMReward(vlm_config(agents={"a": {}})).get_state()
    VLMReward(vlm_config(**{"agents": {"a": {}}, **changes})).set_state(state)


def test_the_discount_is_the_algorithms(vlm_config, ppo, shared_pool):
    config = add_vlm_reward(
        ppo(), vlm_config(normalize_rewards=True, serving={"pool_name": shared_pool})
    )
    algorithm = config.training(gamma=0.5).build_algo()
    assert reward_piece(algorithm.env_runner)._streams[None].normalizer.gamma == 0.5
    algorithm.stop()
