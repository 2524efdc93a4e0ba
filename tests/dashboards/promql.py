"""Takes expressions apart: which series they select, which labels they need, what is done to them."""

from dataclasses import dataclass, field

import promql_parser

RATES = frozenset({"rate", "increase", "irate", "resets"})


@dataclass
class Selected:
    """A selector: its series, what it matches, and the functions around it, the innermost first."""

    name: str
    matchers: list
    around: tuple
    range: object = None


@dataclass
class Parts:
    """All that one expression is made of."""

    selected: list = field(default_factory=list)
    # Labels that a grouping names, with the names of the series below it.
    grouped: list = field(default_factory=list)
    functions: set = field(default_factory=set)


def parse(expression):
    """The parts of an expression. Raises ValueError with what is wrong."""
    parts = Parts()
    collect(promql_parser.parse(expression), parts, ())
    return parts


def collect(node, parts, around):
    """Adds what is below `node`; returns the names of the series there."""
    match node:
        case promql_parser.MatrixSelector():
            return collect_selector(node.vector_selector, parts, around, node.range)
        case promql_parser.VectorSelector():
            return collect_selector(node, parts, around, None)
        case promql_parser.Call():
            name = node.func.name
            parts.functions.add(name)
            return {found for child in node.args for found in collect(child, parts, (*around, name))}
        case promql_parser.AggregateExpr():
            by = node.modifier.labels if node.modifier else []
            inner = (*around, ("by", str(node.op), tuple(by)))
            names = collect(node.expr, parts, inner)
            if node.param is not None:
                collect(node.param, parts, inner)
            parts.grouped.append((tuple(by), names))
            return names
        case promql_parser.BinaryExpr():
            return collect(node.lhs, parts, around) | collect(node.rhs, parts, around)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return collect(node.expr, parts, around)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return set()
    raise ValueError(f"an expression of the kind {type(node).__name__} is not known here")


def collect_selector(selector, parts, around, range_):
    matchers = [(one.name, str(one.op), one.value) for one in selector.matchers.matchers]
    parts.selected.append(Selected(selector.name, matchers, tuple(reversed(around)), range_))
    return {selector.name}
