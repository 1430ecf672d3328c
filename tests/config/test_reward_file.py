"""The reward is read from a run's YAML, or from a file with its section alone."""

import pytest

from rllib_vlm_reward.config import VLMRewardConfig, read_config
from rllib_vlm_reward.errors import ConfigError

REWARD = VLMRewardConfig(encoder="small", goals=["a {red|blue} ball"], threshold=0.5)
RUN = "environment: {env: X-v0}\nvlm_reward:\n"


@pytest.fixture(params=["", RUN], ids=["section", "run"])
def path(request, tmp_path):
    indent = "  " if request.param else ""
    path = tmp_path / "config.yaml"
    path.write_text(
        request.param + "".join(f"{indent}{line}\n" for line in REWARD.to_yaml().splitlines())
    )
    return path


def test_a_runs_reward_and_the_section_alone_are_the_same(path):
    assert read_config(path) == REWARD


def test_what_is_no_mapping_is_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- a list")
    with pytest.raises(ConfigError, match=r"list\.yaml: got list.*the section vlm_reward"):
        read_config(tmp_path / "list.yaml")


@pytest.mark.parametrize("line", ["threshold: 1.5", "treshold: 0.5", "goals: [a box]", "["])
def test_what_is_wrong_with_a_config_names_its_file(tmp_path, line):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"{REWARD.to_yaml()}{line}\n")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: "):
        read_config(path)


def test_assignments_have_the_keys_of_a_run_in_both_files(path):
    changed = read_config(path, ["vlm_reward.threshold=0.6", "vlm_reward.frames.source=obs"])
    assert changed == REWARD.model_copy(update={"threshold": 0.6, "frames": {"source": "obs"}})
    assert read_config(path) == REWARD


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("threshold=0.6", r"has no key 'threshold' at its top level\. It belongs in vlm_reward\."),
        ("enviroment.env=a", r"has no key 'enviroment'"),
        ("vlm_reward.treshold=0.6", r"Did you mean 'threshold'\?"),
        ("vlm_reward.threshold", r"expected KEY=VALUE"),
        ("vlm_reward.threshold=2", r"threshold: got 2"),
        ("vlm_reward.encoder.x=2", r"'vlm_reward\.encoder' is 'small', expected a mapping"),
    ],
)
def test_an_assignment_that_would_change_nothing_is_refused(path, assignment, says):
    with pytest.raises(ConfigError, match=says):
        read_config(path, [assignment])


def test_assignments_to_other_sections_of_a_run_have_no_effect(tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"{RUN}  {{encoder: small, goals: ['a {{red|blue}} ball'], threshold: 0.5}}"
    )
    assert read_config(tmp_path / "run.yaml", ["environment.env=Y-v0"]) == REWARD
