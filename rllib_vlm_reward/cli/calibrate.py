"""``rllib-vlm-reward calibrate``: chooses a threshold that reaches a target."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import SHIPPED, Assignments, check_output, config_path


@app.command("calibrate")
def calibrate_command(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML of a run, or of the section `vlm_reward` alone. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ],
    frames: Annotated[
        Path,
        typer.Option(
            help="Labelled frames, written by `collect`.",
            exists=True,
            metavar="PARQUET",
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="YAML file to write; it must not exist.")
    ],
    precision: Annotated[
        float | None,
        typer.Option(help="Target: at least this share of the frames above β are successes."),
    ] = None,
    false_positives: Annotated[
        float | None,
        typer.Option(
            help="Target: at most this many false positives per episode, on average; a false "
            "positive is a frame above β that is no success."
        ),
    ] = None,
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Also choose the temperature τ of the softmax.")
    ] = False,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="CLIP that replaces CONFIG's encoder.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the CLIP computes, such as cuda.")] = "cpu",
    assignments: Assignments = None,
) -> None:
    """Choose the threshold β with the largest recall that reaches a target.

    With `experts`, also choose whom of them to trust for each goal.

    Set the target by --precision or by --false-positives. β reaches it with confidence: the whole
    95 % interval over episodes satisfies the target. To use the file in a run, set
    `vlm_reward: {calibration: FILE}`.

    Example:

    ```
    rllib-vlm-reward calibrate quickstart --precision 0.95 \\
        --frames runs/frames.parquet --output runs/calibration.yaml
    ```
    """
    from rllib_vlm_reward.config import Calibration, Target, TrustCalibration, read_config
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames

    check_output(output)
    target = Target(precision=precision, false_positives=false_positives)
    reward = read_config(config, assignments or ())
    labelled = LabelledFrames.load(frames)
    say_loading()
    from rllib_vlm_reward.evaluation.calibrate import calibrate, calibrate_experts
    from rllib_vlm_reward.evaluation.scored_frames import with_encoder
    from rllib_vlm_reward.reward_model.encoder import check_device

    quiet()
    check_device(device)
    if encoder is not None:
        reward.expect_one_encoder("--encoder")
        reward = with_encoder(reward, encoder)
    say = Console(soft_wrap=True).print
    calibration: Calibration | TrustCalibration
    if reward.experts and not temperature:
        calibration = calibrate_experts(reward, labelled, target, device=device)
        calibration.save(output)
        for line in calibration.lines():
            say(line, markup=False)
    else:
        calibration = calibrate(reward, labelled, target, temperature=temperature, device=device)
        calibration.save(output)
        if temperature:
            say(f"temperature        {calibration.temperature:.4g}")
    for name in ("threshold", "precision", "recall", "false_positives"):
        value = getattr(calibration, name)
        say(f"{name:<18} {value.value:.4f} (95 % interval {value.low:.4f} to {value.high:.4f})")
    say(
        f"{output}: {calibration.frames} frames, {calibration.successes} successes, "
        f"{calibration.episodes} episodes"
    )
    replaced = "threshold and temperature" if temperature else "threshold"
    say(
        f"To use it, set `calibration: {output}` under vlm_reward, in place of {replaced}"
        f"{f', and encoder: {encoder}' if encoder is not None else ''}.",
        markup=False,
    )
    if calibration.caveat:
        warn = Console(stderr=True, style="yellow", highlight=False, soft_wrap=True).print
        warn(f"warning: {calibration.caveat}", markup=False)
