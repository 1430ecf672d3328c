"""The settings of a run's reward."""

import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field, PositiveInt

from rllib_vlm_reward.config.bonus_config import NOTHING, BonusConfig, compared_words
from rllib_vlm_reward.config.calibration import Calibration, inline_calibration
from rllib_vlm_reward.config.frame_config import FrameConfig, path_of
from rllib_vlm_reward.config.goal_config import GoalConfig, TemplateConfig, resolve_goals
from rllib_vlm_reward.config.scope import AGENT, ELSEWHERE, RUN, scope_of
from rllib_vlm_reward.config.serving_config import ServingConfig
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import CURRICULUM_FIELDS, Goal, GoalSet, Template, expand_goals
from rllib_vlm_reward.reward_model.heads import (
    Head,
    Softmax,
    head_settings,
    head_summary,
    make_head,
)
from rllib_vlm_reward.reward_model.readouts import GoalMap, Readout
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.settings import (
    Positive,
    Section,
    dump_settings,
    excerpt,
    import_path_of,
    messages,
    parse_settings,
)

__all__ = ["VLMRewardConfig"]

_CHOICE = re.compile(r"[{}]|\|")
_GOAL_KEYS = ("goals", "templates")


def _make_head(given: Any) -> Head:
    try:
        return make_head(given)
    except RewardError as error:
        raise ValueError(str(error).removeprefix("head: ")) from error


