"""bench/chart.svg: CPU a request and an event, as bars on a logarithmic scale. Light and dark, as the reader has it."""

import math
from collections.abc import Sequence

from gates import least
from measurements import LOGGING, Figures
from peers import Peer

WIDTH = 760
_LEFT, _RIGHT = 190, 80  # for names, for values
_BAR, _STEP = 20, 30

Bar = tuple[str, str, float]  # class, label, µs


def drawn(figures: Figures, peers: Sequence[Peer]) -> str:
    """The picture of a run."""
    cpu, events = least(figures.cpu), least(figures.events)
    requests: list[Bar] = [
        ("nginx", "nginx", cpu["nginx", "plain", 64]),
        ("ours", "Fairlead", cpu[LOGGING, "plain", 64]),
    ]
    streamed: list[Bar] = [("nginx", "nginx", events["nginx"]), ("ours", "Fairlead", events["relayed"])]
    for peer in peers:
        label = f"{peer.title} {peer.version}"
        if (peer.name, "plain", 64) in cpu:
            requests.append(("peer", label, cpu[peer.name, "plain", 64]))
        if peer.name in events:
            streamed.append(("peer", label, events[peer.name]))
    return picture(
        [
            ("CPU µs a request, at 64 connections", requests),
            ("CPU µs a relayed event, at 100 streams", streamed),
        ]
    )


def picture(groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """An SVG of titled groups of bars on one scale."""
    values = [value for _, bars in groups for _, _, value in bars]
    low, high = math.floor(math.log10(min(values) / 2)), math.ceil(math.log10(max(values)))

    def place(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    shapes, top = [], 34
    for title, bars in groups:
        shapes.append(f'<text class="title" x="0" y="{top - 12}">{title}</text>')
        bottom = top + len(bars) * _STEP
        for power in range(low, high + 1):
            x = place(10.0**power)
            shapes.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom - 2}"/>')
            shapes.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 12}">{10**power:,}</text>')
        for kind, label, value in bars:
            end = place(value)
            shapes.append(f'<text class="name" x="{_LEFT - 10}" y="{top + 15}">{label}</text>')
            shapes.append(f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}" height="{_BAR}"/>')
            shapes.append(f'<text class="value" x="{end + 7:.1f}" y="{top + 15}">{_short(value)}</text>')
            top += _STEP
        top = bottom + 64
    shapes.append(f'<text class="note" x="0" y="{top - 32}">{_NOTE}</text>')
    height = top - 22
    told = "; ".join(f"{title}: " + ", ".join(f"{name} {_short(us)}" for _, name, us in bars) for title, bars in groups)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{told}">\n<title>{told}</title>\n<style>{_STYLE}</style>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


_NOTE = "Logarithmic. Fairlead with keys, ledger and access log on; the others log nothing. Best turns of one run."
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.name { text-anchor: end; }
.value { font-weight: 600; font-variant-numeric: tabular-nums; }
.tick, .note { font-size: 11px; fill: #59636e; }
.tick { text-anchor: middle; }
line { stroke: #d1d9e0; }
.nginx { fill: #8c959f; }
.ours { fill: #0969da; }
.peer { fill: #bf8700; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .tick, .note { fill: #9198a1; }
  line { stroke: #3d444d; }
  .nginx { fill: #7d8590; }
  .ours { fill: #4493f8; }
  .peer { fill: #d29922; }
}
"""
