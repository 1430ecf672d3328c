import json
import math

import pytest
from hypothesis import given
from outcomes import configs
from pydantic import ValidationError

from rllib_vlm_reward.curriculum import CurriculumConfig, ProposeConfig


@given(configs())
def test_it_survives_json(config):
    assert CurriculumConfig.model_validate(json.loads(config.model_dump_json())) == config


def test_settings_are_of_one_instance_only():
    CurriculumConfig().settings["favourite"] = "a ball"
    assert CurriculumConfig().settings == {}


@pytest.mark.parametrize("kind", ["uniform", "mine.Own", "my_lab.curricula.Own"])
def test_a_kind_is_a_short_name_or_an_import_path(kind):
    assert CurriculumConfig(kind=kind).kind == kind


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sucess_window"}, "Did you mean 'success_window'"),
        ({"kind": "Own"}, "expected one of .* or package.module.Class"),
        ({"kind": ".Own"}, "kind: got"),
        ({"kind": "my lab.Own"}, "kind: got"),
        ({"signal": "success"}, "signal"),
        ({"window": 0}, "window: got 0, expected at least 1"),
        ({"window": 3, "kind": "learning_progress"}, "expected at least 4"),
        ({"explore": 1.5}, "explore: got 1.5, expected a share"),
        ({"kind": "staged", "rehearse": 1.0, "explore": 0.0}, "a new stage is never drawn"),
        ({"promote_at": 80.0}, "promote_at: got 80, expected 0 to 1, as a mean of vlm_success"),
        ({"rehearse": -0.5}, "rehearse: got -0.5, expected a share"),
        ({"explore": math.nan}, "explore: got nan"),
        ({"promote_at": math.nan}, "promote_at: got nan, expected a finite number"),
        ({"high": math.inf}, "high: got inf"),
        ({"low": 0.5, "high": 0.5}, "low: got 0.5, expected less than high=0.5"),
        ({"stages": [["a"], []]}, "stages: got an empty stage"),
        ({"stages": [["a", "b"], ["a"]]}, r"\['a'\] are named more than once"),
        ({"stage": []}, "Did you mean 'stages'"),
    ],
)
def test_what_makes_no_curriculum_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        CurriculumConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gramar"}, "kind: got 'gramar', expected one of .* Did you mean 'grammar'"),
        ({"every": 0}, "every: got 0, expected at least 1"),
        ({"at_once": -1}, "at_once: got -1, expected at least 1"),
        ({"at_most": 0}, "at_most: got 0, expected at least 1"),
        ({"most_alike": 1.5}, "most_alike: got 1.5, expected a cosine"),
        ({"most_alike": math.nan}, "most_alike"),
        ({"number": 5}, "unknown key 'number'"),
    ],
)
def test_a_proposal_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ProposeConfig(**settings)
