"""What layers keep, where it finds no room on chip: to and from memory.

Delta layers' comes block by block of rows; experts' and token gates' all of a layer's at a time.

::

    memory ──► LOAD ──► window ──► LINEAR ──► window ──► STORE ──► memory
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from deltamoe.golden.operators import Operator, block, feed_forward
from deltamoe.golden.temporal.policy import Choice
from deltamoe.rtl.compiler.kept_state import extent
from deltamoe.rtl.compiler.layout import even
from deltamoe.rtl.compiler.tensors import Tensors
from deltamoe.rtl.label import Label, Role, Subject, What
from deltamoe.rtl.program import Linear, Load, Source, Store, Target

KEPT = {Target.STATE: What.STATE, Target.REFERENCE: What.REFERENCE}
"""What is kept in a memory of which a layer has all rows at a time."""


class Streaming(Tensors):
    """Adds the loads and stores of blocks of rows to the descriptors that use them."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.windows = {Target.STATE: self.keeping.state.window(),
                        Target.REFERENCE: self.keeping.references.window()}
        self.areas: dict[Label, int] = {}
        self.written: dict[Label, int] = {}
        self.opened: dict[Label, int] = {}
        self.held: dict[tuple[Operator, Target], tuple[int, int]] = {}
        self.area = 0

    def beats(self, target: Target, words: int) -> int:
        """Beats of a transfer."""
        return 2 * words if target == Target.STATE else words // 2

    def fetch(self, block: Label, target: Target, words: int) -> int:
        """Load what the frame before left of a block; return its first word in the window."""
        base, computes, stores = self.windows[target].take(words, block)
        self.bring(block, target, words, base, computes, stores)
        return base

    def bring(self, block: Label, target: Target, words: int, base: int, computes: int,
              stores: int) -> None:
        """Load what the frame before left, once so many operators and transfers have finished.

        A first frame overwrites it all, and only waits, with a load of a word or two, until those
        who use these words have left.
        """
        size = self.beats(target, words)
        if block not in self.areas:
            self.areas[block] = self.area
            self.area += size * self.hw.bus_bytes
        if self.fresh:
            size = self.beats(target, 2 if target == Target.REFERENCE else 1)
        else:
            stores = max(stores, self.written.get(block, 0))
        if computes or stores or not self.fresh:
            self.add(replace(block, role=Role.LOAD), Load(
                target=target, address=self.areas[block], beats=size, base=base,
                wait_computes=computes, wait_stores=stores))
            self.loads += 1

    def hold(self, words_of: Mapping[Operator, int], target: Target, owner: Subject) -> None:
        """Load all that some layers keep, so many words each; have it on chip until ``close``."""
        base, *waits = self.windows[target].take(sum(words_of.values()), owner)
        for operator, words in words_of.items():
            self.bring(Label(operator, what=KEPT[target]), target, words, base, *waits)
            self.held[operator, target] = base, words
            base += words

    def open(self, layer: int) -> None:
        """Load all that a layer's experts keep, whoever had the tokens."""
        streamed = [operator for operator in feed_forward(self.config, layer)
                    if operator in self.keeping.streamed]
        if streamed and not self.keeping.gate(streamed[0]):
            extents = {operator: extent(operator, self.config, self.hw) for operator in streamed}
            owner = f"{block(layer)}.experts"
            self.hold({operator: even(one.reference_words) for operator, one in extents.items()},
                      Target.REFERENCE, owner)
            self.hold({operator: one.state_words for operator, one in extents.items()},
                      Target.STATE, owner)

    def gated(self, operator: Operator, target: Target) -> None:
        """Load the operand that a token gate compares, or the sums behind it."""
        if operator in self.keeping.streamed and self.keeping.gate(operator):
            one = extent(operator, self.config, self.hw)
            words = one.state_words if target == Target.STATE else even(one.reference_words)
            self.hold({operator: words}, target, operator)

    def base(self, operator: Operator, target: Target, words: int) -> int:
        """Return the first of so many words that a layer keeps on chip, or holds there."""
        if (operator, target) in self.held:
            return self.held[operator, target][0]
        region = self.keeping.state if target == Target.STATE else self.keeping.references
        return region.take(operator, words)

    def close(self) -> None:
        """Store what is held."""
        for (operator, target), (base, words) in self.held.items():
            self.spill(operator, Label(operator, what=KEPT[target]), target, base, words)
        self.held.clear()

    def spill(self, product: Operator, block: Label, target: Target, base: int,
              words: int) -> None:
        """Store a block for the next frame, as a part of what ``product`` does."""
        self.compute(product, Store(target=target, address=self.areas[block],
                                    beats=self.beats(target, words), base=base), Role.STORE)
        self.written[block] = self.stores
        self.windows[target].use(base, words, stores=self.stores)

    def blocks(self, product: Operator, before: int, operand: Subject, choice: Choice,
               layer: Linear) -> Iterator[Linear]:
        """Yield one block of a layer's rows after the other, with what it needs around it.

        ``before`` is the words of a row in front of the columns that come; ``operand`` names the
        references, which are stored unless another descriptor with them follows.
        """
        piece, rows, stride = f"{product}.{before}", layer.rows, layer.source_stride
        words = layer.columns // self.hw.word
        size = self.block(piece, rows, words, stride, whole=layer.source == Source.NORMED)
        for first in range(0, rows, size):
            count = min(size, rows - first)
            held = even(count * stride)
            references = Label(operand, what=What.REFERENCE, rows=first)
            sums = Label(product, what=What.SUMS, columns=before, rows=first)
            if references not in self.opened:
                self.opened[references] = self.fetch(references, Target.REFERENCE, held)
            state, reference = self.fetch(sums, Target.STATE, count * words), (
                self.opened[references])
            yield replace(
                layer, rows=count, source_base=layer.source_base + first * stride,
                dest_base=layer.dest_base + first * layer.dest_stride, state_base=state,
                reference_base=reference, theta=choice.theta, fresh=self.fresh,
                by_row=layer.by_row and not first)
            self.spill(product, sums, Target.STATE, state, count * words)
            if not layer.keeps:
                self.spill(product, references, Target.REFERENCE, reference, held)
            elif size < rows:
                self.windows[Target.REFERENCE].use(reference, held, computes=self.computed)
            if not layer.keeps or size < rows:
                del self.opened[references]
        self.whole = size >= rows

    def block(self, name: str, rows: int, words: int, stride: int, *, whole: bool) -> int:
        """Rows that the windows hold; if not all, twice, so that a block is loaded beside one.

        Raises
        ------
        ValueError
            They hold no row, or all are needed at a time.
        """
        def most(share: int) -> int:
            return min(*(window.depth // share // size for window, size in zip(
                self.windows.values(), (words, stride), strict=True)))

        size = most(1)
        if size < rows:
            size = most(2) or size
        if size < (rows if whole else 1):
            raise ValueError(
                f"{name} keeps {rows * words if whole else words} state_words and "
                f"{rows * stride if whole else stride} reference_words at a time, the hardware "
                f"has {' and '.join(str(window.depth) for window in self.windows.values())} left")
        return min(size, rows)
