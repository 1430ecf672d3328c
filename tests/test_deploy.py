"""What deploy/ holds is valid, fits together, and trains on the nodes that it describes."""

import hashlib
import itertools
import json
import math
import re
import shlex
import time
import urllib.request
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.cluster_utils import Cluster

from rllib_vlm_reward import Experiment, ServingConfig
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.serving import deployment
from rllib_vlm_reward.serving.deployment import Demand
from rllib_vlm_reward.serving.router import present

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERAY = ROOT / "tests" / "kuberay"
GUIDE = (ROOT / "docs" / "cluster.md").read_text()


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def closed(schema):
    """Forbid unknown fields, as the API server does with ``kubectl apply --validate=strict``."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    # "properties" may also be the name of a field; then its value is a schema.
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type") == "object"
        and not is_open
    ):
        schema.setdefault("additionalProperties", False)
    return schema


def kuberay(kind):
    path = KUBERAY / f"{kind.lower()}s-v1.schema.json"
    return jsonschema.Draft202012Validator(closed(json.loads(path.read_text())))


MANIFESTS = {"RayCluster": "ray-cluster.yaml", "RayJob": "ray-job.yaml"}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_is_what_kuberay_takes(kind):
    manifest = read(MANIFESTS[kind])
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    assert [error.message for error in kuberay(kind).iter_errors(manifest)] == []


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_field_that_kuberay_does_not_know_is_refused_at_any_depth(kind):
    manifest = read(MANIFESTS[kind])
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    group = spec["workerGroupSpecs"][0]
    for place in (manifest, spec, group, group["template"]["spec"]["containers"][0]):
        place["minReplica"] = 1
        (error,) = kuberay(kind).iter_errors(manifest)
        assert "minReplica" in error.message
        del place["minReplica"]
    group["minReplicas"] = "2"
    assert len(list(kuberay(kind).iter_errors(manifest))) == 1


def test_kuberays_schemas_are_unchanged_copies_with_their_licence_beside_them():
    readme = (KUBERAY / "README.md").read_text()
    sums = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", readme, re.MULTILINE))
    files = {path.name: path for path in KUBERAY.glob("*.json")}
    assert len(files) == 2
    assert sums == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    assert "github.com/ray-project/kuberay" in readme
    assert "[LICENSE](LICENSE" in readme
    licence = (KUBERAY / "LICENSE").read_text()
    assert re.match(r"\s+Apache License\s+Version 2\.0, January 2004\s", licence)
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_job_makes_the_cluster_of_the_other_manifest():
    assert read("ray-job.yaml")["spec"]["rayClusterSpec"] == read("ray-cluster.yaml")["spec"]


def test_the_yaml_of_ray_up_is_what_ray_takes():
    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    schema = jsonschema.Draft7Validator(json.loads(path.read_text()))
    given = read("ray-up.yaml")
    assert [error.message for error in schema.iter_errors(given)] == []
    assert list(schema.iter_errors({**given, "min_worker": 1}))


def nodes_of_kuberay():
    """Each group's resources, and how many nodes it has at least and at most."""
    spec = read("ray-cluster.yaml")["spec"]

    def resources(group):
        params = group["rayStartParams"]
        return int(params["num-cpus"]), int(params.get("num-gpus", 0))

    groups = {
        group["groupName"]: (resources(group), group["minReplicas"], group["maxReplicas"])
        for group in spec["workerGroupSpecs"]
    }
    return {"head": (resources(spec["headGroupSpec"]), 1, 1), **groups}


def test_ray_up_makes_the_nodes_of_kuberay():
    given = read("ray-up.yaml")
    found = {}
    for name, kind in given["available_node_types"].items():
        resources = kind["resources"]["CPU"], kind["resources"].get("GPU", 0)
        found[name] = resources, kind.get("min_workers", 1), kind.get("max_workers", 1)
    assert found == nodes_of_kuberay()
    assert given["max_workers"] == sum(most for _, _, most in found.values()) - 1


def assignments():
    """What the job sets in the quick start."""
    words = shlex.split(read("ray-job.yaml")["spec"]["entrypoint"])
    assert words[:3] == ["rllib-vlm-reward", "train", "quickstart"]
    return [after for word, after in itertools.pairwise(words) if word == "--set"]


