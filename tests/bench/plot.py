"""Pure: the plot. In: rows. Out: SVG: for each workload a bar for each proxy, how many times the reference it costs, on a logarithmic axis.

Colours follow the reader's light or dark scheme; ours stands out by colour and weight, and every bar has its number, so that no colour must
be told from another.
"""
import math
from xml.sax.saxutils import escape

import bars

WIDTH, LEFT, RIGHT, TOP = 920, 250, 70, 64
LINE, GROUP_GAP = 17, 30
# Light and dark, by the reader's scheme. What a colour means a number or a word says as well.
PALETTES = {
    "light": {"ink": "#1f2328", "soft": "#59636e", "grid": "#d1d9e0", "peer": "#818b98", "ours": "#0969da", "must": "#cf222e", "aim": "#1a7f37",
              "paper": "#ffffff"},
    "dark": {"ink": "#f0f6fc", "soft": "#9198a1", "grid": "#3d444d", "peer": "#7d8590", "ours": "#4493f8", "must": "#f85149", "aim": "#3fb950",
             "paper": "#0d1117"}}


def colours(palette):
    """Rules of CSS for one scheme."""
    fills = {"text": "ink", ".soft": "soft", ".ours": "ours", ".bar-peer": "peer", ".bar-ours": "ours", ".paper": "paper"}
    strokes = {".grid": "grid", ".one": "soft", ".must": "must", ".aim": "aim"}
    return " ".join([f"{name} {{ fill: {palette[colour]}; }}" for name, colour in fills.items()]
                    + [f"{name} {{ stroke: {palette[colour]}; }}" for name, colour in strokes.items()])


STYLE = f"""
  {colours(PALETTES["light"])}
  text {{ font: 12px system-ui, "DejaVu Sans", sans-serif; }} .title, .ours {{ font-weight: 600; }} .head {{ font-size: 15px; font-weight: 600; }}
  .grid {{ stroke-width: 1; }} .one {{ stroke-width: 1.5; }} .must {{ stroke-width: 2; }} .aim {{ stroke-width: 2; stroke-dasharray: 3 2; }}
  @media (prefers-color-scheme: dark) {{ {colours(PALETTES["dark"])} }}
"""


def groups(rows):
    """Rows with a ratio of CPU time, by title, in their order; each proxy once. Ratios of times would be another axis."""
    made = {}
    for row in rows:
        if row["ratio"] and row["ratio_of"] == "cpu_us":
            made.setdefault(row["title"], {}).setdefault(row["proxy"], row)
            if row["figure"] == "ratio":
                made[row["title"]][row["proxy"]] = row
    return {title: list(of_title.values()) for title, of_title in made.items()}


def edges(rows):
    """The powers of two that hold all ratios, and at least a half to two."""
    values = [row["ratio"] for of_title in groups(rows).values() for row in of_title] + [0.5, 2]
    return 2.0 ** math.floor(math.log2(min(values))), 2.0 ** math.ceil(math.log2(max(values)))


def scale(rows):
    """Where a ratio lies between the left and the right edge."""
    least, greatest = edges(rows)
    span = math.log2(greatest / least)
    return lambda ratio: LEFT + (WIDTH - LEFT - RIGHT) * math.log2(ratio / least) / span


def ticks(rows):
    least, greatest = edges(rows)
    return [2.0 ** power for power in range(round(math.log2(least)), round(math.log2(greatest)) + 1)]


def bar(row, y, place):
    """One proxy: its name, a bar from 1 to its ratio, the number."""
    is_ours = row["proxy"] == bars.OURS
    kind = "ours" if is_ours else "peer"
    at, one = place(row["ratio"]), place(1)
    left, width = min(at, one), max(abs(at - one), 2)
    number = f"{row['ratio']:.2f}"
    # The number stands behind the bar, and behind the marks of ours.
    marks = [place(row[figure]) for figure in ("must", "aim") if is_ours and row["figure"] == "ratio" and row[figure] is not None]
    edge = max(at, one, *marks, 0) + 6
    parts = [f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" class="{"ours" if is_ours else "soft"}">{escape(row["proxy"])}</text>',
             f'<rect x="{left:.1f}" y="{y - 5}" width="{width:.1f}" height="10" rx="2" class="bar-{kind}"/>',
             f'<text x="{edge:.1f}" y="{y + 4}" class="{"ours" if is_ours else "soft"}">{number}</text>']
    kinds = [figure for figure in ("must", "aim") if row[figure] is not None]
    parts += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{y + 8}" class="{kind}"/>' for kind, x in zip(kinds, marks)]
    return parts


def svg(rows):
    """The whole plot."""
    place, y, body = scale(rows), TOP, []
    for title, of_title in groups(rows).items():
        reference = next((row["reference"] for row in of_title if row["reference"]), "")
        body.append(f'<text x="16" y="{y}" class="title">{escape(title)} <tspan class="soft">÷ {escape(reference)}</tspan></text>')
        for row in of_title:
            y += LINE
            body += bar(row, y, place)
        y += GROUP_GAP
    height = y + 10
    axis = []
    for tick in ticks(rows):
        x = place(tick)
        axis.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 18}" y2="{height - 24}" class="{"one" if tick == 1 else "grid"}"/>')
        axis.append(f'<text x="{x:.1f}" y="{TOP - 24}" text-anchor="middle" class="soft">{tick:g} ×</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="Cost of each proxy as a ratio to a reference">
<style>{STYLE}</style>
<rect width="100%" height="100%" class="paper"/>
<text x="16" y="22" class="head">What a proxy costs, as a ratio to the reference of its workload (less is better)</text>
<text x="{WIDTH - RIGHT}" y="22" text-anchor="end" class="soft">red: must, green: aim</text>
{chr(10).join(axis)}
{chr(10).join(body)}
</svg>
"""