class VLMRewardConfig(Section, place="vlm_reward"):
    """The reward of a run: encoder, goals, head, and how the reward is computed and paid.

    Attributes:
        encoder: an open_clip model as ``"architecture/pretrained"``, a checkpoint file as
            ``"architecture/path.safetensors"``, a folder in open_clip's layout, the name of a
            shipped CLIP (``"small"``, ``"base"``, ``"grounded"``, ``"house"``,
            ``"android"``), or ``"architecture/random"``; or the import path of your own
            :class:`.Encoder`.
        goals: a list of texts (``{a|b}`` expands to both) or, for a goal in full, of
            :class:`.GoalConfig`; or a mapping, see :class:`.Grammar`; or the path of a YAML file,
            see :class:`.GoalFile`. Mapping and file are expanded when the configuration is created.
        evaluation_goals: goals held out of training. Training stops with an error if an episode
            has one of these goals; evaluation accepts all goals.
        templates: turn a goal's text into the prompt that CLIP reads; the first one that matches
            is used.
        negatives: statements, as CLIP reads them, that are added to the negatives of every goal.
        num_negatives: how many other goals to draw as negatives; None takes all.
        negatives_seed: seed for drawing the negatives, which happens once per run.
        baseline: baseline of every goal, for the ``goal_baseline`` head.
        head: how scores are computed: ``softmax`` (the paper's equation 1), ``cosine``,
            ``goal_baseline`` (vlmrm), ``sigmoid`` (SigLIP) or ``dense`` (max(p − 1/N, 0),
            MineCLIP's direct reward); or with settings, ``{kind: softmax, temperature: 0.01}`` (τ;
            None takes the model's, 1/exp(logit_scale)) or ``{kind: goal_baseline, alpha: 0.5}``
            (strength of the regularisation, 0 to 1); or the import path of your own
            :class:`.Head`.
        threshold: β of the paper's equation 2, within the head's range: the reward is 1 if the
            score exceeds it, else 0. None makes the score the reward.
        calibration: the content or path of a file that ``rllib-vlm-reward calibrate`` wrote. Its
            threshold and temperature are used. It is an error if it was made for another reward or
            encoder.
        frames: which frames are scored, see :class:`.FrameConfig`.
        mode: ``synchronous`` reads each reward before the next step; ``deferred`` reads rewards
            when the fragment ends, so that stepping and scoring overlap.
        early_end: end the episode when the reward is 1, as in the paper. Needs synchronous mode.
        normalize_rewards: divide the VLM's rewards by the running standard deviation of their
            discounted return, as gymnasium's NormalizeReward does. Evaluation does not divide them.
        env_reward_weight: factor of the env's reward that is added to the VLM's reward; with 0 the
            learner does not see the env's reward.
        bonus: what is paid beside the goal's reward, see :class:`.BonusConfig`; None pays nothing.
        goal_source: where to find an episode's goal text, ``info:KEY`` or ``obs:KEY``. It is not
            read if there is a single goal.
        success_key: info key of ground-truth success, which is reported if the env has it.
        goal_embedding: show the policy the goal: the observation becomes
            ``{"observation": ..., "goal": float32 [D]}``, with CLIP's embedding of the prompt. If
            neither this nor a policy is set, and the observations are uint8 frames, it is true.
        goal_map: show the policy also where the goal's ``noun`` is: the observation gets the entry
            ``"map"``, float32 ``[h, w, 1]``, with the probability of the noun in each patch of the
            frame. Needs ``goal_embedding`` and synchronous mode. ``true`` takes the encoder's
            number of patches; ``[h, w]`` is for an encoder of your own.
        serving: where and how scores are computed, see :class:`.ServingConfig`.
        agents: in a multi-agent env, the agents whose rewards differ: a mapping from an agent's id
            to the keys that differ, such as goals, head, threshold and frames. The encoder and
            ``serving`` are common to all agents. None instead of keys keeps the env's reward.
        alarms: what happens if the reward cannot be trusted: ``warn`` logs it, ``error`` ends
            training with an error, ``off`` disables the checks. See docs/alarms.md.
        stalled_seconds: seconds of training without a new env step after which training ends with
            an error that says which env runners, actors or nodes are missing. Raise it if the env
            needs longer for a fragment.
        may_change: allow restoring a checkpoint that was written with another reward.

    Raises:
        pydantic.ValidationError: a key is unknown, a value is outside its range, or two keys
            contradict each other.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="ViT-B-32/random", goals=["a {red|blue} ball"], threshold=0.5
        ... )
        >>> config.goal_set.texts
        ('a red ball', 'a blue ball')
        >>> VLMRewardConfig.from_yaml(config.to_yaml()) == config
        True
        >>> VLMRewardConfig(encoder="small", goals=["a ball"], num_actors=2)
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for VLMRewardConfig
          Value error, unknown key 'num_actors'. It belongs in vlm_reward.serving. ...
    """

    encoder: Annotated[str, Field(min_length=1), RUN]
    goals: Annotated[tuple[str | GoalConfig, ...], Field(min_length=1)]
    templates: Annotated[tuple[TemplateConfig, ...], Field(min_length=1)] = (TemplateConfig(),)
    negatives: tuple[str, ...] = ()
    num_negatives: Annotated[int, Field(ge=0)] | None = None
    negatives_seed: int = 0
    baseline: str | None = None
    evaluation_goals: Annotated[tuple[str | GoalConfig, ...], AGENT] = ()
    head: Annotated[
        Head, pydantic.PlainValidator(_make_head), pydantic.PlainSerializer(head_settings)
    ] = Softmax()
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    calibration: Annotated[Calibration | None, AGENT] = None
    frames: FrameConfig = FrameConfig()
    mode: Annotated[Literal["synchronous", "deferred"], ELSEWHERE] = "deferred"
    early_end: Annotated[bool, RUN] = False
    normalize_rewards: bool = False
    env_reward_weight: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    bonus: BonusConfig | None = None
    goal_source: Annotated[str, Field(pattern=r"^(info:.+|obs:.+)$")] = "info:goal"
    success_key: Annotated[str, AGENT] = "success"
    goal_embedding: Annotated[bool, RUN] = False
    goal_map: Annotated[bool | tuple[PositiveInt, PositiveInt], RUN] = False
    serving: Annotated[ServingConfig, RUN] = ServingConfig()
    agents: Annotated[dict[str | int, dict[str, Any] | None], ELSEWHERE] = Field(
        default_factory=dict
    )
    alarms: Annotated[Literal["warn", "error", "off"], ELSEWHERE] = "warn"
    stalled_seconds: Annotated[Positive, ELSEWHERE] = 300.0
    may_change: Annotated[bool, ELSEWHERE] = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _resolve_goals(cls, given: Any) -> Any:
        _refuse_search_space(given)
        return inline_calibration(resolve_goals(given))

    @pydantic.field_validator("encoder", mode="before")
    @classmethod
    def _encoder_name(cls, given: Any) -> Any:
        return import_path_of(given) if isinstance(given, type) else given

    @pydantic.field_validator("agents", mode="before")
    @classmethod
    def _as_yaml(cls, given: Any) -> Any:
        """Convert the agents' settings to types that YAML has."""
        if not isinstance(given, dict):
            return given
        converted = {}
        for agent, settings in given.items():
            if isinstance(agent, bool):  # pydantic would make it 0 or 1
                raise ValueError(
                    f"got the agent {agent}, a boolean, expected a name or a whole number. Put a "
                    "name that YAML reads as a boolean, such as yes or on, in quotes."
                )
            plain = inline_calibration(resolve_goals(settings))
            try:
                converted[agent] = json.loads(json.dumps(plain, default=_plain))
            except TypeError as error:  # such as a date as a key
                raise ValueError(
                    f"agent {agent!r}: got keys of another type ({error}), expected texts. Put "
                    "them in quotes."
                ) from error
        return converted

    @pydantic.model_validator(mode="after")
    def _check(self) -> "VLMRewardConfig":
        if self.calibration is not None:
            self.calibration.check(
                threshold=self.threshold,
                frame_source=self.frames.source,
                window=self.frames.window,
                goals=self.goal_set,
            )
        head = self.head_in_force
        nothings = (template.nothing for template in self.templates)
        for text in (*self.negatives, self.baseline, *nothings, *self._nothing):
            if text is not None and _CHOICE.search(text):
                raise ValueError(
                    f"got {text!r}, which CLIP would read as it is, since choices expand only in "
                    "goals. Give each statement in full."
                )
        if self.early_end and self.mode == "deferred":
            raise ValueError(
                "early_end needs the reward before the next step, but mode is 'deferred', which "
                "reads it when the fragment ends. Set mode: synchronous, or early_end: false."
            )
        if self.early_end and self.threshold_in_force is None:
            raise ValueError(
                "early_end ends an episode when the reward is 1, but there is no threshold, so "
                "the reward is a score. Set threshold (the paper's β), or early_end: false."
            )
        if self.early_end and self.frames.scored_steps == "last":
            raise ValueError(
                "early_end ends an episode before its last step, but frames.scored_steps is "
                "'last', so no earlier step is scored. Set early_end: false, or another "
                "frames.scored_steps."
            )
        if self.goal_map and self.mode == "deferred":
            raise ValueError(
                "goal_map: the policy needs the map of a frame before it acts, but mode is "
                "'deferred', which reads answers when the fragment ends. Set mode: synchronous, or "
                "goal_map: false."
            )
        for key in ("bonus", "goal_map"):
            if getattr(self, key):
                self._check_nouns(key)
        for agent in self.agents:
            self.for_agent(agent)  # raises an error if the agent's settings are invalid
        goals = self.goal_set
        for goal in goals.goals if head.needs_negatives else ():
            if not goal.negatives:
                raise ValueError(
                    f"goal {goal.text!r} has no negatives, so its probability is 1 for every "
                    "frame. Add another goal of its template, `negatives`, or the template's "
                    "`nothing`; or choose another head."
                )
        for where, (low, high) in _narrowest(goals, head).items():
            if self.threshold is not None:
                _check_threshold(self.threshold, head, low, high, where)
            calibrated = None if self.calibration is None else self.calibration.threshold.value
            if calibrated is not None and not low <= calibrated < high:
                raise ValueError(
                    f"calibration: got the threshold {calibrated:g}, expected {low:g} or more and "
                    f"less than {high:g}, the range of the head {head_summary(head)!r}{where}. "
                    "Calibrate again, or set calibration: null."
                )
        if head.needs_baseline and any(goal.baseline is None for goal in goals.goals):
            raise ValueError(
                f"head {head_summary(head)!r} needs a baseline for every goal. Set `baseline` to a "
                "description of the state before success."
            )
        return self

    def _check_nouns(self, key: str) -> None:
        """Check what is read from the patches of every frame: a bonus, or a map."""
        if self.frames.scored_steps != "all":
            raise ValueError(
                f"{key}: got frames.scored_steps {self.frames.scored_steps!r}, expected 'all', "
                f"since every frame is needed. Remove frames.scored_steps, or {key}."
            )
        for goal in self.goal_set.goals:
            if goal.noun is None:
                raise ValueError(
                    f"{key}: goal {goal.text!r} has no noun, so nobody knows what to look for. Add "
                    "`noun` to its template, as in {goal: 'pick up the {}', prompt: 'the agent is "
                    "carrying the {}', noun: 'a {}'}, or to the goal in full."
                )
            if goal.noun in self._nothing:
                raise ValueError(
                    f"{key}: got {goal.noun!r} both in `nothing` and as the noun of the goal "
                    f"{goal.text!r}, expected other words. Write another noun, or change "
                    "bonus.nothing."
                )

    @property
    def _nothing(self) -> tuple[str, ...]:
        return NOTHING if self.bonus is None else self.bonus.nothing

    @cached_property
    def training_goals(self) -> GoalSet:
        """The training goals; only these are drawn as negatives of training goals."""
        return self._draw(self.goals)

    @cached_property
    def goal_set(self) -> GoalSet:
        """All goals with their prompts and negatives, training goals first."""
        training = self.training_goals
        if not self.evaluation_goals:
            return training
        drawn = self._draw((*self.goals, *self.evaluation_goals))
        return GoalSet(training.goals + drawn.goals[len(training) :])

    def goal_of(self, text: str) -> Goal:
        """Return the goal of a text: one of ``goal_set``, or any that a template fits.

        Raises:
            GoalError: no template fits the text.

        Example:
            >>> config = VLMRewardConfig(
            ...     encoder="small",
            ...     goals=["lift the red {ball|box}"],
            ...     templates=[{"goal": "lift {}", "prompt": "the agent is carrying {}"}],
            ... )
            >>> config.goal_of("lift the blue key").prompt
            'the agent is carrying the blue key'
        """
        if text in self.goal_set.texts:
            return self.goal_set[self.goal_set.index(text)]
        return GoalSet.from_texts([text], templates=self._templates)[0]

    @property
    def _templates(self) -> list[Template]:
        return [Template(**template.model_dump()) for template in self.templates]

    @property
    def rewards(self) -> "tuple[VLMRewardConfig, ...]":
        """This reward, and those of the agents whose rewards differ."""
        rewards = (self, *self._of_agents.values())
        return tuple(reward for reward in rewards if reward is not None)

    @property
    def goal_sets(self) -> tuple[GoalSet, ...]:
        """The goal set of this reward, and those of the agents whose rewards differ."""
        return tuple(reward.goal_set for reward in self.rewards)

    @cached_property
    def head_in_force(self) -> Head:
        """The head that is used: ``head``, with a calibration's temperature if there is one."""
        return self.head if self.calibration is None else self.calibration.head_in_force(self.head)

    @property
    def threshold_in_force(self) -> float | None:
        """The β that is used: a calibration's threshold if there is one, else ``threshold``."""
        return self.threshold if self.calibration is None else self.calibration.threshold.value

    @cached_property
    def score_range(self) -> tuple[float, float]:
        """The lowest and highest score that a frame can have, whatever its goal.

        Example:
            >>> goals = ["a {red|blue} {ball|key}"]
            >>> VLMRewardConfig(encoder="small", goals=goals, head="dense").score_range
            (0.0, 0.75)
        """
        numbers = {1 + len(goal.negatives) for goal in self.goal_set.goals}
        lows, highs = zip(*map(self.head_in_force.range_among, numbers), strict=True)
        return min(lows), max(highs)

    @cached_property
    def scorer(self) -> Scorer:
        """The goals, the head, and the readouts of a bonus and a map.

        Example:
            >>> VLMRewardConfig(encoder="small", goals=["a ball"], head="cosine").scorer.head
            Cosine()
        """
        readouts: list[Readout] = []
        if self.bonus is not None:
            readouts.append(self.bonus.readout(self.goal_set, len(self.training_goals)))
        if self.map_readout is not None:
            readouts.append(self.map_readout)
        return Scorer(self.goal_set, self.head_in_force, readouts=tuple(readouts))

    @cached_property
    def map_readout(self) -> GoalMap | None:
        """The readout of the policy's map; None without ``goal_map``.

        Raises:
            CheckpointError, RewardError: see :func:`.patch_grid`.
        """
        if not self.goal_map:
            return None
        words = compared_words(self.goal_set, len(self.training_goals), self._nothing)
        return GoalMap(*words, self.map_size)

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """The numbers of patches down and across, of the map if there is one.

        Raises:
            CheckpointError, RewardError: see :func:`.patch_grid`.
        """
        if not isinstance(self.goal_map, bool):
            return self.goal_map
        # Imported here, since settings are checked without torch.
        from rllib_vlm_reward.reward_model.encoder import patch_grid

        return patch_grid(self.encoder)

    def for_agent(self, agent: str | int | None) -> "VLMRewardConfig | None":
        """Return the reward of one agent of a multi-agent env; None if it keeps the env's reward.

        Example:
            >>> config = VLMRewardConfig(
            ...     encoder="small",
            ...     goals=["a {red|blue} ball"],
            ...     agents={"seeker": {"goals": ["a {red|blue} key"]}, "referee": None},
            ... )
            >>> config.for_agent("seeker").goal_set.texts
            ('a red key', 'a blue key')
            >>> config.for_agent("another").goal_set.texts
            ('a red ball', 'a blue ball')
        """
        return self if agent is None else self._of_agents.get(agent, self)

    @cached_property
    def _of_agents(self) -> "dict[str | int, VLMRewardConfig | None]":
        return {agent: self._of_agent(agent) for agent in self.agents}

    def _of_agent(self, agent: str | int) -> "VLMRewardConfig | None":
        changes = self.agents[agent]
        if changes is None:
            return None
        fields = type(self).model_fields
        for key in changes:
            if key in fields and not scope_of(fields[key]).by_agent:
                raise ValueError(
                    f"agents: got {key!r} for agent {agent!r}, but it is the same for all agents, "
                    "since they share one pool. Set it at the same level as `agents`."
                )
        if "goals" in changes:  # the evaluation goals belong to the other agents' goals
            changes = {"evaluation_goals": (), **changes}
        try:
            return self.model_copy(update={**changes, "agents": {}})
        except pydantic.ValidationError as error:
            raise ValueError(f"agents: agent {agent!r}: {messages(error)[0]}") from error

    def check_weights(self, weights: str) -> None:
        """Check that the encoder has the weights of the calibrations in use, and log their caveats.

        Args:
            weights: SHA-256 of the encoder's weights.

        Raises:
            LabelError: see :meth:`.Calibration.check_weights`.
        """
        calibrations: list[Calibration] = []
        for reward in self.rewards:
            calibration = reward.calibration
            if calibration is not None and calibration not in calibrations:
                calibrations.append(calibration)
        for calibration in calibrations:
            calibration.check_weights(weights, self.encoder)
            calibration.warn()

    @cached_property
    def reward_settings(self) -> dict[str, Any]:
        """The settings that affect training rewards, in types that JSON has.

        A key of a group is written with the group, such as ``frames.window``. Head and threshold
        are those that are used.
        """
        settings = _reward_settings(self)
        settings |= {key: [*map(_of_rewards, settings[key])] for key in _GOAL_KEYS}
        settings["goal_map"] = bool(self.goal_map)  # its size is the encoder's
        for key in ("bonus", "goal_map"):
            if not getattr(self, key):  # as in checkpoints from before there were any
                del settings[key]
        settings |= {"head": head_summary(self.head_in_force), "threshold": self.threshold_in_force}
        agents = {
            str(agent): config and config.reward_settings
            for agent, config in self._of_agents.items()
        }
        return {**settings, "agents": agents}

    def _draw(self, goals: tuple[str | GoalConfig, ...]) -> GoalSet:
        texts: list[str] = []
        for goal in goals:
            texts += expand_goals(goal) if isinstance(goal, str) else [goal.text]
        given = {goal.text: goal for goal in goals if isinstance(goal, GoalConfig)}
        drawn = GoalSet.from_texts(
            texts,
            prompts={text: goal.prompt for text, goal in given.items() if goal.prompt is not None},
            templates=self._templates,
            negatives=self.negatives,
            num_negatives=self.num_negatives,
            baseline=self.baseline,
            seed=self.negatives_seed,
        )
        full = (given[g.text].complete(g) if g.text in given else g for g in drawn.goals)
        return GoalSet(tuple(full))

    @classmethod
    def from_yaml(cls, text: str) -> "VLMRewardConfig":
        """Read a configuration from YAML text.

        Raises:
            ConfigError: the text is not valid YAML.
            pydantic.ValidationError: see the class.
        """
        return cls.model_validate(parse_settings(text))

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, without default values."""
        return dump_settings(self.model_dump(exclude_defaults=True))


def _refuse_search_space(given: Any, place: str = "") -> None:
    """Refuse a search space of Tune: the reward is built before Tune would draw its value."""
    for key, value in given.items() if isinstance(given, dict) else ():
        where = f"{place}{key}"
        is_space = type(value).__module__.startswith("ray.tune.search")  # tune is not imported here
        is_grid = isinstance(value, dict) and value.keys() == {"grid_search"}
        is_text = isinstance(value, str) and value.startswith("tune.")
        if is_space or is_grid or is_text:
            raise ValueError(
                f"{where}: got the search space {excerpt(value)}, expected a value. Search with "
                "search(space, output, ...): space is the mapping of a run's YAML, and its "
                f'"vlm_reward" may hold search spaces, such as {{"{key}": tune.choice([...])}}. '
                "See docs/tune.md."
            )
        _refuse_search_space(value, f"{where}.")


def _narrowest(goals: GoalSet, head: Head) -> dict[str, tuple[float, float]]:
    """Return the head's range, and that of a goal where it ends lowest; each with words for it."""
    ranges = {"": head.range}
    fewest = min(goals.goals, key=lambda goal: len(goal.negatives))
    among = head.range_among(1 + len(fewest.negatives))
    if among != head.range:
        statements = f"{1 + len(fewest.negatives)} statements of the goal {fewest.text!r}"
        ranges[f" among the {statements}"] = among
    return ranges