def test_the_run_fits_the_nodes_that_are_there_from_the_start():
    groups = nodes_of_kuberay()
    nodes = [
        {"CPU": float(cpus), "GPU": float(gpus)}
        for (cpus, gpus), least, _ in groups.values()
        for _ in range(least)
    ]
    experiment = Experiment.from_file(ROOT / "configs" / "quickstart.yaml", assignments())
    serving = experiment.vlm_reward.serving
    Demand.of(experiment.vlm_reward, nodes).check(nodes)
    assert serving.max_actors == groups["gpu"][2]
    assert experiment.env_runners["num_env_runners"] == sum(node["CPU"] for node in nodes)


def test_the_guide_submits_what_the_job_runs():
    (command,) = re.findall(r"ray job submit (?:.*\\\n)*.*", GUIDE)
    words = shlex.split(command.replace("\\\n", " "))
    sets = [after for word, after in itertools.pairwise(words) if word == "--set"]
    assert sets == assignments()


# What the sections say to which docs/faults.md sends its readers.
SECTIONS = {
    "From one machine to a cluster": ["`rllib-vlm-reward bench CONFIG.yaml`", "`n × e ÷ a ÷ 0.7`"],
    "Weights without internet": ["need no download", "`HF_HUB_OFFLINE=1`", "on the shared disk"],
    "Autoscaling": ["`max_actors` lets the pool grow", "`minReplicas`", "`idleTimeoutSeconds`"],
    "Spot nodes": ["| an env runner, or its", "| a reward actor, or its", "| the head node |"],
    "Security": [
        "| port | opened by |",
        "RLlib checkpoints",
        "recorded episodes",
        "a run's YAML",
        "opens no port",
    ],
}


def section_of_the_guide(title):
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", SECTIONS)
def test_the_guide_has_the_section_that_the_table_of_faults_names(title):
    section = section_of_the_guide(title)
    for words in SECTIONS[title]:
        assert words in section
    anchor = title.lower().replace(" ", "-")
    assert f"(cluster.md#{anchor})" in (ROOT / "docs" / "faults.md").read_text()


def test_the_guides_figures_are_those_of_the_code():
    (runners, produced, scored, exact, actors) = re.findall(
        r"need (\d+) × (\d+) ÷ ([\d,]+) ÷ 0\.7 = ([\d.]+), so (\d+) actors",
        section_of_the_guide("From one machine to a cluster"),
    )[0]
    needed = int(runners) * int(produced) / int(scored.replace(",", "")) / 0.7
    assert needed == pytest.approx(float(exact), abs=0.05)
    assert math.ceil(needed) == int(actors)
    spot = " ".join(section_of_the_guide("Spot nodes").split())
    assert f"`timeout_s` ({ServingConfig().timeout_s:g} s by default)" in spot
    pending = f"after {deployment._PLACE_TIMEOUT_S:g} s the pool gives up"
    assert pending in section_of_the_guide("Autoscaling")
    assert "ENV HF_HUB_OFFLINE=1" in (DEPLOY / "Dockerfile").read_text()


