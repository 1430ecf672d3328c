"""Relabels a recording: the reward of any goal and model, on Ray Data."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError, ConfigError, FrameError, RewardError
from rllib_vlm_reward.offline.folder import Folder, Report
from rllib_vlm_reward.offline.relabeller import ERRORS_BY_NAME, Relabeller
from rllib_vlm_reward.offline.units import Unit, bundle, find_units
from rllib_vlm_reward.serving.deployment import Demand, joined_cluster
from rllib_vlm_reward.settings import find_config, read_settings, validated

__all__ = ["Progress", "read_config", "relabel"]

_NOT_OFFLINE = (
    "agents",
    "early_end",
    "normalize_rewards",
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a recording is relabelled.

    Attributes:
        units: row groups in all.
        finished: of these, how many are written, in this run and before it.
        skipped: of these, how many were found finished.
        episodes: how many, chunks counted each.
        unfinished: of these, how many neither terminated nor were truncated.
        steps: how many were rewarded.
        reward_mean: of these.
        fires: steps that the VLM paid for, where there is a threshold; else None.
    """

    units: int
    finished: int
    skipped: int
    episodes: int
    unfinished: int
    steps: int
    reward_mean: float
    fires: int | None


def read_config(path: Path | str) -> VLMRewardConfig:
    """Read the reward from a run's YAML, or from one with the keys of ``vlm_reward`` alone.

    Args:
        path: the file, or the name of a shipped run; see :func:`.find_config`.

    Raises:
        ConfigError: there is no such file or name; or the file, which is named, holds no mapping,
            an unknown key, a key twice, or a value outside its range.
    """
    path = find_config(path)
    settings = read_settings(path)
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{path}: got {type(settings).__name__}, expected a mapping: a run's YAML with the "
            "section vlm_reward, or the keys of that section alone."
        )
    return validated(VLMRewardConfig, settings.get("vlm_reward", settings), str(path))


def relabel(
    config: VLMRewardConfig,
    recording: Path,
    output: Path,
    *,
    goal: str | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Reward recorded episodes as ``add_vlm_reward`` would have, into another folder.

    Finished units are skipped, so the same call goes on where a killed one ended. Joins the Ray
    cluster of ``RAY_ADDRESS`` or starts a local one; the nodes must share both folders.

    Args:
        config: what the reward is; where frames and goals are found is as online. Its
            ``num_actors`` load the model, on GPUs if it says so.
        recording: folder that RLlib recorded episodes into, or one parquet file of it.
        output: folder of the relabelled episodes, for ``config.offline_data(input_=[...],
            input_read_episodes=True)``.
        goal: text of one of the config's goals, given to every episode (hindsight); None takes
            the goal that the env named when it reset.
        report: called when some units are finished.

    Returns:
        the whole recording's numbers, earlier runs included.

    Raises:
        FileNotFoundError: nothing was recorded there.
        FileExistsError, ConfigError: the output holds something else, or other settings' rewards.
        FrameError, GoalError, RewardError: an episode that cannot be rewarded, with its file and
            row; or a setting that recorded episodes do not allow.
        CheckpointError, PoolError: the model cannot be loaded, or its actors not be placed.
    """
    from rllib_vlm_reward.reward_model.encoder import check_encoder

    _check_settings(config, goal)
    check_encoder(config.encoder, config.serving.precision)
    units = find_units(recording)
    _check_apart(recording, output)
    reports = Folder(output, config, goal).finished(units)
    done, skipped = {each.unit for each in reports}, len(reports)
    encoder = _same_encoder(config, reports)
    todo = list(bundle([unit for unit in units if unit.name not in done]))
    progress = _progress(config, units, reports, skipped)
    report(progress)
    root = recording if recording.is_dir() else recording.parent
    given = {
        "recording": str(root.resolve()),
        "output": str(output.resolve()),
        "goal": goal,
        "encoder": encoder,
    }
    if not todo:
        return progress
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with joined_cluster():
        for row in _run(config, todo, given):
            if row["error"]:
                raise ERRORS_BY_NAME[row["error"]](row["report"])
            reports += [Report(**each) for each in json.loads(row["report"])]
            _same_encoder(config, reports)
            progress = _progress(config, units, reports, skipped)
            report(progress)
    return progress


def _run(
    config: VLMRewardConfig, bundles: Sequence[list[Unit]], given: dict[str, Any]
) -> Iterator[dict[str, str]]:
    """Yield what :class:`Relabeller` returns, bundle by bundle, as they are finished."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    demand = Demand.of(config, nodes)
    demand.check(nodes)
    rows = [{"units": json.dumps([dataclasses.asdict(unit) for unit in each])} for each in bundles]
    # A block is a task: all of them at once would be one.
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Relabeller,
        fn_constructor_args=(config,),
        fn_constructor_kwargs={**given, "num_cpus": demand.cpus},
        compute=ray.data.ActorPoolStrategy(
            size=min(demand.actors, len(rows)), max_tasks_in_flight_per_actor=2
        ),
        num_cpus=demand.cpus,
        num_gpus=demand.gpus,
    )
    data.context.enable_progress_bars = False
    yield from data.iter_rows()


def _check_settings(config: VLMRewardConfig, goal: str | None) -> None:
    if config.frames.source == "render":
        raise FrameError(
            "frames.source: got 'render', but a recording holds no rendered frames, only "
            "observations and infos. Set frames.source to obs, obs:KEY or info:KEY, wherever the "
            "recording has uint8 RGB frames."
        )
    for key in _NOT_OFFLINE:
        default = type(config).model_fields[key].get_default(call_default_factory=True)
        if getattr(config, key) != default:
            raise RewardError(
                f"{key}: got {getattr(config, key)!r}, but recorded episodes are relabelled with "
                f"its default only, {default!r}. Leave it out."
            )
    if goal is None:
        return
    config.goal_set.index(goal)
    if config.goal_source.startswith("obs:") and len(config.goal_set) > 1:
        raise RewardError(
            f"goal: the recorded observations name their own goal ({config.goal_source!r}), which "
            "would contradict the reward's. Leave --goal out, or set a goal_source info:KEY."
        )


def _check_apart(recording: Path, output: Path) -> None:
    one, other = recording.resolve(), output.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ConfigError(
            f"output: {output} and the recording {recording} lie in each other, so one would be "
            "read for the other. Give a folder beside it."
        )


def _same_encoder(config: VLMRewardConfig, reports: Sequence[Report]) -> str | None:
    encoders = {each.encoder for each in reports}
    if len(encoders) > 1:
        raise CheckpointError(
            f"encoder {config.encoder!r}: the actors loaded different weights, so an episode's "
            "rewards would depend on who gave them. Make the checkpoint the same on every node, "
            "and relabel into another folder."
        )
    return next(iter(encoders), None)


def _progress(
    config: VLMRewardConfig, units: Sequence[Unit], reports: Sequence[Report], skipped: int
) -> Progress:
    steps = sum(each.steps for each in reports)
    return Progress(
        units=len(units),
        finished=len(reports),
        skipped=skipped,
        episodes=sum(each.episodes for each in reports),
        unfinished=sum(each.unfinished for each in reports),
        steps=steps,
        reward_mean=sum(each.reward_sum for each in reports) / max(steps, 1),
        fires=None if config.threshold_in_force is None else sum(each.fires for each in reports),
    )
