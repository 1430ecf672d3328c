"""A config is found by its path or by its name, from any folder, in a clone and once installed."""

from pathlib import Path

import pytest
from remedies import assert_helps

from rllib_vlm_reward.config import Calibration, read_config
from rllib_vlm_reward.config.goal_config import resolve_goals
from rllib_vlm_reward.errors import ERRORS, ConfigError
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.settings import find_config, shipped_configs

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_config_of_the_clone_ships():
    assert {*shipped_configs()} == {path.stem for path in CONFIGS.iterdir()}


@pytest.mark.parametrize("name", shipped_configs())
def test_a_name_is_read_from_any_folder(name):
    """What a config refers to is found too: its goals and its encoder."""
    run = Experiment.from_file(name)
    assert run == Experiment.from_file(CONFIGS / f"{name}.yaml")
    assert run.vlm_reward == read_config(name)
    check_encoder(run.vlm_reward.encoder)


def test_a_file_comes_before_a_name_and_a_folder_does_not():
    Path("quickstart").mkdir()
    Path("dqn").touch()
    assert find_config("quickstart") == shipped_configs()["quickstart"]
    assert find_config("dqn") == Path("dqn")


@pytest.mark.parametrize("given", ["quickstat", "quickstart.yaml", "configs/quickstart.yaml", ""])
def test_another_name_is_an_error_that_lists_the_names(given):
    with pytest.raises(ConfigError) as error:
        find_config(given)
    assert repr(given) in str(error.value)
    assert ", ".join(shipped_configs()) in str(error.value)


@pytest.mark.parametrize("given", ["~nobody-of-this-name/x", "a\0b", "\ud800", "x" * 5000])
@pytest.mark.parametrize(
    "door",
    [
        find_config,
        check_encoder,
        Calibration.load,
        lambda path: resolve_goals({"goals": path}),
    ],
)
def test_a_path_that_no_file_can_have_is_an_error_of_ours(door, given):
    with pytest.raises(ERRORS) as raised:
        door(given)
    assert_helps(raised.value)


def test_an_installed_package_has_the_configs_inside(tmp_path, monkeypatch):
    """As the wheel lays them out; `.ci/wheel` trains from one."""
    inside = tmp_path / "configs"
    inside.mkdir()
    (inside / "only.yaml").touch()
    monkeypatch.setattr("rllib_vlm_reward.settings.config_file._INSTALLED", inside)
    assert shipped_configs() == {"only": inside / "only.yaml"}
