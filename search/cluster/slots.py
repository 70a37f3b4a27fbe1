"""Which trials fit beside which on a cluster's nodes: plain arithmetic, no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from search.cluster.placement import Bundle, Node

_SLACK = 1e-6  # shares such as 1/3 do not sum to a whole in floats


class Slots:
    """The trials that run, each on a node.

    Ray places a trial itself and does not say where until it runs; here each is put on the first
    node that has room, in the order of proposal. Where Ray does otherwise a trial waits a little,
    or is proposed a little late: while one waits, there is room for none.
    """

    def __init__(self) -> None:
        self._nodes: tuple[Node, ...] | None = None
        self._places: list[_Place] = []
        self._bundles: dict[str, Bundle] = {}
        self._where: dict[str, tuple[_Place, list[int]]] = {}

    def __len__(self) -> int:
        """Return the number of trials, those that wait for room included."""
        return len(self._bundles)

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Note the cluster's nodes; where they have changed, every trial is placed again."""
        nodes = tuple(nodes)
        if nodes != self._nodes:
            self._nodes = nodes
            self._places = [_Place(node) for node in nodes]
            self._where = {}
            self._put_waiting()

    def take(self, name: str, bundle: Bundle) -> None:
        """Put a trial on a node, or let it wait for room."""
        self._bundles[name] = bundle
        self._put_waiting()

    def free(self, name: str) -> None:
        """Give a trial's place back, to those that wait first; an unknown name is ignored."""
        bundle = self._bundles.pop(name, None)
        held = self._where.pop(name, None)
        if bundle is not None and held is not None:
            place, cards = held
            place.give_back(bundle, cards)
            self._put_waiting()

    def room(self, bundle: Mapping[str, float]) -> bool:
        """Tell whether one more trial of this size could start now."""
        waiting = len(self._bundles) > len(self._where)
        return not waiting and any(place.cards_for(bundle) is not None for place in self._places)

    def _put_waiting(self) -> None:
        if len(self._bundles) == len(self._where):
            return
        for name, bundle in self._bundles.items():
            if name not in self._where:
                self._put(name, bundle)

    def _put(self, name: str, bundle: Bundle) -> None:
        for place in self._places:
            cards = place.cards_for(bundle)
            if cards is not None:
                place.take(bundle, cards)
                self._where[name] = place, cards
                return


def slots_on(node: Node, bundle: Mapping[str, float]) -> int:
    """Return how many trials of one size a node has room for."""
    place, count = _Place(node), 0
    while (cards := place.cards_for(bundle)) is not None:
        place.take(dict(bundle), cards)
        count += 1
    return count


class _Place:
    """What is left of a node; each GPU by itself, since a share of one lies on one card."""

    def __init__(self, node: Node) -> None:
        self.free = {name: amount for name, amount in node.resources.items() if name != "GPU"}
        self.cards = [1.0] * int(node.resources.get("GPU", 0))

    def cards_for(self, bundle: Mapping[str, float]) -> list[int] | None:
        """Return the cards that a bundle would get (none without GPU); None: it does not fit."""
        for name, amount in bundle.items():
            if name != "GPU" and self.free.get(name, 0) < amount - _SLACK:
                return None
        gpus = bundle.get("GPU", 0)
        if not gpus:
            return []
        share, count = min(1.0, gpus), max(1, math.ceil(gpus - _SLACK))
        there = [card for card, free in enumerate(self.cards) if free >= share - _SLACK]
        # The fullest first, so that whole cards stay whole.
        there.sort(key=self.cards.__getitem__)
        return there[:count] if len(there) >= count else None

    def take(self, bundle: Mapping[str, float], cards: list[int]) -> None:
        self._change(bundle, cards, -1)

    def give_back(self, bundle: Mapping[str, float], cards: list[int]) -> None:
        self._change(bundle, cards, 1)

    def _change(self, bundle: Mapping[str, float], cards: list[int], sign: int) -> None:
        for name, amount in bundle.items():
            if name != "GPU":
                self.free[name] += sign * amount
        for card in cards:
            self.cards[card] += sign * min(1.0, bundle["GPU"])
