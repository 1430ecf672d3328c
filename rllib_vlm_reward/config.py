"""What a run's reward is: typed, frozen, validated, and the same keys in YAML."""

import json
from functools import cached_property
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from rllib_vlm_reward.calibration import Calibration, inline_calibration
from rllib_vlm_reward.goal_config import GoalConfig, TemplateConfig, resolve_goals
from rllib_vlm_reward.goals import OF_CURRICULA, GoalSet, Template, expand_goals
from rllib_vlm_reward.section import Positive, Section
from rllib_vlm_reward.serving_config import ServingConfig
from rllib_vlm_reward.settings import dump_settings, parse_settings

__all__ = ["GoalConfig", "TemplateConfig", "VLMRewardConfig"]

Unit = Annotated[float, Field(ge=0.0, le=1.0)]

# Where and when rewards are computed, and what else no reward of training depends on.
_ELSEWHERE = {
    "mode",
    "may_change",
    "alarms",
    "success_key",
    "evaluation_goals",
    "agents",
    "calibration",  # what it sets is there
    *(set(ServingConfig.model_fields) - {"precision"}),
}
_OF_AN_AGENT = {"success_key", "evaluation_goals", "calibration"}
_OF_THE_RUN = (_ELSEWHERE - _OF_AN_AGENT) | {"encoder", "precision", "early_end", "goal_embedding"}


