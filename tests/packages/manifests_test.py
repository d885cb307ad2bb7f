"""The compose file and the Kubernetes manifest against their published schemas, as PyPI's check-jsonschema and kubernetes-validate carry them."""

import unittest

import roots

VENV = roots.CHECKOUT / "build" / "manifests-venv"


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (VENV / "bin/check-jsonschema").exists():
            roots.run("python3", "-m", "venv", VENV)
            roots.run(VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "kubernetes-validate", "check-jsonschema")

    def test_compose(self):
        roots.run(VENV / "bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", roots.CHECKOUT / "deploy/compose.yaml")

    def test_kubernetes(self):
        said = roots.run(VENV / "bin/kubernetes-validate", "--strict", roots.CHECKOUT / "deploy/kubernetes.yaml")
        self.assertNotIn("ERROR", said.stdout + said.stderr)

    def test_a_wrong_key_is_seen(self):
        wrong = roots.TARBALLS / "wrong.yaml"
        wrong.parent.mkdir(parents=True, exist_ok=True)
        wrong.write_text((roots.CHECKOUT / "deploy/kubernetes.yaml").read_text().replace("livenessProbe", "liveProbe"))
        self.assertNotEqual(roots.run(VENV / "bin/kubernetes-validate", "--strict", wrong, check=False).returncode, 0)


if __name__ == "__main__":
    unittest.main()
