"""The scope of a setting: whether it may differ between agents, and whether it affects rewards."""

import dataclasses

from pydantic.fields import FieldInfo

__all__ = ["AGENT", "ELSEWHERE", "RUN", "Scope", "scope_of"]


@dataclasses.dataclass(frozen=True)
class Scope:
    """The scope of a field, declared as in ``mode: Annotated[str, ELSEWHERE]``.

    A field without a declaration has the scope ``Scope()``.

    Attributes:
        by_agent: whether the value may differ between the agents of a multi-agent env.
        rewards: whether training rewards depend on the value, so that checkpoints store it.
    """

    by_agent: bool = True
    rewards: bool = True


RUN = Scope(by_agent=False)
AGENT = Scope(rewards=False)
ELSEWHERE = Scope(by_agent=False, rewards=False)


def scope_of(field: FieldInfo) -> Scope:
    """Return the scope that a field declares.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> scope_of(VLMRewardConfig.model_fields["mode"])
        Scope(by_agent=False, rewards=False)
    """
    return next((item for item in field.metadata if isinstance(item, Scope)), Scope())
