"""All mechanisms by name. It needs no torch: what a mechanism does is imported when it is used."""

from deltamoe.golden.sparsity.catalog import activation, attention, routing, temporal, weights
from deltamoe.golden.sparsity.mechanism import Mechanism

MECHANISMS: dict[str, Mechanism] = {
    mechanism.name: mechanism
    for family in (temporal, routing, activation, attention, weights)
    for mechanism in family.MECHANISMS
}
