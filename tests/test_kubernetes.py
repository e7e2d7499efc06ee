"""What docs/deploy.md says of Kubernetes, held to its own schemas, and to the chart where there is one."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.common import parse_size

ROOT = Path(__file__).parents[1]
VERSION = "1.35"
CHART = (
    "NIGHTSCORE_AIRFLOW_CHART"  # the folder of the chart apache-airflow/airflow, which no registry here has
)
BLOCK = re.compile(r"^```yaml\n# (\S+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def block(name: str) -> Any:
    """The block of docs/deploy.md that begins with a file's name."""
    [text] = [text for found, text in BLOCK.findall((ROOT / "docs/deploy.md").read_text()) if found == name]
    return yaml.safe_load(text)


def hold_to_schema(document: Any) -> None:
    """Every field is one of its kind, with a value that it may have."""
    import kubernetes_validate

    kubernetes_validate.validate(document, VERSION, strict=True)


def hold_to_scratch(pod: Any) -> None:
    """The scratch folder of the tasks' container is a volume of the pod, which its requests have room for."""
    [base] = [one for one in pod["spec"]["containers"] if one["name"] == "base"]
    values = {one["name"]: one.get("value") for one in base["env"]}
    [mount] = [one for one in base["volumeMounts"] if one["mountPath"] == values["NIGHTSCORE_SCRATCH"]]
    [volume] = [one for one in pod["spec"]["volumes"] if one["name"] == mount["name"]]
    room = parse_size(volume["emptyDir"]["sizeLimit"] + "B")
    assert parse_size(base["resources"]["requests"]["ephemeral-storage"] + "B") >= room
    assert values["NIGHTSCORE_ROOT_DATA"].startswith("s3://")
    assert values["AIRFLOW__CORE__DAGS_FOLDER"] == f"{values['NIGHTSCORE_WORKSPACE']}/dags"
    assert not any("persistentVolumeClaim" in one for one in pod["spec"]["volumes"])


@pytest.mark.skipif(
    not find_spec("kubernetes_validate"),
    reason="NOT TESTED: no kubernetes-validate; pip install it, it is of the extra `test`",
)
def test_the_pod_template_is_one_of_kubernetes() -> None:
    """Strictly by the schemas of Kubernetes; a field that there is not is refused."""
    pod = block("pod_template.yaml")
    hold_to_schema(pod)
    hold_to_scratch(pod)
    pod["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(Exception, match="resource"):
        hold_to_schema(pod)


def test_the_values_name_no_variable_that_there_is_not() -> None:
    """Of nightscore's own: each is read somewhere in its code."""
    named = {one["name"] for one in block("values.yaml")["env"]}
    named |= {one["name"] for one in block("pod_template.yaml")["spec"]["containers"][0]["env"]}
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for name in (one for one in named if one.startswith("NIGHTSCORE_")):
        assert name in code or name.startswith("NIGHTSCORE_ROOT_"), name


@pytest.mark.skipif(
    not (shutil.which("helm") and os.environ.get(CHART) and find_spec("kubernetes_validate")),
    reason=f"NOT TESTED: no helm, no kubernetes-validate or no chart; {CHART} names the chart's folder",
)
def test_the_chart_renders_the_values(tmp_path: Path) -> None:
    """`helm template`: every object is valid, and so is the pod of a task, with image, scratch and role."""
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(block("values.yaml")))
    command = ["helm", "template", "night", os.environ[CHART], "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    for one in objects:
        hold_to_schema(one)
    [text] = [one["data"]["pod_template_file.yaml"] for one in objects
              if one["kind"] == "ConfigMap" and "pod_template_file.yaml" in one.get("data", {})]  # fmt: skip
    pod = yaml.safe_load(text)
    hold_to_schema(pod)
    hold_to_scratch(pod)
    assert pod["spec"]["containers"][0]["image"] == "registry.example/airflow-nightscore:1"
    [account] = [one for one in objects if one["kind"] == "ServiceAccount"
                 and one["metadata"]["name"] == pod["spec"]["serviceAccountName"]]  # fmt: skip
    assert account["metadata"]["annotations"]
