"""Builds the wheel: folders of the checkout that users read and copy become package data (harness/base/shipped.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("protocols", "submissions/template", "docker")


class BuildWithShipped(build_py):
    def run(self) -> None:
        if self.editable_mode:  # the checkout's own folders are used
            super().run()
            return
        shutil.rmtree(Path(self.build_lib) / "harness", ignore_errors=True)  # modules that an older build left there
        super().run()
        for name in SHIPPED:
            target = Path(self.build_lib) / "harness" / "_shipped" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(name, target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithShipped})
