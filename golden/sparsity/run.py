"""Apply a rule to a record: inside the integer network if there is one, else operand by operand."""

from deltamoe.golden.sparsity.live import Live
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.replay import Replay
from deltamoe.golden.sparsity.rule import Rule
from deltamoe.golden.sparsity.work import Frame

KEYS, LOGITS = ("keys", "keys of the attention"), ("logits", "logits of gates")
NEEDED = {"route": LOGITS, "pairs": KEYS, "alive": KEYS, "attending": KEYS}
"""What a frame must hold for a hook."""


def frames(record: Record, rule: Rule, policy: str) -> list[Frame]:
    """Return what each frame of a record still does under the rule of a policy.

    Raises
    ------
    ValueError
        The rule decides by something that the record does not hold.
    """
    if rule.blocks and record.config is None:
        raise ValueError(f"policy {policy} needs the blocks of a vision transformer, and "
                         "the record is of another network")
    for hook, (kept, meaning) in NEEDED.items():
        if getattr(type(rule), hook) is not getattr(Rule, hook) and not any(
                getattr(moment, kept) for moment in record.frames):
            raise ValueError(f"policy {policy} needs {meaning}, and the record holds none")
    if type(rule).route is not Rule.route and record.config is None:
        check_routers(record, policy)
    if record.model is None:
        return [Replay(rule, moment).frame() for moment in record.frames]
    live = Live(rule)
    return [live.frame(moment) for moment in record.frames]


def check_routers(record: Record, policy: str) -> None:
    """Raise ValueError unless the logits of the gate of every expert are known."""
    for moment in record.frames:
        for product in moment.operands:
            if product.expert is not None and product.layer not in moment.logits:
                raise ValueError(f"policy {policy} needs logits of gates, and the record holds "
                                 f"none of that of {product}; name it among the routers")
