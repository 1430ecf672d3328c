"""``rllib-vlm-reward evaluate``: measures how good a reward is."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import (
    SHIPPED,
    Assignments,
    check_output,
    config_path,
    refuse_twice,
)

if TYPE_CHECKING:
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.evaluation.evaluate import Assessment
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames


@app.command("evaluate")
def evaluate_command(
    configs: Annotated[
        list[Path],
        typer.Argument(
            help="YAML of a run, or of the section `vlm_reward` alone. Repeatable. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="New or empty folder for the results.", metavar="DIR")
    ],
    frames: Annotated[
        Path | None,
        typer.Option(
            help="Labelled frames. By default, the env of the first CONFIG is played.",
            exists=True,
            metavar="FRAMES.parquet",
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="CLIP that replaces the configurations' encoder. Repeat it to compare several.",
            metavar="NAME",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Import path of a function (scores, labels, episodes) -> float; its value is "
            "reported beside the built-in figures. Repeatable.",
            metavar="PATH",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the CLIP computes, such as cuda.")] = "cpu",
    assignments: Assignments = None,
) -> None:
    """Measure how good a reward is, before you spend a run on it.

    Each configuration with each encoder is a candidate. All candidates score the same labelled
    frames, and ground truth shows how often each is right. A configuration with `experts` becomes
    one candidate for each expert, one for the mean of their scores, and one for their combination.
    The command writes report.html,
    evaluation.json and charts to DIR.

    Examples:

    ```
    rllib-vlm-reward evaluate quickstart --output runs/evaluation
    rllib-vlm-reward evaluate a.yaml b.yaml --encoder small --encoder base \\
        --frames runs/frames.parquet --output runs/comparison
    ```
    """
    check_output(output, folder=True)
    refuse_twice("CONFIG", configs)
    refuse_twice("--encoder", encoder or [])
    refuse_twice("--metric", metric or [])
    from rllib_vlm_reward.config import read_config
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames

    read = {path: read_config(path, assignments or ()) for path in configs}
    labelled = None if frames is None else LabelledFrames.load(frames)
    say_loading()
    from rllib_vlm_reward.evaluation.evaluate import candidates, expect_same_source
    from rllib_vlm_reward.evaluation.user_metrics import load_metrics
    from rllib_vlm_reward.reward_model.encoder import check_device, check_encoder

    quiet()
    check_device(device)
    rewards = candidates(read, encoder or [])
    if labelled is None:
        expect_same_source(rewards)
    for reward in rewards.values():  # find wrong names before the env is played
        for each in reward.encoders:
            check_encoder(*each)
    load_metrics(metric or [])
    try:
        if labelled is None:
            labelled = _play(configs[0], assignments or [], output)
        assessments = _evaluate(rewards, labelled, metric or [], output, device)
    except BaseException:
        path = output / "frames.parquet"
        if path.exists():
            _say(f"The frames were kept: pass --frames {path} and another --output.")
        raise
    _print(assessments)
    Console(soft_wrap=True).print(f"{output / 'report.html'}", markup=False)


def _evaluate(
    rewards: "Mapping[str, VLMRewardConfig]",
    frames: "LabelledFrames",
    metrics: list[str],
    output: Path,
    device: str,
) -> "list[Assessment]":
    """Evaluate and save; if a reward fails, save the candidates that were scored before it."""
    from rllib_vlm_reward.evaluation.evaluate import Assessment, evaluate, ranked
    from rllib_vlm_reward.evaluation.report import save

    assessed: list[Assessment] = []
    command = shlex.join(["rllib-vlm-reward", *sys.argv[1:]])
    try:
        assessments = evaluate(
            rewards,
            frames,
            metrics=metrics,
            device=device,
            report=lambda name: _say(f"scoring {name}"),
            done=assessed.append,
        )
    except BaseException:
        if 0 < len(assessed) < len(rewards):
            missing = sorted({*rewards} - {each.name for each in assessed})
            _say(
                f"{output} holds the candidates that were scored; not scored: {', '.join(missing)}"
            )
            save(output, ranked(assessed), command=command, missing=missing)
        raise
    save(output, assessments, command=command)
    return assessments


def _print(assessments: "list[Assessment]") -> None:
    from rllib_vlm_reward.evaluation.report import tables

    console = Console()
    console.print(tables(assessments))
    for each in assessments:
        chosen = ""
        if each.scored.threshold_chosen:
            chosen = " β was chosen to maximise F1 on these frames, which is optimistic."
        verdict = f"{each.verdict.kind}. {each.verdict.sentence}{chosen}"
        console.print(f"{each.name}: {verdict}", markup=False)


def _say(line: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(line)


def _play(config: Path, assignments: list[str], output: Path) -> "LabelledFrames":
    """Play the run's env, and save the frames."""
    from rllib_vlm_reward.evaluation.collect import collect
    from rllib_vlm_reward.evaluation.labelled import check_labels
    from rllib_vlm_reward.run import Experiment

    played = collect(Experiment.from_file(config, assignments))
    check_labels(played)
    played.save(output / "frames.parquet")
    return played
