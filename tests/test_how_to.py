"""docs/from-env-to-sweep.md from top to bottom: its files in an empty folder, with fewer steps."""

import csv
import re
import runpy

import pytest
import readers
from pages import ROOT, files_of

from rllib_vlm_reward import CurriculumConfig, Experiment
from rllib_vlm_reward.curriculum import Outcome, make_curriculum

pytestmark = pytest.mark.usefixtures("cluster")
PAGE = (ROOT / "docs" / "from-env-to-sweep.md").read_text()
FEWER = {
    "train_batch_size_per_learner: 2048": "train_batch_size_per_learner: 128",
    "minibatch_size: 256": "minibatch_size: 64",
    "num_epochs: 4": "num_epochs: 1",
    "num_envs_per_env_runner: 32": "num_envs_per_env_runner: 4",
    "env_steps: 60000": "env_steps: 256",
    "evaluation_episodes: 50": "evaluation_episodes: 1",
    "STEPS = 20_000": "STEPS = 256",
    "num_samples=4": "num_samples=2",
}


@pytest.fixture(scope="module")
def folder(reader_folder):
    """The reader's folder, in which this process works."""
    files = files_of(ROOT / "docs" / "from-env-to-sweep.md")
    for name in ("run.yaml", "sweep.py"):
        for much, little in FEWER.items():
            files[name] = files[name].replace(much, little)
    with readers.working_in(reader_folder, files):
        yield reader_folder


def test_fewer_is_what_the_page_says():
    assert all(much in PAGE for much in FEWER)


def test_clip_sees_what_the_env_says(folder, capsys):
    runpy.run_path("look.py")
    seen = capsys.readouterr().out
    assert not re.search(r": 0 frames show", seen)
    assert re.search(r"^0 of \d+ frames are rewarded wrongly$", seen, re.MULTILINE)
    assert not [*folder.glob("wrong-*.png")]


def test_what_is_held_out_must_not_lie_around(folder, capsys, tmp_path, monkeypatch):
    run = (folder / "run.yaml").read_text()
    assert ", reserved: [green ball, green key]" in run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "goals.yaml").write_text((folder / "goals.yaml").read_text())
    (tmp_path / "run.yaml").write_text(run.replace(", reserved: [green ball, green key]", ""))
    runpy.run_path(str(folder / "look.py"))
    seen = capsys.readouterr().out
    assert re.search(r"^[1-9]\d* of \d+ frames are rewarded wrongly$", seen, re.MULTILINE)
    assert [*tmp_path.glob("wrong-*.png")]


def test_the_curriculum_prefers_what_is_half_known(folder):
    goals = Experiment.from_file("run.yaml").vlm_reward.training_goals
    config = CurriculumConfig(kind="my_curriculum.HalfKnown")
    curriculum = make_curriculum(goals, config)
    uniform = curriculum.weights()[0]
    curriculum.observe(Outcome(0, 1.0, True, 1.0, True) for _ in range(4))
    curriculum.observe(Outcome(1, 1.0, odd, 1.0, odd) for odd in (True, False))
    known, half, *_ = curriculum.weights()
    assert known < uniform < half


def test_the_run_leaves_what_the_page_lists(folder):
    output = readers.run_here("train", "run.yaml", "--output", "runs/first")
    _, table = PAGE.split("| in `runs/first` | content |")
    named = re.findall(r"`([\w.]+\.(?:gif|png|json|jsonl|yaml)|checkpoint)/?`", table[:1500])
    assert len(named) >= 7
    assert all((folder / "runs" / "first" / name).exists() for name in named)
    assert '"held_out_success": null' not in output


def test_the_search_leaves_what_the_page_lists(folder, capsys):
    runpy.run_path("sweep.py", run_name="__main__")
    sweep = folder / "runs" / "sweep"
    with (sweep / "results.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 2
    assert {"training.lr", "curriculum.kind", "objective"} < rows[0].keys()
    assert rows[0]["training.lr"] in capsys.readouterr().out
    assert (sweep / "results.png").exists()
    assert Experiment.from_file(sweep / "best.yaml").stop.env_steps == 256
    assert [*(sweep / "trials").rglob("events.out.tfevents.*")]
