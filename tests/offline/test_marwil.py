"""MARWIL learns from relabelled episodes: what its learner sees is recounted."""

import logging

import numpy as np
import pytest
from ray.rllib.algorithms.marwil import MARWILConfig
from ray.rllib.algorithms.marwil.torch.marwil_torch_learner import MARWILTorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from recording import expected, read
from scenes import SceneEnv, SceneModule, key

from rllib_vlm_reward.offline import relabel


class Seen(MARWILTorchLearner):
    """Keeps every row that the loss counts, by its frame."""

    rows = {}  # noqa: RUF012
    batches = 0

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        counted = batch["loss_mask"].numpy()
        for frame, reward in zip(
            batch["obs"].numpy()[counted], batch["rewards"].numpy()[counted], strict=True
        ):
            Seen.rows.setdefault(key(frame), set()).add(float(reward))
        Seen.batches += 1
        return super().compute_loss_for_module(
            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out
        )


def test_the_learner_sees_the_relabelled_rewards_and_no_others(
    in_this_process, unrewarded, vlm_config, tmp_path
):
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    relabel(vlm_config(), unrewarded, tmp_path / "out")
    config = (
        MARWILConfig()
        .environment(observation_space=SceneEnv.observation_space,
                     action_space=SceneEnv.action_space)
        .offline_data(input_=[str(tmp_path / "out")], input_read_episodes=True,
                      input_read_batch_size=8, dataset_num_iters_per_learner=1,
                      map_batches_kwargs={"concurrency": 1})
        .training(beta=1.0, train_batch_size_per_learner=200)
        .learners(learner_class=Seen)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=SceneModule))
    )  # fmt: skip
    algorithm = config.build_algo()
    try:
        for _ in range(2):
            algorithm.train()
    finally:
        algorithm.stop()
    states = read(unrewarded)
    paid = {
        key(frame): reward
        for state, some in zip(states, expected(states, vlm_config()), strict=True)
        for frame, reward in zip(state["observations"]["data"][:-1], some, strict=True)
    }
    assert Seen.batches >= 2
    assert len(Seen.rows) > 4
    for frame, seen in Seen.rows.items():
        (reward,) = seen
        assert reward == pytest.approx(paid[frame], abs=1e-5)
    assert np.std(list(paid.values())) > 0.01