class VLMRewardConfig(ServingConfig):
    """The reward of a run: which CLIP, which goals, which head, and where it is computed.

    Its keys are those below, and those of :class:`.ServingConfig`.

    Attributes:
        encoder: an open_clip model as ``"architecture/pretrained"``, a checkpoint file as
            ``"architecture/path.safetensors"``, a folder in open_clip's layout, the name of an
            embedded CLIP (``"small"``, ``"base"``), or ``"architecture/random"``.
        goals: texts (``{a|b}`` expands to both), or :class:`.GoalConfig` for a goal in full; or a
            mapping, see :class:`.Grammar`; or the path of a YAML file, see :class:`.GoalFile`.
            Both are resolved at once into ``goals``, ``evaluation_goals`` and ``templates``.
        evaluation_goals: goals held out of training: an env runner that trains refuses an episode
            of one, an evaluation env runner takes both kinds.
        templates: rewrite a goal's text into what CLIP reads; the first that fits applies.
        negatives: statements, in CLIP's words, that every goal is weighed against.
        num_negatives: how many other goals to draw as negatives; None takes all.
        negatives_seed: of that draw; the drawn negatives are fixed for the run.
        baseline: every goal's baseline for the ``goal_baseline`` head.
        head: ``softmax`` (the paper's equation 1), ``cosine``, ``goal_baseline`` (vlmrm),
            ``sigmoid`` (SigLIP) or ``dense`` (max(p − 1/N, 0), MineCLIP's direct reward).
        temperature: τ of the softmax; None takes the model's own 1/exp(logit_scale).
        alpha: strength of the goal-baseline regularisation, 0 (plain) to 1.
        threshold: β of the paper's equation 2, in [0, 1]: the reward is 1 where the score
            exceeds it, else 0. None pays the score itself.
        calibration: what ``rllib-vlm-reward calibrate`` wrote, or the path of it, read at once: it
            sets ``threshold`` and ``temperature``, and refuses another reward or CLIP.
        mode: ``synchronous`` reads each reward before the next step; ``deferred`` when the
            fragment ends, so that stepping and scoring overlap.
        early_end: end the episode when the reward is 1, as in the paper. Synchronous mode only.
        scored_steps: which steps CLIP sees: ``all``; an integer k: every k-th step of the episode,
            and its last; ``last``: the episode's last step only; ``changed``: those whose frame
            differs from the one before, the others repeat its score. A step that is not scored
            pays nothing.
        window: a step's score is that of the episode's last W scored frames together.
        window_reduce: how: their ``mean`` or their ``max``.
        normalize_rewards: divide the VLM's rewards by the running standard deviation of their
            discounted return, as gymnasium's NormalizeReward does. Evaluation pays them as they
            are.
        env_reward_weight: how much of the env's own reward is added; 0 keeps it from the learner.
        frame_source: ``render``, ``obs``, ``obs:KEY`` or ``info:KEY``.
        goal_source: where an episode's goal text is found, ``info:KEY`` or ``obs:KEY``. Not read
            when there is a single goal.
        success_key: info key of ground-truth success, reported where the env has it.
        goal_embedding: show the policy the goal: its observation becomes
            ``{"observation": ..., "goal": float32 [D]}``, with CLIP's embedding of the prompt.
        agents: in a multi-agent env, what is different for an agent: its id, and keys that say what
            its reward is (goals, head, threshold, where its frames lie; not which CLIP, nor how
            it is served); None leaves it the env's own reward.
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
    """

    encoder: Annotated[str, Field(min_length=1)]
    goals: Annotated[tuple[str | GoalConfig, ...], Field(min_length=1)]
    templates: Annotated[tuple[TemplateConfig, ...], Field(min_length=1)] = (TemplateConfig(),)
    negatives: tuple[str, ...] = ()
    num_negatives: Annotated[int, Field(ge=0)] | None = None
    negatives_seed: int = 0
    baseline: str | None = None
    evaluation_goals: tuple[str | GoalConfig, ...] = ()
    head: Literal["softmax", "cosine", "goal_baseline", "sigmoid", "dense"] = "softmax"
    temperature: Positive | None = None
    alpha: Unit = 0.5
    threshold: Unit | None = None
    calibration: Calibration | None = None
    mode: Literal["synchronous", "deferred"] = "deferred"
    early_end: bool = False
    scored_steps: Literal["all", "last", "changed"] | int = "all"
    window: Annotated[int, Field(ge=1)] = 1
    window_reduce: Literal["mean", "max"] = "mean"
    normalize_rewards: bool = False
    env_reward_weight: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    frame_source: Annotated[str, Field(pattern=r"^(render|info:.+|obs:.+|obs)$")] = "render"
    goal_source: Annotated[str, Field(pattern=r"^(info:.+|obs:.+)$")] = "info:goal"
    success_key: str = "success"
    goal_embedding: bool = False
    agents: dict[str | int, dict[str, Any] | None] = Field(default_factory=dict)
    alarms: Literal["warn", "error", "off"] = "warn"
    may_change: bool = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _resolve_goals(cls, given: Any) -> Any:
        return inline_calibration(resolve_goals(given))

    @pydantic.field_validator("scored_steps", mode="before")
    @classmethod
    def _name_steps(cls, given: Any) -> Any:
        words = ("all", "last", "changed")
        if given not in words and (type(given) is not int or given < 1):
            raise ValueError(f"got {given!r}, expected one of {words}, or k for every k-th step.")
        return given

    @pydantic.field_validator("agents", mode="before")
    @classmethod
    def _as_yaml(cls, given: Any) -> Any:
        """Keep an agent's settings in YAML's types, whatever they were given in."""
        if not isinstance(given, dict):
            return given
        full = {agent: inline_calibration(resolve_goals(its)) for agent, its in given.items()}
        return {agent: json.loads(json.dumps(its, default=_plain)) for agent, its in full.items()}

    @pydantic.model_validator(mode="after")
    def _check(self) -> "VLMRewardConfig":
        if self.calibration is not None:
            keys = ("head", "alpha", "window", "frame_source", "threshold", "temperature")
            given = {key: getattr(self, key) for key in keys}
            # Not among the fields that were set: a copy with another calibration takes its own.
            self.__dict__.update(self.calibration.settings(given, self.goal_set))
        if self.early_end and self.mode == "deferred":
            raise ValueError(
                "early_end needs the reward before the next step, but mode is 'deferred', which "
                "reads it when the fragment ends. Set mode: synchronous, or early_end: false."
            )
        if self.early_end and self.threshold is None:
            raise ValueError(
                "early_end ends an episode when the reward is 1, but there is no threshold, so "
                "no reward is. Set threshold (the paper's β)."
            )
        if self.early_end and self.scored_steps == "last":
            raise ValueError(
                "early_end ends an episode before its last step, but scored_steps is 'last', so "
                "no other is scored. Set early_end: false, or score more steps."
            )
        for agent in self.agents:
            self.for_agent(agent)  # for its errors
        goals = self.goal_set
        if self.head in ("softmax", "dense"):
            for goal in goals.goals:
                if not goal.negatives:
                    raise ValueError(
                        f"goal {goal.text!r} has no negatives, so its probability is 1 for any "
                        "frame. Add another goal of its template, `negatives`, or the template's "
                        "`nothing`; or choose another head."
                    )
        if self.head == "goal_baseline" and any(goal.baseline is None for goal in goals.goals):
            raise ValueError("head goal_baseline needs a `baseline`: the state before success.")
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
        for key in changes:
            if key in _OF_THE_RUN:
                raise ValueError(
                    f"agents: {key!r} of agent {agent!r} is the same for all agents, since one "
                    "pool serves them. Set it beside `agents`."
                )
        if "goals" in changes:  # held out are the others'
            changes = {"evaluation_goals": (), **changes}
        try:
            return self.model_copy(update={**changes, "agents": {}})
        except pydantic.ValidationError as error:
            raise ValueError(f"agents: of agent {agent!r}: {error.errors()[0]['msg']}") from error

    def check_weights(self, weights: str) -> None:
        """Refuse a CLIP whose weights, by their SHA-256, are not those of a calibration.

        What a calibration does not vouch for is logged: this is where its use begins.

        Raises:
            LabelError: see :meth:`.Calibration.check_weights`.
        """
        rewards = (self, *self._of_agents.values())
        for calibration in {it.calibration for it in rewards if it and it.calibration}:
            calibration.check_weights(weights, self.encoder)
            calibration.warn()

    @cached_property
    def reward_settings(self) -> dict[str, Any]:
        """What training's rewards depend on, and nothing of where they are computed, for JSON."""
        own = self.model_dump(mode="json", exclude=_ELSEWHERE)
        own |= {key: [*map(_rewarded, own[key])] for key in ("goals", "templates")}
        each = {str(agent): it and it.reward_settings for agent, it in self._of_agents.items()}
        return {**own, "agents": each}

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
        """Return the configuration as YAML text, defaults and what a calibration sets left out."""
        theirs = {"threshold", "temperature"} if self.calibration is not None else set()
        plain = self.model_dump(exclude_defaults=True, exclude=theirs)
        return dump_settings(plain)


def _plain(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_unset=True)


def _rewarded(given: str | dict[str, Any]) -> str | dict[str, Any]:
    """Leave out what no reward depends on; a goal of which only its text remains is that text."""
    if isinstance(given, str):
        return given
    kept = {key: value for key, value in given.items() if key not in OF_CURRICULA}
    return kept["text"] if all(kept[key] is None for key in kept.keys() - {"text"}) else kept
