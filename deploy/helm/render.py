"""
Renders the chart with Helm's own engine (the package helm-python-sdk), without a cluster and without `helm`.

    python deploy/helm/render.py            writes deploy/kubernetes/*/murmuration.yaml from the values beside each
    python deploy/helm/render.py --package DIR  writes the chart's archive, with what its links lead to
    python deploy/helm/render.py --check    says whether they are what the chart gives
    python deploy/helm/render.py --serve    answers lines of JSON, for tests
"""

import json
import sys
from pathlib import Path

import helm_python as helm
import yaml

HERE = Path(__file__).parent
CHART = HERE / "murmuration"
MANIFESTS = HERE.parent / "kubernetes"
RELEASE = NAMESPACE = "murmuration"
HEAD = """\
# Rendered from deploy/helm/murmuration by `make manifests`: change the chart, or the values beside this file.
apiVersion: v1
kind: Namespace
metadata:
  name: murmuration
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def render(values: dict, *, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE) -> dict[str, str]:
    """The text of each template; NOTES.txt is one of them. helm.HelmError: *values* aren't the chart's."""
    with helm.Chart.load(str(chart)) as loaded:
        loaded.validate_schema(values)
        rendered = loaded.render(values, name=release, namespace=namespace)
    return {Path(path).name: text for path, text in rendered.items()}


def plain(directory: Path) -> str:
    """The manifests of a directory, from its values."""
    values = yaml.safe_load((directory / "values.yaml").read_text("utf-8")) or {}
    texts = sorted(render(values).items())
    documents = [text.strip().removeprefix("---\n") for name, text in texts if name.endswith(".yaml") and text.strip()]
    return "---\n".join([HEAD, *(f"{text}\n" for text in documents)])


def serve() -> None:
    """Answer each line, a JSON object of `values` and, if need be, `chart` and `namespace`, with one line."""
    for line in sys.stdin:
        asked = json.loads(line)
        chart = Path(asked.get("chart") or CHART)
        try:
            if asked.get("lint"):
                answer = {"lint": helm.lint(str(chart), asked["values"], strict=True)}
            else:
                answer = {"texts": render(asked["values"], chart=chart, namespace=asked.get("namespace") or NAMESPACE)}
        except helm.HelmError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def main() -> int:
    """Exit status 1 when --check finds a difference."""
    helm.disable_logging()
    if "--serve" in sys.argv:
        serve()
        return 0
    if "--package" in sys.argv:
        print(helm.package(str(CHART), destination=sys.argv[-1]))
        return 0
    status = 0
    for values in sorted(MANIFESTS.glob("*/values.yaml")):
        target = values.with_name("murmuration.yaml")
        text = plain(values.parent)
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text("utf-8") != text:
            print(f"{target} isn't what the chart gives: make manifests")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
