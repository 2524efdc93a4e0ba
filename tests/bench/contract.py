"""Pure: the form of the JSON (design: rows of workload, proxy, cpu_us, reference, ratio, rounds, must, aim, met).

In: a result, and the workloads that were asked for. Out: what is wrong with it, in sentences. How fast anything is plays no part.
"""
import bars

TOP = {"machine": dict, "date": str, "commit": str, "versions": dict, "settings": dict, "rows": list, "missing": dict}
NUMBER = (int, float)
ROW = {"workload": str, "title": str, "proxy": str, "figure": str, "ratio_of": str, "rounds": int, "requests": int, "failed": int}
ROW_OR_NULL = {"cpu_us": NUMBER, "reference": str, "ratio": NUMBER, "must": NUMBER, "aim": NUMBER, "met": bool, "aim_met": bool, "why": str}
MACHINE = ("cpu", "cpus", "memory_gib", "kernel", "congestion_control", "descriptors_max")


def problems(result, workloads):
    found = wrong_types(result, TOP, "the result")
    if found:
        return found
    found += [f"machine.{key} is missing" for key in MACHINE if not result["machine"].get(key)]
    for row in result["rows"]:
        found += row_problems(row)
    found += [f"{what}: {why}" for what, why in result["missing"].items()]
    for workload in workloads:
        proxies = {row["proxy"] for row in result["rows"] if row["workload"] == workload}
        if bars.OURS not in proxies:
            found.append(f"{workload}: no row of {bars.OURS}")
        if len(proxies) < 2:
            found.append(f"{workload}: nothing to compare with")
    return found


def wrong_types(value, types, name):
    return [f"{name}: {key} is {value.get(key)!r}" for key, type in types.items() if not isinstance(value.get(key), type)]


def row_problems(row):
    name = f"{row.get('workload')} {row.get('proxy')}"
    found = wrong_types(row, ROW, name)
    found += [f"{name}: {key} is missing" for key in ROW_OR_NULL if key not in row]
    given = {key: type for key, type in ROW_OR_NULL.items() if row.get(key) is not None}
    found += wrong_types(row, given, name)
    if not found and row["requests"] < 1:
        found.append(f"{name}: no request was answered")
    if not found and row["failed"]:
        found.append(f"{name}: {row['failed']} requests failed")
    if not found and row["must"] is not None and row["met"] is None:
        found.append(f"{name}: {row['figure']} could not be judged: {row['why']}")
    if not found and row.get("cpu_us") is not None and row["cpu_us"] <= 0:
        found.append(f"{name}: the CPU time is {row['cpu_us']}")
    return found
