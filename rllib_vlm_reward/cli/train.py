"""``rllib-vlm-reward train``: a run from its YAML."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading


@app.command("train")
def train_command(
    config: Annotated[
        Path,
        typer.Argument(help="YAML of the run.", exists=True, dir_okay=False, metavar="CONFIG.yaml"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that the run leaves; runs/CONFIG by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR's checkpoint.")] = False,
    seed: Annotated[int | None, typer.Option(help="In place of CONFIG's seed.")] = None,
) -> None:
    """Train an agent from its goals in words, evaluate it, and draw what it does.

    CONFIG.yaml holds RLlib's own settings under RLlib's own names (`environment`, `env_runners`,
    `training`, ...) beside `vlm_reward`; configs/quickstart.yaml is a commented example.

    DIR ends with `checkpoint/`, TensorBoard events, `summary.json`, `returns.png` and
    `agent.gif`. Watch it meanwhile with `tensorboard --logdir DIR`.

    Joins the Ray cluster of RAY_ADDRESS if that is set, else starts Ray on this machine.

    Example: `rllib-vlm-reward train configs/quickstart.yaml --output runs/quickstart`
    """
    say_loading()
    from rllib_vlm_reward.run import Display, Experiment, train

    quiet()
    folder = output or Path("runs", config.stem)
    experiment = Experiment.from_file(config)
    if seed is not None:
        experiment = experiment.model_copy(update={"seed": seed})
    with Display(experiment.stop.env_steps) as display:
        summary = train(experiment, folder, resume=resume, report=display.update)
    told = {key: it for key, it in summary["training"].items() if key != "curriculum"}
    Console().print_json(data={**summary, "training": told})
    Console().print(f"{folder} holds the checkpoint, summary.json, returns.png and agent.gif.")
