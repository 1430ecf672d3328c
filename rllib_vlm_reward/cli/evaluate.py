"""``rllib-vlm-reward evaluate``: how good is the reward?"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import check_output, refuse_twice

if TYPE_CHECKING:
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames


@app.command("evaluate")
def evaluate_command(
    configs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs' YAMLs, of which `vlm_reward` counts, or the keys of that alone.",
            exists=True,
            dir_okay=False,
            metavar="CONFIG.yaml...",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder, new or empty.", metavar="DIR")],
    frames: Annotated[
        Path | None,
        typer.Option(
            help="Labelled frames; without, the first run's env is played.",
            exists=True,
            dir_okay=False,
            metavar="FRAMES.parquet",
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="A CLIP in place of the configurations' own; may come again."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where CLIP computes, such as cuda.")] = "cpu",
) -> None:
    """Tell how good a reward is, before a run is spent on it.

    Each configuration with each encoder is a candidate. All score the same labelled frames; the
    truth says how often each is right. DIR gets report.html, evaluation.json and the charts.

    Examples: `rllib-vlm-reward evaluate configs/quickstart.yaml --output runs/evaluation`,
    `rllib-vlm-reward evaluate a.yaml b.yaml --encoder small --encoder base
    --frames runs/frames.parquet --output runs/comparison`
    """
    check_output(output, folder=True)
    refuse_twice("CONFIG.yaml", configs)
    refuse_twice("--encoder", encoder or [])
    say_loading()
    from rllib_vlm_reward.evaluation.evaluate import Assessment, candidates, evaluate, ranked
    from rllib_vlm_reward.evaluation.report import save, table
    from rllib_vlm_reward.offline import read_config
    from rllib_vlm_reward.reward_model.device import check_device
    from rllib_vlm_reward.reward_model.encoder import check_encoder

    quiet()
    say = Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print
    check_device(device)
    rewards = candidates({path: read_config(path) for path in configs}, encoder or [])
    for reward in rewards.values():
        check_encoder(reward.encoder)  # before the env is played
    given = _frames(configs[0], frames, output)
    found: list[Assessment] = []
    command = shlex.join(["rllib-vlm-reward", *sys.argv[1:]])
    try:
        assessments = evaluate(
            rewards,
            given,
            device=device,
            report=lambda name: say(f"judging {name}"),
            found=found.append,
        )
        save(output, assessments, command=command)
    except BaseException:
        if frames is None:
            say(f"the frames are kept: give --frames {output / 'frames.parquet'} and another DIR")
        if 0 < len(found) < len(rewards):
            missing = sorted({*rewards} - {each.name for each in found})
            say(f"{output} gets what was scored, without {', '.join(missing)}")
            save(output, ranked(found), command=command, missing=missing)
        raise
    console = Console()
    console.print(table(assessments))
    for each in assessments:
        chosen = " β is the best F1's on these very frames." if each.scored.threshold_chosen else ""
        verdict = f"{each.verdict.kind}. {each.verdict.sentence}{chosen}"
        console.print(f"{each.name}: {verdict}", markup=False)
    console.print(f"{output / 'report.html'}", markup=False)


def _frames(config: Path, given: Path | None, output: Path) -> "LabelledFrames":
    """Read the frames, or play the run's env and keep what was seen."""
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames

    if given is not None:
        return LabelledFrames.load(given)
    from rllib_vlm_reward.evaluation.collect import check_labels, collect
    from rllib_vlm_reward.run import Experiment

    played = collect(Experiment.from_file(config))
    check_labels(played)
    played.save(output / "frames.parquet")
    return played
