"""The tables that commands print fit into a terminal of 80 columns, whole."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from rllib_vlm_reward.cli import collect, score
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.report import tables
from rllib_vlm_reward.evaluation.score import ImageScores
from rllib_vlm_reward.metrics.bootstrap import Interval
from rllib_vlm_reward.run.console import Display
from rllib_vlm_reward.run.progress import FIGURES, Progress
from rllib_vlm_reward.sweep.command import _table as search_table
from rllib_vlm_reward.sweep.results import METRICS

FOLDER = "runs/a/folder/of/which/the/name/is/long/and/has/no/blank/in/it/at/all/anywhere"
GOAL = "put the purple box next to the grey key"


def evaluated(*metrics):
    figures = defaultdict(lambda: Interval(0.123, 0.012, 0.234))
    return tables(
        [
            SimpleNamespace(
                name=name,
                metrics=dict.fromkeys(metrics),
                figures=figures,
                verdict=SimpleNamespace(kind=kind),
            )
            for name, kind in ((f"{FOLDER}, ViT-B-32/laion2b", "shuffled"), ("run", "too few"))
        ]
    )


def trained(agents):
    figures = dict.fromkeys(FIGURES, -1234.5678)
    display = Display(10**7)
    display.update(
        Progress(
            iteration=4321,
            env_steps=9_876_543,
            wall_seconds=1.0,
            env_steps_per_second=12_345.6,
            agents=dict.fromkeys(agents, figures),
            **figures,
        )
    )
    return display._render()


def scored():
    config = VLMRewardConfig(encoder="small", goals=[GOAL, *"abcdefgh"], threshold=0.5)
    paths = (Path(FOLDER, "image.png"), Path("b.png"))
    return [*score._tables(ImageScores(config, "0" * 64, paths, np.ones((2, 9), np.float32)))]


def searched():
    row = dict.fromkeys(METRICS, 0.123456) | {"env_steps": 9_876_543, "goals": "of training"}
    return [search_table([{**row, "trial_id": "9ba34_00012", "wall_seconds": 123_456.7}])]


def collected():
    frames = LabelledFrames.of([b""] * 2, [GOAL] * 2, [True, False], player=FOLDER)
    return [collect._table(frames, {})]


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ([evaluated()], ["candidate", "accuracy", "missed", "positives", "(0.01-0.23)", "too few"]),
        ([evaluated(*(f"package.measure_{i}" for i in range(9)))], ["measure_8", "shuffled"]),
        ([trained([])], ["9,876,543", "positives", "success", "-1234.568", "12,346", "ETA"]),
        ([trained(["walker", FOLDER])], ["walker", "positives", "-1234.568"]),
        (scored(), ["image", "1.0000*", "b.png"]),
        (searched(), ["9ba34_00012", "objective", "positives", "9876543", "1.23e+05"]),
        (collected(), ["successes", "episodes"]),
    ],
    ids=["evaluate", "evaluate --metric", "train", "train agents", "score", "search", "collect"],
)
def test_nothing_is_cut_at_80_columns(shown, words):
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(*shown)
    text = captured.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for word in words:
        assert word in text
