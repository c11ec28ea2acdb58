"""Build step that pyproject.toml cannot express: the tag of a wheel without native code."""

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class TaggedWheel(bdist_wheel):
    """Tags a wheel without native code `py3-none-any`, so that no cache serves it in place of the native one."""

    def get_tag(self) -> tuple[str, str, str]:
        if any(Path(self.bdist_dir).rglob("_native*.so")) or any(Path(self.bdist_dir).rglob("_native*.pyd")):
            return super().get_tag()
        self.root_is_pure = True
        return "py3", "none", "any"


setup(cmdclass={"bdist_wheel": TaggedWheel})
