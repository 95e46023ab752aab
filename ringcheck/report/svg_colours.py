"""Colours of replicas in the SVG: by node, or by rack or datacenter if there are more nodes than colours."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ringcheck.core.words import counted
from ringcheck.report.svg_shapes import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.picture import Picture


class ColourKey:
    """The colour of each node's replicas, and the legend of the colours."""

    def __init__(self, picture: Picture) -> None:
        """Choose the finest grouping that has a colour for each group: nodes, racks, datacenters, or none."""
        self._picture = picture
        self._nodes = picture.verdict.snapshot.nodes
        self._down = dict(picture.not_live)
        ranges = range(len(picture.ring))
        self._replicas = sorted({node for index in ranges for node in picture.replicas(index)})
        self._groups = next((groups for groups in self._groupings() if len(groups) <= ENTRIES), {})
        self._colours = {node: f"c{at}" for at, group in enumerate(self._groups.values()) for node in group}

    @property
    def by_node(self) -> bool:
        """Whether each node has a colour of its own."""
        return bool(self._groups) and all(len(group) == 1 for group in self._groups.values())

    def _groupings(self) -> Iterator[dict[str, list[int]]]:
        yield {self._nodes[node].address: [node] for node in self._replicas}
        for fields in (("datacenter", "rack"), ("datacenter",)):
            groups: dict[str, list[int]] = defaultdict(list)
            for node in self._replicas:
                groups[" ".join(getattr(self._nodes[node], field) or "?" for field in fields)].append(node)
            yield dict(sorted(groups.items()))

    def style(self, node: int) -> str:
        """The class of a replica on this node."""
        if self._picture.down is None:
            return "k"  # in its own colour the replica would look live
        return "o" if node in self._picture.down else self._colours.get(node, f"c{ENTRIES}")

    def entries(self) -> Iterator[tuple[str, str]]:
        """The legend: class and words of each colour, and of replicas that are not live."""
        number = len(self._picture.ring)
        if self._picture.down is None:
            yield "k", "live or not: not known"
            return
        for at, (name, group) in enumerate(self._groups.items()):
            if self.by_node and group[0] in self._down:
                yield "o", f"{name}, not live: {self._down[group[0]]} of {number} ranges"
            else:
                yield f"c{at}", name if self.by_node else f"{name}: {counted(len(group), 'node')}"
        if not self._groups:
            yield f"c{ENTRIES}", "a live replica"
        if self._down and not self.by_node:
            yield "o", f"a replica that is not live: {self._picture.degraded} of {number} ranges"
