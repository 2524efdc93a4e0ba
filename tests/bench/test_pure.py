"""Tests of what is pure: parsers, medians, ratios, verdicts, tables, plot, contract. Cases are data.

    python3 -m unittest discover --start-directory tests/bench
"""
import json, unittest, unittest.mock, xml.dom.minidom

import bars, contract, controller, figures, generators, message, objects, plot, probe, record, report, stolen, throughput, workloads
from peers import haproxy
from processes import Failure

WRK = """Running 1s test @ http://127.0.0.1:27100/
  1 threads and 64 connections
JSON {"requests": 1000, "duration_us": 2000000, "bytes": 4194304, "broken": 2, "refused": 3, "p50_us": 10, "p99_us": 20, "p999_us": 30}
"""
H2LOAD = """Application protocol: h2
finished in 1.00s, 5000.00 req/s, 1.00MB/s
requests: 5128 total, 5128 started, 5000 done, 5000 succeeded, 4 failed, 0 errored, 0 timeout
status codes: 4990 2xx, 0 3xx, 10 4xx, 0 5xx
"""


def samples(*costs, failed=0):
    return [{"cpu_us": cost, "requests": 100, "failed": failed, "requests_s": 50.0, "p99_us": 7} for cost in costs]


class Parsers(unittest.TestCase):
    def test_wrk_says_its_figures_in_one_line(self):
        said = generators.parse_wrk(WRK)
        self.assertEqual((said["requests"], said["failed"], said["seconds"], said["bytes"]), (1000, 5, 2.0, 4194304))

    def test_answers_that_are_no_2xx_count_as_failed_with_h2load(self):
        self.assertEqual(generators.parse_h2load(H2LOAD, 1), {"requests": 5000, "failed": 14, "seconds": 1})

    def test_output_without_figures_is_a_failure_and_not_a_zero(self):
        for parse in (generators.parse_wrk, lambda text: generators.parse_h2load(text, 1)):
            with self.assertRaises(Failure):
                parse("unable to connect")
        with self.assertRaises(Failure):
            generators.parse_h2load(H2LOAD.replace("protocol: h2", "protocol: http/1.1"), 1)

    def test_an_answer_is_whole_when_its_length_is_there(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"
        for answer, wanted in ((b"", False), (head[:-2], False), (head + b"ab", False), (head + b"abc", True), (head.lower() + b"abc", True),
                               (b"HTTP/1.1 200 OK\r\nX-Content-Length: 0\r\n\r\n", False)):
            self.assertEqual(message.is_whole_http(answer), wanted, answer)

    def test_chunks_are_put_together(self):
        for chunked, whole in ((b"3\r\nabc\r\n0\r\n\r\n", b"abc"), (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"), (b"0\r\n\r\n", b"")):
            self.assertEqual(probe.dechunk(chunked), whole)


class Quiet:
    is_sanity = False

    def __init__(self, again=9):
        self.again = again

    def say(self, text):
        pass


class Stolen(unittest.TestCase):
    def test_stolen_time_is_a_part_of_what_wanted_to_run(self):
        before, after = (stolen.ticks(f"cpu  {numbers}\ncpu0 1 2 3\n") for numbers in ("10 0 10 900 5 0 0 1 0 0", "70 0 20 990 9 10 0 21 0 0"))
        self.assertEqual((before, after), ((20, 1), (100, 21)))
        self.assertEqual(stolen.percent(before, after), 20.0)
        self.assertEqual(stolen.percent(before, before), 0.0)

    def test_a_disturbed_round_is_measured_again_and_the_least_disturbed_one_counts(self):
        cases = (([0], 9, 0, 1), ([50, 1], 9, 1, 2), ([50, 10, 30], 9, 1, 3), ([1, 0], 9, 0, 1), ([50, 10, 0], 1, 1, 2), ([50, 0], 0, 0, 1))
        for losses, again, counted, measured in cases:
            ran, lost, made = 0, 0, []

            def ticks():
                return ran, lost

            def measure():
                nonlocal ran, lost
                loss = losses[len(made)]
                ran, lost = ran + 100 - loss, lost + loss
                made.append(loss)
                return {"number": len(made) - 1}

            with unittest.mock.patch.object(stolen, "ticks", ticks):
                sample = stolen.least(Quiet(again), "a round", measure)
            self.assertEqual((sample["number"], len(made)), (counted, measured), losses)
            self.assertEqual(sample["stolen_percent"], losses[counted])


class Figures(unittest.TestCase):
    def test_the_median_leaves_out_rounds_without_the_figure(self):
        cases = (([1, 2, 9], 2), ([1, 3], 2.0), ([None, 4], 4), ([None], None), ([], None))
        for values, expected in cases:
            self.assertEqual(figures.median([{"cpu_us": value} for value in values], "cpu_us"), expected, values)

    def test_a_ratio_is_of_medians_and_its_spread_of_single_rounds(self):
        self.assertEqual(figures.divided(samples(10, 20, 60), samples(10, 10, 40), "cpu_us"), (2.0, 1.0, 2.0))
        self.assertEqual(figures.divided(samples(10), [], "cpu_us"), (None, None, None))

    def test_the_best_peer_of_the_run_is_the_reference_of_handshakes(self):
        run = {"nginx": samples(300), "envoy": samples(200), "haproxy": [], "tiergate": samples(100)}
        self.assertEqual(figures.chosen_reference("tls-handshake", run, "cpu_us"), "envoy")

    def test_verdicts(self):
        # workload, ours, reference's, failed requests: met, aim met
        cases = (
            ("h1", 110, 100, 0, True, False), ("h1", 111, 100, 0, False, False), ("h1", 100, 100, 0, True, True),
            ("h1", 90, 100, 1, False, False), ("h1", 90, None, 0, None, None),
            ("h2", 100, 100, 0, True, False), ("h2", 99, 100, 0, True, True))
        for workload, ours, other, failed, met, aim_met in cases:
            name = bars.reference(workload)[0]
            run = {name: samples(other) if other else [], "tiergate": samples(ours, failed=failed)}
            row = [row for row in figures.rows(workload, workload, run) if row["proxy"] == "tiergate"][0]
            self.assertEqual((row["met"], row["aim_met"]), (met, aim_met), (workload, ours, other, failed))
            self.assertEqual(row["why"] is None, other is not None and not failed)

    def test_a_workload_with_three_bars_has_three_rows_of_ours(self):
        ours = [{**sample, "ready_s": 0.2, "pss_mib": 70} for sample in samples(10)]
        rows = figures.rows("hosts", "hosts", {"tiergate-one-route": samples(10), "tiergate": ours})
        judged = {row["figure"]: (row["met"], row["aim_met"]) for row in rows if row["proxy"] == "tiergate"}
        self.assertEqual(judged, {"ratio": (True, None), "ready_s": (True, False), "pss_mib": (False, False)})

    def test_exit_codes(self):
        def row(must, met):
            return {"workload": "h1", "proxy": "tiergate", "must": must, "met": met}
        cases = (([row(1, True)], 0), ([row(None, None)], 0), ([row(1, True), row(1, False)], 1), ([row(1, None)], 4),
                 ([row(1, None), row(1, False)], 1), ([], 4))
        for rows, code in cases:
            self.assertEqual(figures.outcome(rows, ["h1"]), code, rows)
        self.assertEqual(figures.outcome([row(1, True)], ["h1", "tls"]), 4)


def result():
    """As a run writes it."""
    run = {"nginx": samples(10, 12, 11), "envoy": samples(40, 41, 39), "tiergate": samples(9, 10, 12)}
    return {"machine": {"cpu": "a CPU", "cpus": 2, "memory_gib": 4, "kernel": "6.1", "congestion_control": "cubic", "descriptors_max": 1024},
            "date": "2026-01-01 00:00 UTC", "commit": "abc", "versions": {"nginx": "1.22.1"}, "missing": {},
            "settings": {"form": "full", "rounds": 3, "seconds": 2}, "rows": figures.rows("h1", "small requests", run)}


class Reports(unittest.TestCase):
    def test_every_bar_is_of_a_workload_that_runs_it_and_its_reference(self):
        for bar in bars.BARS:
            proxies = workloads.ALL[bar.workload].proxies
            self.assertIn(bars.OURS, proxies)
            self.assertLessEqual(set(bar.best_of) or ({bar.reference} if bar.reference else set()), set(proxies), bar)

    def test_the_report_judges_ours_and_shows_all(self):
        text = report.markdown(result())
        for line in ("| small requests | 0.91 × (0.83–1.09) | nginx | ≤ 1.10 | ≤ 1.00 | met, aim met |",
                     "| envoy | 40 (39–41) | 3.64 | 50.0 | 7 | 0 of 300 | 3 |"):
            self.assertIn(line, text)

    def test_a_missed_must_and_an_unknown_one_are_told(self):
        judged = {"must": 1.1, "aim": 1.0, "why": None}
        cases = (({"met": False, "aim_met": False}, "**missed**, aim missed"), ({"met": True, "aim_met": True}, "met, aim met"),
                 ({"met": None, "aim_met": None, "why": "nginx did not run"}, "unknown: nginx did not run"))
        for row, words in cases:
            self.assertEqual(report.verdict({**judged, **row}), words)

    def test_numbers_have_three_digits_that_count(self):
        for value, text in ((0.0312, "0.031"), (0.5, "0.50"), (1.234, "1.23"), (16.34, "16.3"), (323.4, "323"), (53174.2, "53,174"), (7, "7"), (None, "–")):
            self.assertEqual(report.number(value), text)

    def test_the_plot_is_well_formed_and_names_every_proxy(self):
        drawn = plot.svg(result()["rows"])
        texts = [node.firstChild.data for node in xml.dom.minidom.parseString(drawn).getElementsByTagName("text") if node.firstChild]
        self.assertLessEqual({"nginx", "envoy", "tiergate", "3.64", "0.91"}, set(texts))

    def test_a_record_replaces_what_is_between_the_marks_alone(self):
        page = f"before\n{record.BEGIN}\nold\n{record.END}\nafter\n"
        self.assertEqual(record.between(page, "new"), f"before\n{record.BEGIN}\n\nnew\n{record.END}\nafter\n")
        with self.assertRaises(ValueError):
            record.between("no marks", "new")


class Throughput(unittest.TestCase):
    def test_a_round_without_an_answer_is_measured_again_twice_as_long(self):
        # from which length on something is answered, what failed before: the lengths that were measured
        cases = ((1, 0, [1]), (2, 0, [1, 2]), (16, 0, [1, 2, 4, 8, 16]), (99, 0, [1, 2, 4, 8, 16]), (99, 3, [1]))
        for enough, failed, lengths in cases:
            asked = []
            said, _ = throughput.answered(1, lambda seconds: (asked.append(seconds) or {"requests": 7 * (seconds >= enough), "failed": failed}, 1))
            self.assertEqual((asked, said["requests"] > 0), (lengths, enough <= lengths[-1]), enough)


class Contract(unittest.TestCase):
    def test_what_a_run_writes_keeps_the_contract(self):
        self.assertEqual(contract.problems(json.loads(json.dumps(result())), ["h1"]), [])

    def test_what_breaks_the_contract_is_named(self):
        def changed(**change):
            broken = result()
            broken["rows"][-1] |= change
            return broken
        cases = ((changed(failed=3), "3 requests failed"), (changed(requests=0), "no request was answered"), (changed(ratio="1"), "ratio is '1'"),
                 (changed(met=None, why="x"), "could not be judged"), (changed(cpu_us=0), "the CPU time is 0"),
                 ({**result(), "rows": None}, "rows is None"), ({**result(), "missing": {"h1 envoy": "gone"}}, "h1 envoy: gone"))
        for broken, words in cases:
            self.assertIn(words, " ".join(contract.problems(broken, ["h1"])))
        self.assertIn("tls: no row of tiergate", contract.problems(result(), ["h1", "tls"]))


class Objects(unittest.TestCase):
    def test_the_controller_tells_what_the_slice_says(self):
        one = objects.endpoint_slice("s7", "tenant", "127.0.0.9", 8081)
        number = controller.name_of(one).removeprefix("s")
        self.assertEqual(haproxy.command([number], *controller.endpoint(one)), b"set server s7/s1 addr 127.0.0.9 port 8081\n")

    def test_the_link_says_its_protocol_on_the_service_and_on_its_endpoints(self):
        for protocol in (None, objects.LINK_PROTOCOL):
            service = objects.service("tier", "tenant", protocol)
            endpoints = objects.endpoint_slice("tier", "tenant", "127.0.0.1", 80, protocol)
            said = [service["spec"]["ports"][0].get("appProtocol"), endpoints["ports"][0].get("appProtocol")]
            self.assertEqual(said, [protocol, protocol])


if __name__ == "__main__":
    unittest.main()
