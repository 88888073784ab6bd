"""Read one result file with mteb's own TaskResult class and print what mteb reads from it.

    python mteb_results.py FILE.json

Prints one JSON object and exits 0. If mteb refuses the file, prints mteb's reason on
stderr and exits 1. Exits 2 for a wrong command line, 3 if mteb itself cannot be imported.

Needs only the packages that `python.sh` installs (about 140 MB instead of several GB). `import mteb` also imports libraries which are used to run models,
to load datasets and to draw tables, and which TaskResult does not use. Where such a library
is not installed, an empty stand-in takes its place: it can be imported, and nothing else.
Once mteb is imported, calling anything in a stand-in is an error, so no value printed here can
come from one. A library which is installed is used as it is.
"""

import importlib.abc
import importlib.machinery
import json
import math
import sys
import types
from pathlib import Path

# Libraries which `import mteb` asks for and which TaskResult does not use.
STAND_INS = (
    "datasets",
    "huggingface_hub",
    "pandas",
    "polars",
    "pytrec_eval",
    "requests",
    "rich",
    "scipy",
    "sklearn",
    "tqdm",
    "yaml",
)


class _Absent(type):
    """The class of every name in a stand-in. It may be mentioned; once mteb is imported, it may not be called."""

    sealed = False  # set once mteb is imported

    def __call__(cls, *args, **kwargs):
        if not _Absent.sealed:  # class attributes such as `evaluator_model = LogisticRegression(...)`
            return _absent(cls.__module__, f"{cls.__name__}()")
        raise RuntimeError(f"{cls.__module__}.{cls.__name__} is a stand-in and was called")

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(cls.__module__, f"{cls.__name__}.{name}")

    def __getitem__(cls, item):
        return cls


def _absent(module, name):
    return _Absent(name, (), {"__module__": module})


class _StandInModule(types.ModuleType):
    __path__ = []  # makes `import sklearn.metrics` possible

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = _absent(self.__name__, name)
        setattr(self, name, value)
        return value


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last in line: asked only for modules which are really not installed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in STAND_INS:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StandInModule(spec.name)

    def exec_module(self, module):
        pass


def main(argv):
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    sys.meta_path.append(_StandInFinder())
    try:
        from mteb.results import TaskResult
    except Exception as error:
        print(f"cannot import mteb: {type(error).__name__}: {error}", file=sys.stderr)
        return 3
    _Absent.sealed = True
    try:
        result = TaskResult.from_disk(Path(argv[1]))
        languages = sorted(result.languages)
        seen = {
            "task_name": result.task_name,
            "score": float(result.get_score()),
            "score_by_language": {one: float(result.get_score(languages=[one])) for one in languages},
            "scores": {split: {one["hf_subset"]: one for one in rows} for split, rows in result.scores.items()},
        }
    except Exception as error:
        print(f"mteb refuses {argv[1]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if not math.isfinite(seen["score"]):
        print(f"mteb reads {argv[1]}, but finds no score in it", file=sys.stderr)
        return 1
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
