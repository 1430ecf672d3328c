"""The road of docs/offline.md, walked with few steps."""

import math
import re
import shlex
from pathlib import Path

from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from typer.testing import CliRunner

from rllib_vlm_reward import GoalConditionedModule, cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "offline.md").read_text()
FEWER = {
    "config.env_runners(": "config.training(train_batch_size_per_learner=64, minibatch_size=64, "
    "num_epochs=1)\nconfig.env_runners(num_env_runners=0, num_envs_per_env_runner=4, ",
    "range(20)": "range(1)",
    "range(100)": "range(2)",
    "train_batch_size_per_learner=1000": "train_batch_size_per_learner=100",
}


def fewer(code):
    for long, short in FEWER.items():
        code = code.replace(long, short)
    return code


def test_record_relabel_learn(cluster, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    record, learn = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (command,) = re.findall(r"^rllib-vlm-reward (relabel recorded .*)$", PAGE, re.MULTILINE)
    exec(fewer(record), {})
    arguments = shlex.split(command)
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.exception
    assert '"unfinished": 0' in result.output
    learnt = {}
    exec(fewer(learn), learnt)
    assert 0 < learnt["result"]["learners"]["default_policy"]["vf_loss"] < math.inf
    module = MultiRLModule.from_checkpoint(tmp_path / "learnt/learner_group/learner/rl_module")
    assert isinstance(module["default_policy"], GoalConditionedModule)


def test_the_figures_name_a_command_that_is_there():
    (script,) = re.findall(r"^python (\S+) --steps 50000$", PAGE, re.MULTILINE)
    assert (ROOT / script).exists()
