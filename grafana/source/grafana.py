"""Panels and dashboards in Grafana's JSON model.

In: titles, descriptions, units and queries. Out: dictionaries, in the classic model that Grafana 10 and later import. Queries
themselves are written elsewhere. Only four kinds of panels are used, which every version draws alike.
"""

import string

TAG = "tiergate"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
# The version of the model; later ones of Grafana bring it up to theirs.
SCHEMA_VERSION = 39

GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


# --- queries ----------------------------------------------------------------------------------------------------------


def query(expression, legend="", instant=False):
    """One query of a panel; `legend` is what Grafana writes beside the line."""
    return {"expr": " ".join(expression.split()), "legendFormat": legend, "instant": instant}


def numbered(queries, is_table):
    targets = []
    for reference, one in zip(string.ascii_uppercase, queries, strict=False):
        is_instant = is_table or one["instant"]
        targets.append(
            {
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": one["expr"],
                "format": "table" if is_table else "time_series",
                "instant": is_instant,
                "legendFormat": one["legendFormat"],
                "range": not is_instant,
                "refId": reference,
            }
        )
    return targets


# --- panels -----------------------------------------------------------------------------------------------------------


def steps(*limits):
    """Thresholds: the colour below the first limit, then pairs of limit and colour."""
    first, *others = limits
    return {
        "mode": "absolute",
        "steps": [{"color": first, "value": None}, *({"color": color, "value": value} for value, color in others)],
    }


def panel(kind, title, description, unit, queries, *, width, height, thresholds=None, **defaults):
    return {
        "type": kind,
        "title": title,
        "description": " ".join(description.split()),
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": numbered(queries, kind == "table"),
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": thresholds or steps(GREEN), **defaults},
            "overrides": [],
        },
    }


def stat(title, description, unit, queries, *, width=4, height=5, thresholds=None, nothing="none", decimals=None):
    """One number for each series; `nothing` stands where there is none."""
    more = {} if decimals is None else {"decimals": decimals}
    made = panel(
        "stat",
        title,
        description,
        unit,
        queries,
        width=width,
        height=height,
        thresholds=thresholds,
        noValue=nothing,
        color={"mode": "thresholds"},
        **more,
    )
    made["options"] = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "vertical",
        "textMode": "value_and_name",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return made


def timeseries(title, description, unit, queries, *, width=8, height=8, is_stacked=False, maximum=None):
    """Lines over time; stacked when the series add up to something."""
    more = {} if maximum is None else {"max": maximum}
    made = panel(
        "timeseries",
        title,
        description,
        unit,
        queries,
        width=width,
        height=height,
        min=0,
        color={"mode": "palette-classic"},
        custom={
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if is_stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "normal" if is_stacked else "none"},
        },
        **more,
    )
    made["options"] = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def bargauge(title, description, unit, queries, *, width=8, height=8, thresholds=None, nothing="none"):
    """A bar for each series, of its last value."""
    made = panel(
        "bargauge",
        title,
        description,
        unit,
        queries,
        width=width,
        height=height,
        thresholds=thresholds,
        min=0,
        noValue=nothing,
        color={"mode": "thresholds"},
    )
    made["options"] = {
        "displayMode": "basic",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    return made


def table(title, description, columns, *, keys, width=WIDTH, height=8, links=None, sort=None):
    """A row for each set of `keys`, which are labels; `columns` are pairs of a query and (name, unit, thresholds)."""
    made = panel(
        "table",
        title,
        description,
        "short",
        [one for one, _ in columns],
        width=width,
        height=height,
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False},
    )
    names = {}
    overrides = []
    for target, (_, (name, unit, thresholds)) in zip(made["targets"], columns, strict=True):
        # With a single query the column has no letter.
        value = "Value" if len(columns) == 1 else f"Value #{target['refId']}"
        names[value] = name
        properties = [{"id": "unit", "value": unit}]
        if thresholds:
            properties += [
                {"id": "thresholds", "value": thresholds},
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
            ]
        overrides.append({"matcher": {"id": "byName", "options": name}, "properties": properties})
    for field, link in (links or {}).items():
        overrides.append(
            {"matcher": {"id": "byName", "options": field}, "properties": [{"id": "links", "value": [link]}]}
        )
    made["fieldConfig"]["overrides"] = overrides
    order = {name: position for position, name in enumerate([*keys, *names])}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names},
        },
    ]
    made["options"] = {
        "cellHeight": "sm",
        "footer": {"countRows": False, "fields": "", "reducer": ["sum"], "show": False},
        "showHeader": True,
        "sortBy": [{"desc": True, "displayName": sort}] if sort else [],
    }
    return made


# --- dashboards -------------------------------------------------------------------------------------------------------


def row(title, *panels):
    """A row that is open, with its panels from left to right."""
    return [{"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}, *panels]


def placed(rows):
    """Gives each panel its number and its place: from left to right, and a new line when the next does not fit."""
    panels = []
    x = y = line_height = 0
    for one in (one for row_panels in rows for one in row_panels):
        width, height = one["gridPos"]["w"], one["gridPos"]["h"]
        if one["type"] == "row" or x + width > WIDTH:
            x, y, line_height = 0, y + line_height, 0
        one["id"] = len(panels) + 1
        one["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
        panels.append(one)
        x, line_height = x + width, max(line_height, height)
        if one["type"] == "row":
            x, y, line_height = 0, y + height, 0
    return panels


def datasource_variable():
    return {
        "name": "datasource",
        "label": "Data source",
        "description": "The Prometheus that scrapes the tiers.",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "skipUrlSync": False,
    }


def variable(name, label, description, values_query, *, has_all=True, regex=""):
    """Values of a label, read anew when the time range changes. All of them together match everything."""
    made = {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": values_query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": regex,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if has_all else {},
        "hide": 0,
        "includeAll": has_all,
        "multi": has_all,
        "options": [],
        "refresh": 2,
        "skipUrlSync": False,
        "sort": 1,
    }
    if has_all:
        made["allValue"] = ".*"
    return made


def annotation(name, expression, title, color):
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": expression,
        "hide": False,
        "iconColor": color,
        "name": name,
        "step": "60s",
        "titleFormat": title,
    }


def dashboard(uid, title, description, variables, annotations, rows):
    return {
        "uid": uid,
        "title": title,
        "description": " ".join(description.split()),
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "refresh": "30s",
        "fiscalYearStartMonth": 0,
        "links": [
            {
                "title": "Tiergate",
                "type": "dashboards",
                "tags": [TAG],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "The other dashboards, with the same time and the same choice",
                "url": "",
            }
        ],
        "annotations": {"list": annotations},
        "templating": {"list": [datasource_variable(), *variables]},
        "panels": placed(rows),
    }
