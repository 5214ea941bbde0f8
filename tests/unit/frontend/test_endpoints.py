"""Which pods there are: those that run, and one template for every workload that none of them shows."""

from __future__ import annotations

import pytest

from tests.unit.frontend.reading import cluster


def document(version: str, kind: str, name: str, *, owner: str = "", spec: str = "{}", more: str = "") -> str:
    """An object in namespace n; `owner` is `Kind/name`."""
    above, _, above_name = owner.partition("/")
    owners = f", ownerReferences: [{{kind: {above}, name: {above_name}, controller: true}}]" if owner else ""
    metadata = f"{{name: {name}, namespace: n{owners}{more}}}"
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"


def pod(name: str, *, owner: str = "", phase: str = "Running", labels: str = "{}") -> str:
    """A pod."""
    return document("v1", "Pod", name, owner=owner, more=f", labels: {labels}") + f"status: {{phase: {phase}}}\n"


def deployment(name: str, *, kind: str = "Deployment", owner: str = "", replicas: int = 1) -> str:
    """A workload of apps/v1 with a template labelled app=NAME."""
    template = f"{{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{ports: [{{containerPort: 80}}]}}]}}}}"
    spec = f"{{replicas: {replicas}, selector: {{matchLabels: {{app: {name}}}}}, template: {template}}}"
    return document("apps/v1", kind, name, owner=owner, spec=spec)


def job(name: str, *, owner: str = "") -> str:
    """A Job."""
    return document("batch/v1", "Job", name, owner=owner, spec="{template: {metadata: {labels: {job: x}}}}")


def cron_job(name: str) -> str:
    """A CronJob."""
    spec = "{jobTemplate: {spec: {template: {metadata: {labels: {cron: x}}}}}}"
    return document("batch/v1", "CronJob", name, spec=spec)


def found(*texts: str) -> list[str]:
    """Every endpoint as `name <- owner`, templates with a star."""
    return [
        f"{pod.name}{'*' if pod.template else ''}"
        + (f" <- {pod.workload.kind}/{pod.workload.name}" if pod.workload else "")
        for pod in cluster("".join(texts)).pods
    ]


def test_a_workload_alone_stands_for_its_pods() -> None:
    (only,) = cluster(deployment("web")).pods
    assert (str(only), only.labels, only.template, len(only.ports)) == ("n/web", {"app": "web"}, True, 1)
    assert found(cron_job("c")) == ["c* <- CronJob/c"]


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"])
def test_pods_show_their_workload(kind: str) -> None:
    assert found(deployment("web", kind=kind), pod("web-1", owner=f"{kind}/web")) == [f"web-1 <- {kind}/web"]


def test_the_outermost_owner_counts() -> None:
    middle = deployment("web-5d", kind="ReplicaSet", owner="Deployment/web")
    assert found(deployment("web"), middle, pod("web-5d-a", owner="ReplicaSet/web-5d")) == [
        "web-5d-a <- Deployment/web"
    ]
    assert found(deployment("web"), middle) == ["web* <- Deployment/web"]
    assert found(middle) == ["web-5d* <- ReplicaSet/web-5d"]


def test_a_replica_set_that_is_not_there_still_tells_its_deployment() -> None:
    assert found(deployment("web"), pod("web-5d-a", owner="ReplicaSet/web-5d")) == ["web-5d-a <- Deployment/web"]
    assert found(pod("web-5d-a", owner="ReplicaSet/web-5d")) == ["web-5d-a <- ReplicaSet/web-5d"]


def test_earlier_revisions_make_no_pods() -> None:
    assert found(deployment("web-4c", kind="ReplicaSet", owner="Deployment/web", replicas=0)) == []
    assert found(deployment("web", replicas=0)) == ["web* <- Deployment/web"]


def test_pods_without_an_owner_are_a_workloads_by_its_selector() -> None:
    assert found(deployment("web"), pod("x", labels="{app: web, v: '1'}")) == ["x"]
    assert found(deployment("web"), pod("x", labels="{app: api}")) == ["web* <- Deployment/web", "x"]


def test_owners_in_a_circle() -> None:
    circle = deployment("a", owner="Deployment/b") + deployment("b", owner="Deployment/a")
    assert found(circle, pod("p", owner="Deployment/a")) == ["p <- Deployment/b"]


def test_a_static_pod_has_no_workload() -> None:
    assert found(pod("etcd-n1", owner="Node/n1")) == ["etcd-n1"]


def test_finished_jobs() -> None:
    over = pod("j-1", owner="Job/j", phase="Succeeded")
    assert found(job("j"), over) == []
    assert found(job("j"), over, pod("j-2", owner="Job/j")) == ["j-2 <- Job/j"]
    assert found(cron_job("c"), job("j", owner="CronJob/c"), over) == ["c* <- CronJob/c"]
    assert found(cron_job("c"), job("j", owner="CronJob/c"), pod("j-2", owner="Job/j")) == ["j-2 <- CronJob/c"]


def test_a_deployment_whose_pods_failed_will_make_others() -> None:
    assert found(deployment("web"), pod("web-1", owner="Deployment/web", phase="Failed")) == ["web* <- Deployment/web"]


def test_names_stay_apart() -> None:
    assert found(deployment("web"), cron_job("web")) == [
        "web.cronjob* <- CronJob/web",
        "web.deployment* <- Deployment/web",
    ]
    assert found(deployment("web"), pod("web")) == ["web", "web.deployment* <- Deployment/web"]


def test_names_that_are_to_be_made() -> None:
    generated = job("x").replace("name: x,", "generateName: x-,")
    assert found(generated, generated.replace("job: x", "job: y")) == ["x-** <- Job/x-*", "x-*2* <- Job/x-*2"]
