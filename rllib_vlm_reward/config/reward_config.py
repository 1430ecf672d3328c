"""What a run's reward is: typed, frozen, validated, and the same keys in YAML."""

import json
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field

from rllib_vlm_reward.config.calibration import Calibration, inline_calibration
from rllib_vlm_reward.config.frame_config import FrameConfig, path_of
from rllib_vlm_reward.config.goal_config import GoalConfig, TemplateConfig, resolve_goals
from rllib_vlm_reward.config.scope import AGENT, ELSEWHERE, RUN, scope_of
from rllib_vlm_reward.config.serving_config import ServingConfig
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import CURRICULUM_FIELDS, GoalSet, Template, expand_goals
from rllib_vlm_reward.reward_model.heads import (
    Head,
    Softmax,
    head_settings,
    head_summary,
    make_head,
)
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.settings import (
    Section,
    dump_settings,
    import_path_of,
    messages,
    parse_settings,
)

__all__ = ["VLMRewardConfig"]

Unit = Annotated[float, Field(ge=0.0, le=1.0)]


def _make_head(given: Any) -> Head:
    try:
        return make_head(given)
    except RewardError as error:
        raise ValueError(str(error).removeprefix("head: ")) from error


class VLMRewardConfig(Section, place="vlm_reward"):
    """The reward of a run: which encoder, which goals, which head, and how it is served.

    Attributes:
        encoder: an open_clip model as ``"architecture/pretrained"``, a checkpoint file as
            ``"architecture/path.safetensors"``, a folder in open_clip's layout, the name of an
            embedded CLIP (``"small"``, ``"base"``), or ``"architecture/random"``; or the import
            path of an :class:`.Encoder` of your own.
        goals: texts (``{a|b}`` expands to both), or :class:`.GoalConfig` for a goal in full; or a
            mapping, see :class:`.Grammar`; or the path of a YAML file, see :class:`.GoalFile`.
            Both are resolved at once into ``goals``, ``evaluation_goals`` and ``templates``.
        evaluation_goals: goals held out of training: an env runner that trains refuses an episode
            of one, an evaluation env runner takes both kinds.
        templates: rewrite a goal's text into what CLIP reads; the first that fits applies.
        negatives: statements, in CLIP's words, that every goal is weighed against.
        num_negatives: how many other goals to draw as negatives; None takes all.
        negatives_seed: seed for drawing the negatives; they are drawn once a run.
        baseline: every goal's baseline for the ``goal_baseline`` head.
        head: how scores are made: ``softmax`` (the paper's equation 1), ``cosine``,
            ``goal_baseline`` (vlmrm), ``sigmoid`` (SigLIP) or ``dense`` (max(p − 1/N, 0),
            MineCLIP's direct reward); with settings, ``{kind: softmax, temperature: 0.01}`` (τ;
            None takes the model's own, 1/exp(logit_scale)) or ``{kind: goal_baseline, alpha: 0.5}``
            (strength of the regularisation, 0 to 1); or a :class:`.Head` of your own by its import
            path.
        threshold: β of the paper's equation 2, in [0, 1]: the reward is 1 where the score
            exceeds it, else 0. None pays the score itself.
        calibration: what ``rllib-vlm-reward calibrate`` wrote, or the path of that file, read at
            once. Its threshold and temperature are in force; another reward or encoder is refused.
        frames: which frames are scored, see :class:`.FrameConfig`.
        mode: ``synchronous`` reads each reward before the next step; ``deferred`` when the
            fragment ends, so that stepping and scoring overlap.
        early_end: end the episode when the reward is 1, as in the paper. Synchronous mode only.
        normalize_rewards: divide the VLM's rewards by the running standard deviation of their
            discounted return, as gymnasium's NormalizeReward does. Evaluation pays them as they
            are.
        env_reward_weight: how much of the env's own reward is added; 0 keeps it from the learner.
        goal_source: where an episode's goal text is found, ``info:KEY`` or ``obs:KEY``. Not read
            when there is a single goal.
        success_key: info key of ground-truth success, reported where the env has it.
        goal_embedding: show the policy the goal: its observation becomes
            ``{"observation": ..., "goal": float32 [D]}``, with CLIP's embedding of the prompt.
        serving: where and how scores are computed, see :class:`.ServingConfig`.
        agents: in a multi-agent env, what is different for an agent: its id, and the keys that say
            what its reward is (goals, head, threshold, frames; not which encoder, nor how it is
            served); None leaves it the env's own reward.
        alarms: what a reward that cannot be trusted does to training: ``warn`` logs it, ``error``
            ends training by an error, ``off`` looks for none. See docs/alarms.md.
        may_change: let a checkpoint that was written with another reward be restored.

    Raises:
        pydantic.ValidationError: an unknown key or a value outside its range.

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
    threshold: Unit | None = None
    calibration: Annotated[Calibration | None, AGENT] = None
    frames: FrameConfig = FrameConfig()
    mode: Annotated[Literal["synchronous", "deferred"], ELSEWHERE] = "deferred"
    early_end: Annotated[bool, RUN] = False
    normalize_rewards: bool = False
    env_reward_weight: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    goal_source: Annotated[str, Field(pattern=r"^(info:.+|obs:.+)$")] = "info:goal"
    success_key: Annotated[str, AGENT] = "success"
    goal_embedding: Annotated[bool, RUN] = False
    serving: Annotated[ServingConfig, RUN] = ServingConfig()
    agents: Annotated[dict[str | int, dict[str, Any] | None], ELSEWHERE] = Field(
        default_factory=dict
    )
    alarms: Annotated[Literal["warn", "error", "off"], ELSEWHERE] = "warn"
    may_change: Annotated[bool, ELSEWHERE] = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _resolve_goals(cls, given: Any) -> Any:
        return inline_calibration(resolve_goals(given))

    @pydantic.field_validator("encoder", mode="before")
    @classmethod
    def _name_encoder(cls, given: Any) -> Any:
        return import_path_of(given) if isinstance(given, type) else given

    @pydantic.field_validator("agents", mode="before")
    @classmethod
    def _as_yaml(cls, given: Any) -> Any:
        """Keep an agent's settings in YAML's types, whatever they were given in."""
        if not isinstance(given, dict):
            return given
        full = {agent: inline_calibration(resolve_goals(own)) for agent, own in given.items()}
        return {agent: json.loads(json.dumps(own, default=_plain)) for agent, own in full.items()}

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
        if self.early_end and self.mode == "deferred":
            raise ValueError(
                "early_end needs the reward before the next step, but mode is 'deferred', which "
                "reads it when the fragment ends. Set mode: synchronous, or early_end: false."
            )
        if self.early_end and self.threshold_in_force is None:
            raise ValueError(
                "early_end ends an episode when the reward is 1, but there is no threshold, so "
                "no reward is. Set threshold (the paper's β)."
            )
        if self.early_end and self.frames.scored_steps == "last":
            raise ValueError(
                "early_end ends an episode before its last step, but frames.scored_steps is "
                "'last', so no other is scored. Set early_end: false, or score more steps."
            )
        for agent in self.agents:
            self.for_agent(agent)  # for its errors
        goals = self.goal_set
        for goal in goals.goals if head.needs_negatives else ():
            if not goal.negatives:
                raise ValueError(
                    f"goal {goal.text!r} has no negatives, so its probability is 1 for any "
                    "frame. Add another goal of its template, `negatives`, or the template's "
                    "`nothing`; or choose another head."
                )
        if head.needs_baseline and any(goal.baseline is None for goal in goals.goals):
            raise ValueError(
                f"head {head_summary(head)!r} needs a `baseline`: the state before success."
            )
        return self

    @cached_property
    def training_goals(self) -> GoalSet:
        """The goals of training; negatives are drawn from these alone."""
        return self._draw(self.goals)

    @cached_property
    def goal_set(self) -> GoalSet:
        """All goals with their prompts and drawn negatives, those of training first."""
        training = self.training_goals
        if not self.evaluation_goals:
            return training
        drawn = self._draw((*self.goals, *self.evaluation_goals))
        return GoalSet(training.goals + drawn.goals[len(training) :])

    @cached_property
    def head_in_force(self) -> Head:
        """The head that scores: ``head``, with a calibration's temperature if there is one."""
        return self.head if self.calibration is None else self.calibration.head_in_force(self.head)

    @property
    def threshold_in_force(self) -> float | None:
        """The β that pays: ``threshold``, or a calibration's."""
        return self.threshold if self.calibration is None else self.calibration.threshold.value

    @cached_property
    def scorer(self) -> Scorer:
        """What frames are scored against: the goals, and the head that scores.

        Example:
            >>> VLMRewardConfig(encoder="small", goals=["a ball"], head="cosine").scorer.head
            Cosine()
        """
        return Scorer(self.goal_set, self.head_in_force)

    def for_agent(self, agent: str | int | None) -> "VLMRewardConfig | None":
        """Return the reward of one agent of a multi-agent env; None if it keeps the env's.

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
                    f"agents: {key!r} of agent {agent!r} is the same for all agents, since one "
                    "pool serves them. Set it beside `agents`."
                )
        if "goals" in changes:  # held out are the others'
            changes = {"evaluation_goals": (), **changes}
        try:
            return self.model_copy(update={**changes, "agents": {}})
        except pydantic.ValidationError as error:
            raise ValueError(f"agents: of agent {agent!r}: {messages(error)[0]}") from error

    def check_weights(self, weights: str) -> None:
        """Refuse a CLIP whose weights, by their SHA-256, are not those of a calibration.

        What a calibration does not vouch for is logged: this is where its use begins.

        Raises:
            LabelError: see :meth:`.Calibration.check_weights`.
        """
        rewards = (self, *self._of_agents.values())
        each = [it.calibration for it in rewards if it is not None and it.calibration is not None]
        for calibration in [own for place, own in enumerate(each) if own not in each[:place]]:
            calibration.check_weights(weights, self.encoder)
            calibration.warn()

    @cached_property
    def reward_settings(self) -> dict[str, Any]:
        """What training's rewards depend on, and nothing of where they are computed, for JSON.

        A group's keys are named with the group: ``frames.window``. Head and threshold are those
        in force.
        """
        own = _reward_settings(self)
        own |= {key: [*map(_rewarded, own[key])] for key in ("goals", "templates")}
        own |= {"head": head_summary(self.head_in_force), "threshold": self.threshold_in_force}
        agents = {
            str(agent): config and config.reward_settings
            for agent, config in self._of_agents.items()
        }
        return {**own, "agents": agents}

    def _draw(self, goals: tuple[str | GoalConfig, ...]) -> GoalSet:
        texts: list[str] = []
        for goal in goals:
            texts += expand_goals(goal) if isinstance(goal, str) else [goal.text]
        given = {goal.text: goal for goal in goals if isinstance(goal, GoalConfig)}
        drawn = GoalSet.from_texts(
            texts,
            prompts={text: goal.prompt for text, goal in given.items() if goal.prompt is not None},
            templates=[Template(**template.model_dump()) for template in self.templates],
            negatives=self.negatives,
            num_negatives=self.num_negatives,
            baseline=self.baseline,
            seed=self.negatives_seed,
        )
        full = (given[g.text].complete(g) if g.text in given else g for g in drawn.goals)
        return GoalSet(tuple(full))

    @classmethod
    def from_yaml(cls, text: str) -> "VLMRewardConfig":
        """Read the configuration from YAML text."""
        return cls.model_validate(parse_settings(text))

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, defaults left out."""
        return dump_settings(self.model_dump(exclude_defaults=True))


def _reward_settings(section: Section, group: str = "") -> dict[str, Any]:
    """Return the values of a section's fields on which rewards depend, in JSON's types."""
    plain, found = section.model_dump(mode="json"), dict[str, Any]()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if not scope_of(field).rewards:
            continue
        if isinstance(value, Section):
            found |= _reward_settings(value, f"{group}{name}.")
        else:
            found[f"{group}{name}"] = plain[name]
    return found


def _plain(value: Any) -> Any:
    """Return in YAML's types what an agent's settings may hold beside them."""
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Head):
        return head_settings(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return path_of(value)
    raise ValueError(f"got {value!r}, expected settings as in YAML, a head or a frame source.")


def _rewarded(given: str | dict[str, Any]) -> str | dict[str, Any]:
    """Leave out what no reward depends on; a goal of which only its text remains is that text."""
    if isinstance(given, str):
        return given
    kept = {key: value for key, value in given.items() if key not in CURRICULUM_FIELDS}
    return kept["text"] if all(kept[key] is None for key in kept.keys() - {"text"}) else kept
