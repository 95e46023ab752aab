"""The manifests for Kubernetes, and the overlay of docs/kubernetes.md that adapts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "packaging" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
OVERLAY = re.search(r"^```yaml\n# kustomization.yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MINE = "clusters: {mine: {jolokia: {contact_points: [10.0.0.1]}}}\n"


def adapted(folder: Path) -> list[dict[str, Any]]:
    """The objects that kustomize makes of the manifests and the page's overlay."""
    assert OVERLAY
    shutil.copytree(MANIFESTS, folder / "base")
    (folder / "mine").mkdir()
    (folder / "mine" / "kustomization.yaml").write_text(OVERLAY[1])
    (folder / "mine" / "ringcheck.yaml").write_text(MINE)
    command = ["kubectl", "kustomize", str(folder / "mine")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed; Debian's is too old for overlays")
def test_the_overlay_of_the_page(tmp_path: Path) -> None:
    """It replaces the image, the configuration and the authority, and loses nothing else."""
    objects = {made["kind"]: made for made in adapted(tmp_path)}
    given = list(yaml.safe_load_all((MANIFESTS / "ringcheck.yaml").read_text()))
    assert set(objects) == {made["kind"] for made in given}
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.mine.net/ringcheck:0.1.0"
    assert objects["ConfigMap"]["data"]["ringcheck.yaml"] == MINE
    assert "tls_server_config" in objects["ConfigMap"]["data"]["web.yml"]
    assert objects["ValidatingWebhookConfiguration"]["webhooks"][0]["clientConfig"]["caBundle"] == "BASE64"


def test_the_overlay_names_what_there_is() -> None:
    """The image and the configuration that it replaces are those of the manifests."""
    assert OVERLAY
    overlay = yaml.safe_load(OVERLAY[1])
    text = (MANIFESTS / "ringcheck.yaml").read_text()
    assert f"image: {overlay['images'][0]['name']}:" in text
    maps = [made for made in yaml.safe_load_all(text) if made["kind"] == "ConfigMap"]
    generated = overlay["configMapGenerator"][0]
    names = {key: generated[key] for key in ("name", "namespace")}
    assert [made["metadata"] for made in maps] == [names]
    assert set(generated["files"]) <= set(maps[0]["data"])
    assert yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"] == ["ringcheck.yaml"]
