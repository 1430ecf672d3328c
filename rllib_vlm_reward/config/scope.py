"""The scope of a setting: where it may differ, and whether it affects rewards."""

import dataclasses

from pydantic.fields import FieldInfo

__all__ = [
    "AGENT",
    "ELSEWHERE",
    "EXPERT",
    "RUN",
    "SERVED",
    "SERVED_ELSEWHERE",
    "Scope",
    "scope_of",
]


@dataclasses.dataclass(frozen=True)
class Scope:
    """The scope of a field, declared as in ``mode: Annotated[str, ELSEWHERE]``.

    A field without a declaration has the scope ``Scope()``.

    Attributes:
        by_agent: whether the value may differ between the agents of a multi-agent env.
        rewards: whether training rewards depend on the value, so that checkpoints store it.
        by_expert: whether the value may differ between the experts of one reward.
    """

    by_agent: bool = True
    rewards: bool = True
    by_expert: bool = False


# RUN and EXPERT: rewards depend on the value.
RUN = Scope(by_agent=False)
AGENT = Scope(rewards=False)
ELSEWHERE = Scope(by_agent=False, rewards=False)
EXPERT = Scope(by_expert=True)
# RUN and ELSEWHERE, but each expert may have a value of its own.
SERVED = Scope(by_agent=False, by_expert=True)
SERVED_ELSEWHERE = Scope(by_agent=False, rewards=False, by_expert=True)


def scope_of(field: FieldInfo) -> Scope:
    """Return the scope that a field declares.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> scope_of(VLMRewardConfig.model_fields["mode"])
        Scope(by_agent=False, rewards=False, by_expert=False)
    """
    return next((item for item in field.metadata if isinstance(item, Scope)), Scope())
