"""Ten changes that a user would plausibly make, as patches: each works, in two files at most.

``tests/patches/NAME.patch`` holds each. They are applied together to a copy of the package.
"""

import re
import shutil
import subprocess
from pathlib import Path

import fork_server
import pytest

ROOT = Path(__file__).parents[1]
PATCHES = sorted((ROOT / "tests" / "patches").glob("*.patch"))
NAMES = {
    "a head": "head",
    "an encoder": "encoder",
    "a frame source": "frame_source",
    "a world": "world",
    "a curriculum": "curriculum",
    "a metric": "metric",
    "an alarm": "alarm",
    "a serving key": "serving_key",
    "a window reduction": "window_reduction",
    "a command": "command",
}
# What holds in the patched package, and in the present one does not.
CHECKS = """
import math, sys
import gymnasium as gym, numpy as np
import rllib_vlm_reward
from rllib_vlm_reward import Curriculum, CurriculumConfig, FrameConfig, ServingConfig
from rllib_vlm_reward.cli import app
from rllib_vlm_reward.connectors.frame_source import SteppedEnvs, frame_source
from rllib_vlm_reward.connectors.frame_selection import REDUCTIONS
from rllib_vlm_reward.curriculum import Outcome, make_curriculum
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.metrics.metric import METRICS
from rllib_vlm_reward.monitoring.alarms import Alarms
from rllib_vlm_reward.monitoring.score_statistics import FAILURE, ScoreStatistics
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.reward_model.heads import Cosine, make_head
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from typer.testing import CliRunner

model = RewardModel(load_encoder("rllib_vlm_reward.reward_model.histogram.ColorHistogram"))
goals, frames = GoalSet.from_texts(["a red room", "a blue room"]), np.zeros((2, 4, 4, 3), np.uint8)
frames[0, ..., 0] = frames[1, :2, :, 0] = frames[1, 2:, :, 2] = 200
asked = frames, np.array([0, 1])
cosines = model.score(*asked, Scorer(goals, Cosine()))
np.testing.assert_allclose(cosines, [1, math.sqrt(0.5)], atol=1e-3)
cubes = model.score(*asked, Scorer(goals, make_head({"kind": "power", "exponent": 3})))
np.testing.assert_allclose(cubes, cosines**3, atol=1e-6)

env = gym.make_vec("rllib_vlm_reward/Corridor-v0", num_envs=2, vectorization_mode="sync")
env.reset(options={"goal": "at the red door"})
for _ in range(3):
    _, _, done, _, infos = env.step(np.array([0, 1]))
assert done.all() and infos["success"].tolist() == [True, False]
env.set_attr("sprite", [frames[0], frames[1]])
source = FrameConfig(source="attr:sprite").source
shown = frame_source(source)(SteppedEnvs(env, [1]), [None], [{}])
np.testing.assert_array_equal(shown[0], frames[1])

curriculum = make_curriculum(goals, CurriculumConfig(kind="rarest", explore=0.0))
curriculum.observe([Outcome(0, 1.0, True, 1.0, True)])
assert curriculum.weights() == [0.0, 1.0]
margin = METRICS["margin"](np.array([0.9, 0.2]), np.array([True, False]), np.array([0, 0]))
assert abs(margin - 0.7) < 1e-9
rare = ScoreStatistics.of(["e"] * 3000, [0.1, 0.2] * 1500, [False] * 3000, [FAILURE] * 3000)
kinds = [alarm.kind for alarm in Alarms(low=0.0, threshold=0.5).update(rare, iteration=9)]
assert "sparse" in kinds, kinds
assert ServingConfig(pause_s=5).pause_s == 5
assert REDUCTIONS[FrameConfig(window=3, reduce="median").reduce]([0.1, 0.9, 0.2]) == 0.2
listed = CliRunner().invoke(app, ["goals", sys.argv[1]])
assert "pick up the red ball" in listed.output, listed.output
"""


def touched(patch):
    """Return the files that a patch changes, with the lines that it adds and removes."""
    found = subprocess.run(
        ["git", "apply", "--numstat", patch], capture_output=True, check=True, text=True
    )
    rows = (line.split("\t") for line in found.stdout.splitlines())
    return {name: (int(added), int(removed)) for added, removed, name in rows}


def run(code, package):
    """Run code on a package, in a process of its own; return the end of what it complains of."""
    done = subprocess.run(
        [*fork_server.python(), "-c", code, str(ROOT / "configs" / "quickstart.yaml")],
        env={"PYTHONPATH": str(package), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        cwd=package,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr[-2000:]


def test_there_are_ten():
    assert {patch.stem for patch in PATCHES} == set(NAMES.values())


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_each_touches_two_files_at_most(patch):
    assert 1 <= len(touched(patch)) <= 2


def test_all_of_them_work(tmp_path):
    shutil.copytree(ROOT / "rllib_vlm_reward", tmp_path / "rllib_vlm_reward")
    for patch in PATCHES:
        subprocess.run(["git", "apply", patch], cwd=tmp_path, check=True)
    status, complaint = run(CHECKS, tmp_path)
    assert status == 0, complaint
    assert run(CHECKS, ROOT)[0] != 0  # or the checks would say nothing


def test_the_architecture_page_shows_what_each_touches():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", page, re.MULTILINE))
    for title, name in NAMES.items():
        shown = [
            f"`{file.removeprefix('rllib_vlm_reward/')}` +{added} −{removed}"
            for file, (added, removed) in touched(ROOT / f"tests/patches/{name}.patch").items()
        ]
        assert rows[title] == ", ".join(shown)
