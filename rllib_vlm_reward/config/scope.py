"""The scope of a setting: whether it may differ by agent, and whether rewards depend on it."""

import dataclasses

from pydantic.fields import FieldInfo

__all__ = ["AGENT", "ELSEWHERE", "RUN", "Scope", "scope_of"]


@dataclasses.dataclass(frozen=True)
class Scope:
    """Declared at a field, as in ``mode: Annotated[str, ELSEWHERE]``; without it: ``Scope()``.

    Attributes:
        by_agent: whether an agent of a multi-agent env may have another value.
        rewards: whether the rewards of training depend on it, so that a checkpoint holds it.
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
    return next((each for each in field.metadata if isinstance(each, Scope)), Scope())
