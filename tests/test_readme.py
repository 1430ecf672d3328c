"""What the README promises, as far as it is quick to see."""

import re
from pathlib import Path

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_configures_an_algorithm():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    built = []
    code, trains = code.split(".build_algo()")
    assert "algorithm.train()" in trains
    code = code.replace("my_package:MyRoom-v0", "CartPole-v1")
    exec(f"{code}\nbuilt.append(algorithm)", {"built": built})
    (config,) = built
    assert isinstance(config, AlgorithmConfig)
    assert config.num_env_runners == 8
    assert len(config.callbacks_class) == 1


def test_every_file_that_it_names_exists():
    table = README.partition("## To change X, open file Y")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = {path for row in rows for path in re.findall(r"`(rllib_vlm_reward/[^`]*)`", row)}
    assert len(named) > 8
    assert all((ROOT / path).exists() for path in named)
    assert all((ROOT / link).exists() for link in re.findall(r"\]\((?!http)([^)]+)\)", README))


def test_the_test_command_is_the_one_that_ci_calls():
    assert "<!-- test -->" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"<!-- test -->\n```sh\n.*pytest\n```", README)