def test_every_port_of_the_manifests_is_in_the_guide():
    spec = read("ray-cluster.yaml")["spec"]
    pods = [
        group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    given = {
        port["containerPort"]
        for pod in pods
        for container in pod["containers"]
        for port in container["ports"]
    }
    named = re.findall(r"^\| (\d+)\b", section_of_the_guide("Security"), re.MULTILINE)
    assert {6379, 8265, 10001, 8080} == given <= {int(port) for port in named}


def test_the_image_has_the_ray_of_the_manifests():
    version = read("ray-cluster.yaml")["spec"]["rayVersion"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert set(re.findall(r"(?:ray:|ray\[rllib\]==)([\d.]+\d)", dockerfile)) == {version}
    assert "not built" in dockerfile
    for source in re.findall(r"^COPY --chown=\S+ (.*) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


@pytest.fixture(scope="module")
def cluster_of_nodes(own_ray):
    """The nodes of deploy/ on this machine, as large on paper, two of each kind; also by group."""

    def compute_on_cpu():  # within, so that Ray sends it whole
        """Let reward actors that Ray gave a GPU on paper compute on the CPU."""
        from ray.runtime_context import RuntimeContext

        RuntimeContext.get_accelerator_ids = lambda self: {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=":")
        options = {"object_store_memory": 100_000_000, "include_dashboard": False}
        quick = {"metrics_report_interval_ms": 500, "health_check_period_ms": 1000}
        head = {"_system_config": quick, **options}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **head})
        try:
            nodes = {"gpu": [], "cpu": []}
            for group in ("gpu", "gpu", "cpu", "cpu"):
                (cpus, gpus), _, _ = nodes_of_kuberay()[group]
                nodes[group].append(cluster.add_node(num_cpus=cpus, num_gpus=gpus, **options))
            ray.init(
                address=cluster.address,
                runtime_env={"worker_process_setup_hook": compute_on_cpu},
                log_to_driver=False,
            )
            yield cluster, nodes
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def nodes(cluster_of_nodes):
    """The ids of the nodes by group."""
    _, nodes = cluster_of_nodes
    return {group: [node.node_id for node in each] for group, each in nodes.items()}


def scrape():
    """Names of the metrics that the nodes export for Prometheus."""
    names = set()
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            names |= set(re.findall(r"^([a-zA-Z_]\w*)", answer.read().decode(), re.MULTILINE))
    return names


def shown():
    """Names of the metrics that the dashboard shows."""
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    queries = "\n".join(target["expr"] for panel in panels for target in panel["targets"])
    names = set(re.findall(r"\bray_\w+", queries))
    assert len(panels) == 8
    assert len(names) >= 8
    return names


@pytest.fixture(scope="module")
def trained(nodes, tiny_clip):
    """An algorithm after one iteration of the job's run, in small, and its result."""
    small = [
        f"vlm_reward.encoder={tiny_clip}",
        "vlm_reward.serving.precision=fp32",
        "vlm_reward.stalled_seconds=5",
        "env_runners.num_env_runners=2",
        "env_runners.num_envs_per_env_runner=2",
        "training.train_batch_size_per_learner=64",
        "training.minibatch_size=32",
        "training.num_epochs=1",
    ]
    settings = [*assignments(), *small]  # the later of two holds
    experiment = Experiment.from_file(ROOT / "configs" / "quickstart.yaml", settings)
    algorithm = experiment.to_algorithm_config().build_algo()
    try:
        yield algorithm, algorithm.train()
    finally:
        algorithm.stop()


def test_rewards_are_served_on_gpu_nodes_to_env_runners_on_cpu_nodes(nodes, trained):
    algorithm, result = trained
    pool = callbacks_of(algorithm)._pool
    actors = present(pool.name).values()
    places = [node for node, _ in ray.get([actor.location.remote() for actor in actors])]
    assert sorted(places) == sorted(nodes["gpu"])  # one each
    runners = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: ray.get_runtime_context().get_node_id(), local_env_runner=False
    )
    assert len(runners) == 2
    assert set(runners) <= set(nodes["cpu"])
    assert result["env_runners"]["vlm_reward"]["frames"] >= 64
    assert sum(row["frames"] for row in pool.stats()) >= 64


def test_every_metric_of_the_dashboard_is_exported_by_a_run(trained):
    pytest.importorskip("opencensus", reason='metrics need pip install "ray[default]"')
    deadline = time.monotonic() + 60
    while missing := shown() - scrape():
        assert time.monotonic() < deadline, f"shown, but not exported: {missing}"
        time.sleep(1)


def train_on(algorithm):
    for _ in range(20):
        algorithm.train()


def test_a_run_whose_cpu_nodes_are_lost_ends_with_an_error_that_names_them(
    cluster_of_nodes, trained
):
    """The last test, since it takes the nodes of the others."""
    cluster, nodes = cluster_of_nodes
    algorithm, _ = trained
    for node in nodes["cpu"]:
        cluster.remove_node(node, allow_graceful=False)
    deadline = time.monotonic() + 60
    while sum(not node["Alive"] for node in ray.nodes()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(RewardError, match="training stands still") as raised:
        train_on(algorithm)
    assert "0 of 2 env runners are healthy" in str(raised.value)
    assert "2 of 2 reward actors answer" in str(raised.value)
    address = nodes["cpu"][0].node_ip_address
    assert f"the cluster lost 2 nodes ({address}, {address})" in str(raised.value)
