"""The disk is full at each write of what a run, a search and the other commands leave behind.

Each file is then the old one or the new one, never a part, and the process gets an OSError. What a
run saves while it trains is in ``test_run_folder_chaos.py``.
"""

import io
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import strikes
from PIL import Image

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.config.calibration import Calibration
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.offline.folder import Folder, Report, UnitFile
from rllib_vlm_reward.offline.units import Unit
from rllib_vlm_reward.run.evaluator import Moment
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.frame_pictures import save_frames, save_video
from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.run.run_folder import RunFolder
from rllib_vlm_reward.run.training_charts import save_curve
from rllib_vlm_reward.sweep.results import SweepResults
from rllib_vlm_reward.sweep.search_chart import OBJECTIVE

REWARD = {"encoder": "small", "goals": ["a ball", "a key"]}
EXPERIMENT = {"environment": {"env": "CartPole-v1"}, "vlm_reward": REWARD}
OLD, NEW = 1, 2


def frame(version):
    """A picture of its own for each version, uint8 [16, 16, 3]."""
    return np.random.default_rng(version).integers(0, 256, (16, 16, 3), np.uint8)


def end_of_a_run(folder, version):
    history = [Progress(i, 100 * i, 1.0, i * version, *[None] * 3, 1.0) for i in (1, 2)]
    save_curve(folder / "returns.png", history, "CartPole-v1")
    save_frames(folder / "curriculum.png", frame(version))
    moments = [Moment("0", t, frame(version + t), "a ball", 0.5) for t in (1, 2)]
    save_video(folder / "agent.gif", moments)
    RunFolder.save_summary(SimpleNamespace(path=folder), {"env_steps": version})


def results_of_a_search(folder, version):
    write_text(folder / "search.json", "the same")
    row = {"trial_id": "a", "lr": 0.1 * version, OBJECTIVE: version}
    found = SimpleNamespace(
        rows=[row],
        reports=[row, row],
        searched=["lr"],
        best=Experiment(**EXPERIMENT, stop={"env_steps": version}),
    )
    SweepResults.save(found, folder)


def collected(folder, version):
    buffer = io.BytesIO()
    Image.fromarray(frame(version)).save(buffer, "PNG")
    LabelledFrames.of([buffer.getvalue()] * 50, ["a ball"] * 50, [True] * 50).save(
        folder / "frames.parquet"
    )


def calibrated(folder, version):
    value = {"value": 0.1 * version, "low": 0.0, "high": 1.0}
    names = ("threshold", "precision", "recall", "false_positives")
    Calibration(
        version=2,
        encoder="small",
        weights="a" * 64,
        encoder_precision="bf16",
        frame_source="render",
        head="softmax",
        head_sha256="b" * 64,
        goals=["a ball"],
        statements=["a ball"],
        goals_sha256="c" * 64,
        target={"precision": 0.95},
        frames=1000,
        successes=100,
        episodes=60,
        **dict.fromkeys(names, value),
    ).save(folder / "calibration.yaml")


def relabelled(folder, version):
    """Finish a unit for each version, as the actors of relabel do."""
    units = {number: Unit(f"{number}.parquet", 0, 1, 10, 99) for number in (OLD, NEW)}
    opened = Folder(folder, VLMRewardConfig(**REWARD), None)
    opened.finished([*units.values()])
    file = UnitFile(folder, units[version])
    try:
        file.write(np.random.default_rng(0).bytes(5_000))
        file.close(Report(units[version].name, 99, "weights", 1, 0, 12, 1.5, 3))
    except OSError:
        file.abandon()
        raise


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "write",
    [end_of_a_run, results_of_a_search, collected, calibrated, relabelled],
    ids=lambda write: write.__name__,
)
def test_each_file_is_the_old_one_or_the_new_one(write, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, OLD)
    shutil.copytree(old, new)
    write(new, NEW)
    before, after = contents(old), contents(new)
    changed = [name for name, content in after.items() if before.get(name) != content]
    assert changed

    def strike(**how):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(old, tmp_path / "out")
        status = strikes.attempt(write, tmp_path / "out", NEW, **how)
        found = contents(tmp_path / "out")
        assert before.keys() <= found.keys() <= before.keys() | after.keys()
        torn = [name for name in found if found[name] not in (before.get(name), after.get(name))]
        assert not torn
        return status

    sizes = {0, *(len(after[name]) // 2 for name in changed), *(len(after[n]) - 1 for n in changed)}
    statuses = [strike(largest_file=size) for size in sorted(sizes)]
    assert set(statuses) == {1}
    opened = 0  # files that Python opens; pyarrow opens its own
    while strike(hook=strikes.at_file(str(tmp_path), opened, strikes.limit)) == 1:
        opened += 1
    print(f"{write.__name__}: {len(statuses) + opened} full disks, 0 torn files")
    assert opened >= sum(not name.endswith(".parquet") for name in changed)
    write(tmp_path / "out", NEW)  # there is space again
    assert contents(tmp_path / "out") == after