def _check_threshold(threshold: float, head: Head, low: float, high: float, where: str) -> None:
    """Refuse a threshold that every score of the head exceeds, or none."""
    always = threshold < low or (head.is_probability and threshold <= low)
    if not always and threshold < high:
        return
    between = f"more than {low:g}" if head.is_probability else f"{low:g} or more"
    raise ValueError(
        f"threshold: got {threshold:g}, which {'every' if always else 'no'} score of the head "
        f"{head_summary(head)!r} exceeds{where}, expected {between} and less than {high:g}, its "
        "range. Correct it, or remove it to make the score the reward."
    )


def _reward_settings(section: Section, group: str = "") -> dict[str, Any]:
    """Return the fields of a section that affect rewards, in types that JSON has."""
    plain, settings = section.model_dump(mode="json"), dict[str, Any]()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if not scope_of(field).rewards:
            continue
        if isinstance(value, Section):
            settings |= _reward_settings(value, f"{group}{name}.")
        else:
            settings[f"{group}{name}"] = plain[name]
    return settings


def _plain(value: Any) -> Any:
    """Convert a value of an agent's settings that YAML does not have."""
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Head):
        return head_settings(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return path_of(value)
    raise ValueError(
        f"got {excerpt(value)}, expected values as in YAML, a head or a frame source. Correct it."
    )


def _of_rewards(given: str | dict[str, Any]) -> str | dict[str, Any]:
    """Remove fields that affect no reward; a goal with only a text left becomes that text."""
    if isinstance(given, str):
        return given
    kept = {key: value for key, value in given.items() if key not in CURRICULUM_FIELDS}
    if kept.get("noun") is None:  # as in checkpoints from before there were nouns
        kept.pop("noun", None)
    return kept["text"] if all(kept[key] is None for key in kept.keys() - {"text"}) else kept
