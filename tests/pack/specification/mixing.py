"""Codec 5 of docs/format.md, with sections 5 to 9."""

from bisect import bisect_left

from .streams import Bytes, Range, restored

# Section 5
POWER, UPPER = 1 << 60, []
for _ in range(2816):
    UPPER.append((1 << 92) // ((1 << 60) + POWER))
    POWER = POWER * 1148426689630428643 >> 60
LOGISTIC = [(1 << 32) - value for value in UPPER[:0:-1]] + UPPER
SQUASH = [min(65535, max(1, value + (1 << 15) >> 16)) for value in LOGISTIC]


def clamp(p: int) -> int:
    return min(65535, max(1, p))


def inverse(p: int) -> int:
    return min(bisect_left(LOGISTIC, p << 16), 5630) - 2815


STRETCH = [inverse(p) if p < 4096 else -inverse(65536 - p) if p > 61440 else inverse(p >> 4 << 4) for p in range(65536)]


class Slot:
    def __init__(self) -> None:
        self.q, self.count = 1 << 21, 0

    def chance(self) -> int:
        return clamp(self.q >> 6)

    def learn(self, bit: int) -> None:
        self.q += ((4194303 if bit else 0) - self.q) * (131072 // (2 * self.count + 3)) >> 16
        self.count = min(self.count + 1, 255)


class Slots(dict[object, Slot]):
    def __missing__(self, key: object) -> Slot:
        self[key] = Slot()
        return self[key]


def mixed_bit(coder: Range, weights: list[int], slots: list[Slot], fixed: list[int], rate: int) -> int:
    inputs = fixed + [STRETCH[slot.chance()] for slot in slots]
    total = sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 16
    p = clamp(SQUASH[max(-2815, min(2815, total)) + 2815])
    bit = coder.bit(p)
    for k, x in enumerate(inputs):
        weights[k] += x * ((bit * 65536 - p) * rate) + (1 << 19) >> 20
    for slot in slots:
        slot.learn(bit)
    return bit


class Walk:
    """A matrix by (i, j) of the walk, and its neighbours."""

    def __init__(self, rows: int, columns: int, transposed: bool, w: int, p: int) -> None:
        self.lines, self.length = (columns, rows) if transposed else (rows, columns)
        self.transposed, self.columns = transposed, columns
        self.strong = self.pairs([(0, 1), (0, w), (1, 0)])
        near = [(0, 1), (0, w), (1, 0), (0, p), (0, w - 1), (0, w + 1), (0, 2), (2, 0)]
        self.near = self.pairs(near)
        self.far = self.pairs([(0, 3), (3, 0), (0, 2 * w), (0, w - 2), (0, w + 2), (0, 2 * w - 1), (0, 2 * w + 1)])
        alike = [(0, 1), (0, w), (0, w - 1), (0, w + 1), (1, 0), (0, 2 * w), (0, 2)]
        weight = dict(zip(reversed(alike), reversed([2, 2, 1, 1, 1 if w else 2, 1, 1]), strict=True))
        self.alike = [(pair, weight[pair[::-1] if transposed else pair]) for pair in self.pairs(alike)]

    def pairs(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept = dict.fromkeys(pair for pair in pairs if min(pair) >= 0 and pair != (0, 0))
        return [pair[::-1] if self.transposed else pair for pair in kept]

    def at(self, i: int, j: int) -> int:
        return j * self.columns + i if self.transposed else i * self.columns + j

    def entries(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.lines) for j in range(self.length)]


def places(coder: Range, walk: Walk) -> set[tuple[int, int]]:
    """Section 6."""
    weights = [-19661, 22938, 22938, 13107, 16384]
    patterns, counts, across_kept, along_kept = Slots(), Slots(), [0] * walk.length, [0] * walk.lines
    kept: set[tuple[int, int]] = set()
    for seen, (i, j) in enumerate(walk.entries()):
        overall = clamp((len(kept) * 65536 + 26214) // (seen + 1))
        across = clamp((across_kept[j] * 65536 + 4 * overall) // (i + 4))
        along = clamp((along_kept[i] * 65536 + 4 * overall) // (j + 4))
        near = [(i - a, j - b) in kept for a, b in walk.near]
        strong = sum((i - a, j - b) in kept for a, b in walk.strong)
        far = sum((i - a, j - b) in kept for a, b in walk.far)
        level = max(0, min(15, STRETCH[across] + 1500 >> 7))
        pattern = patterns[sum(bit << n for n, bit in enumerate(near))]
        count = counts[strong * 1024 + min(sum(near) - strong, 7) * 128 + min(far, 7) * 16 + level]
        if not pattern.count:
            pattern.q = overall * 64
        if not count.count:
            count.q = across * 64
        fixed = [STRETCH[overall], STRETCH[across], STRETCH[along]]
        if mixed_bit(coder, weights, [pattern, count], fixed, 8 + 800 // (seen + 32)):
            kept.add((i, j))
            across_kept[j] += 1
            along_kept[i] += 1
    return kept


def levels(coder: Range, walk: Walk, kept: set[tuple[int, int]], k: int) -> dict[tuple[int, int], int]:
    """Section 7."""
    bits, weights, families, coded = (k - 1).bit_length(), [9830] * 7, [Slots() for _ in range(7)], 0
    across, along = [0] * walk.length, [0] * walk.lines
    for i, j in kept:
        across[j] += 1
        along[i] += 1
    found: dict[tuple[int, int], int] = {}
    for i, j in sorted(kept):
        around = [(i + s * a, j + s * b) in kept for a, b in walk.strong for s in (-1, 1)]
        alike = [(found[i - a, j - b], w) for (a, b), w in walk.alike if (i - a, j - b) in kept]
        place = [0, min(sum(around), 15), min(across[j].bit_length(), 15), min(along[i].bit_length(), 15), 0, 0, 0]
        if alike:
            total = sum(w * ((2 * level + 1 - k) * 8 // k) for level, w in alike)
            place[4] = 1 + alike[0][0] * 14 // k
            place[5] = 1 + max(0, min(14, total // sum(w for _, w in alike) + 7))
            place[6] = 1 + max(0, min(14, (total >> 2) + 7))
        node = 1
        for after in range(bits - 1, -1, -1):
            bit = 0
            if ((2 * node + 1) << after) - (1 << bits) < k:
                slots = [family[at, node] for family, at in zip(families, place, strict=True)]
                for slot in slots:
                    if not slot.count:
                        slot.q = slots[0].q
                bit = mixed_bit(coder, weights, slots, [], 14 + 800 // (coded + 32))
                coded += 1
            node = 2 * node + bit
        found[i, j] = node - (1 << bits)
    return found


def steps(coder: Range, count: int) -> list[int]:
    """Section 9."""
    slots, values, value = Slots(), [], 0
    for _ in range(count):
        length = tree(coder, slots, (), 7)
        step = 0
        if length > 32:
            step = (1 << length - 33 | coder.number(length - 33)) << 32 | coder.number(32)
        elif length:
            step = 1 << length - 1 | coder.number(length - 1)
        value = value + step & (1 << 64) - 1
        values.append(value)
    return values


def tree(coder: Range, slots: Slots, place: tuple[int, ...], bits: int) -> int:
    node = 1
    for _ in range(bits):
        slot = slots[place, node]
        bit = coder.bit(slot.chance())
        slot.learn(bit)
        node = 2 * node + bit
    return node - (1 << bits)


def mixing(data: bytes, rows: int, columns: int, width: int) -> list[int]:
    """Codec 5."""
    source = Bytes(data)
    head = source.take(1)[0]
    order, palette, sparse = head & 3, head >> 2 & 1, head >> 3 & 1
    w, p = (source.varint(), source.varint()) if head >> 5 else (0, 0)
    k = source.varint() if palette else source.take(1)[0] + 1
    lowest, modelled = (0, 0) if palette else source.take(2)
    walk, coder = Walk(rows, columns, bool(head >> 4 & 1), w, p), Range(source.data)
    kept = places(coder, walk) if sparse else set(walk.entries())
    values = [restored(value & (1 << 8 * width) - 1, order, width) for value in steps(coder, k)] if palette else []
    found = {walk.at(*where): level for where, level in levels(coder, walk, kept, k).items()}
    out, slots = [0] * (rows * columns), Slots()
    for at, level in sorted(found.items()):
        if palette:
            out[at] = values[level]
            continue
        value = above = (lowest + level) % 256
        for n in range(1, width):
            above = tree(coder, slots, (n, above), 8) if modelled >> n & 1 else coder.number(8)
            value = value << 8 | above
        out[at] = restored(value, order, width)
    return out
