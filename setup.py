"""The packages: those of hiercam_keras/, and configs/ as `hiercam_keras.configs`.

pyproject.toml can find packages or place one elsewhere, but not both at once.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["hiercam_keras*"]),
        "hiercam_keras.configs",
        "hiercam_keras.configs.sections",
    ],
    package_dir={
        "hiercam_keras.configs": "configs",
        "hiercam_keras.configs.sections": "configs/sections",
    },
)
