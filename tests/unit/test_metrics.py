from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from dedupd.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """By name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        ",".join([sample.name, *map("=".join, sorted(sample.labels.items()))]): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_is_counted_can_be_read() -> None:
    metrics = Metrics()
    metrics.answers.labels("stored", "true").inc()
    metrics.refused.labels("503").inc(2)
    metrics.waiting.set(3)
    metrics.pending.labels("sending").set(4)
    metrics.duration.observe(0.2)
    found = samples(metrics)
    assert found["dedupd_answers_total,replayed=true,status=stored"] == 1
    assert found["dedupd_refused_total,code=503"] == 2
    assert found["dedupd_waiting_callers"] == 3
    assert found["dedupd_pending_requests,state=sending"] == 4
    assert found["dedupd_answer_duration_seconds_count"] == 1
    assert found["dedupd_answer_duration_seconds_bucket,le=0.1"] == 0
    assert found["dedupd_answer_duration_seconds_bucket,le=0.25"] == 1


def test_what_never_happened_is_zero_where_it_has_no_labels() -> None:
    found = samples(Metrics())
    for name in ("dedupd_compensations_total", "dedupd_surplus_effects_total"):
        assert found[name] == 0
    assert found["dedupd_sends_inprogress"] == 0
    assert found["dedupd_oldest_pending_seconds"] == 0


def test_two_processes_of_one_test_do_not_share_them() -> None:
    one, other = Metrics(), Metrics()
    one.compensated.inc()
    assert samples(other)["dedupd_compensations_total"] == 0


def test_every_metric_explains_itself() -> None:
    text = Metrics().render().decode()
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    described = [line for line in text.splitlines() if line.startswith("# HELP")]
    assert len(described) == len(families) > 10
    assert all(len(line.split(maxsplit=3)[3]) > 15 for line in described)
    assert all(name.startswith("dedupd_") for name in families)


def test_the_page_for_operators_names_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    families = text_string_to_metric_families(Metrics().render().decode())
    names = {family.name for family in families if not family.name.endswith("_created")}
    assert {name for name in names if name not in page} == set()
