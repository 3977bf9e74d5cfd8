"""The house rules that a machine can check: floors, pinned imports, no print, ordered sums, short modules.

A checker takes one module and gives its faults as ``path:line: what is wrong``. Each is shown a bad source first, so
that it is known to fail.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fwfm_gpu"

FLOORS = {
    name: floor
    for floor, names in enumerate(
        [
            "errors parameters numerics version cuda_sources atomic_file text_table",
            "row_norms schedules downsampling counts "
            "losses optimizers metrics device_arrays device_matrix matrix_reader matrix_columns field_matrix recipe "
            "row_parts labels columns category_field number_field encoding_report "
            "list_columns date_columns field_kind hash_field list_field date_field field_choice row_draft "
            "encoder_options fitted_columns fitted_fields field_growth "
            "ranking_metrics",
            "backends encoding io",
            "starts "
            "encoded_file encoded_file_writing "
            "training epochs problem callbacks progress interruption history options model model_document model_file "
            "model_columns device_memory field_pairs scorer row_encoder "
            "continuation given growth passes stream_sources stream_survey stream_passes stream_training "
            "checkpoints fingerprints evaluation tuning_callbacks training_logs "
            "model_names training_marks interactions held_pairs field_strengths contributions explanations",
            "estimators estimators_base report report_sections report_fields report_findings report_charts report_html "
            "report_interactions verify tuning tuned search_space demo info warmup",
            "cli cli_checks cli_commands cli_data cli_encode cli_encoded cli_encoder cli_flags cli_models cli_output "
            "cli_predict cli_remarks cli_train cli_tune cli_words",
        ]
    )
    for name in names.split()
}
STRANGERS = [{"backends"}, {"encoding", "io"}]  # the two halves of floor 2 never meet

INSTRUCTIONS = [f"backends/compiled_{name}.py" for name in ("types", "structures", "operations")]
EVERYWHERE = {*sys.stdlib_module_names, "numpy", "scipy"}
PINNED = {
    "cupy": ["backends/cuda.py", "backends/kernels.py"],
    "cupyx": ["backends/cuda.py"],
    "numba": ["backends/compiled.py", *INSTRUCTIONS],
    "llvmlite": INSTRUCTIONS,
    "sklearn": ["estimators.py", "estimators_base.py", "demo.py"],
    "pyarrow": ["encoding.py", "io/"],
    "narwhals": ["encoding.py", "io/"],
    "matplotlib": ["report.py", "report_charts.py"],
    "tqdm": ["progress.py"],
    "optuna": ["tuning.py", "tuning_callbacks.py"],
    "tensorboard": ["training_logs.py"],
    "mlflow": ["training_logs.py"],
    "shtab": ["cli_commands.py"],
}

# Not left to right, or not promised to be (numerics 10); the builtin sum compensates since Python 3.12.
UNORDERED = {"sum", "nansum", "fsum", "reduceat", "einsum", "tensordot", "dot", "vdot", "inner", "matmul"}
UNORDERED |= {"vecdot", "matvec", "vecmat"}

LONGEST = 420  # lines


@dataclass(frozen=True)
class Module:
    """A module of the package: its path below the package folder, and its text."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def room(self) -> str:
        """The module's or subpackage's name in the table of floors."""
        return self.path.split("/")[0].removesuffix(".py")

    def fault(self, line: int, text: str) -> str:
        return f"fwfm_gpu/{self.path}:{line}: {text}"


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes at any depth, but for the bodies of ``if TYPE_CHECKING:``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from runtime_nodes(other)
        else:
            yield from runtime_nodes(child)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import; ``from a import b`` is ``a.b``, whether b is a module or not."""
    for node in runtime_nodes(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = ["fwfm_gpu", *module.path.split("/")[:-1]]
            kept = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            for name in node.args[:1]:
                if isinstance(name, ast.Constant):
                    yield node.lineno, str(name.value)


def floor_faults(module: Module) -> Iterator[str]:
    """A module imports from its own floor and from lower ones."""
    if module.path == "__init__.py":
        return
    if module.room not in FLOORS:
        yield module.fault(1, f"{module.room} stands on no floor: give it one in FLOORS of tests/test_architecture.py")
        return
    for line, name in imports(module):
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package != "fwfm_gpu":
            continue
        if target not in FLOORS:
            yield module.fault(
                line, f"imports {name}, which has no floor: import from where it is defined, or give that a floor"
            )
        elif FLOORS[target] > FLOORS[module.room]:
            yield module.fault(
                line,
                f"floor {FLOORS[module.room]} imports {target} of floor {FLOORS[target]}: only lower floors may be",
            )
        elif any(module.room in half and target not in half and FLOORS[target] == 2 for half in STRANGERS):
            yield module.fault(line, f"{module.room} and {target} never import each other")


def third_party_faults(module: Module) -> Iterator[str]:
    """NumPy, SciPy and the standard library anywhere; any other package only where it is pinned."""
    for line, name in imports(module):
        package = name.split(".")[0]
        if package in EVERYWHERE or package == "fwfm_gpu":
            continue
        homes = PINNED.get(package, [])
        if not any(module.path == home or (home.endswith("/") and module.path.startswith(home)) for home in homes):
            yield module.fault(line, f"imports {package}: allowed in {' '.join(homes) or 'no module'}")


def print_faults(module: Module) -> Iterator[str]:
    """Only the command line prints."""
    if module.path.startswith("cli"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print"):
            yield module.fault(node.lineno, "print: only cli*.py print, a library logs")


def integer_lines(source: str) -> set[int]:
    """Lines that carry the comment ``# integers``: what is summed there has no rounding."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0] for token in tokens if token.type == tokenize.COMMENT and token.string.startswith("# integers")
    }


def unordered(node: ast.AST) -> str | None:
    """The unordered sum that this node is, by name."""
    match node:
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            return "@"
        case ast.Attribute(attr="reduce", value=ast.Attribute(attr="add")):
            return "add.reduce"
        case ast.Attribute(attr=name) | ast.Call(func=ast.Name(id=name)) | ast.alias(name=name) if name in UNORDERED:
            return name
    return None


def sum_faults(module: Module) -> Iterator[str]:
    """Backends add model floats in the contract's order, so never through these (numerics 10)."""
    if module.room != "backends":
        return
    allowed = integer_lines(module.source)
    for node in ast.walk(module.tree):
        name = unordered(node)
        if name is not None and not allowed & set(range(node.lineno, node.end_lineno + 1)):
            yield module.fault(node.end_lineno, f"{name} adds in no promised order; a sum of integers says # integers")


def length_faults(module: Module) -> Iterator[str]:
    """A long module holds more than one noun."""
    lines = len(module.source.splitlines())
    if lines > LONGEST:
        yield module.fault(lines, f"{lines} lines, at most {LONGEST}: split it by noun")


Checker = Callable[[Module], Iterator[str]]
CHECKERS: list[Checker] = [floor_faults, third_party_faults, print_faults, sum_faults, length_faults]
MODULES = [Module(p.relative_to(PACKAGE).as_posix(), p.read_text("utf-8")) for p in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_the_package(checker):
    assert "errors.py" in [module.path for module in MODULES]
    faults = [fault for module in MODULES for fault in checker(module)]
    assert not faults, "\n" + "\n".join(faults)


def test_the_tests_are_short_too():
    tests = Path(__file__).parent
    modules = [Module(path.relative_to(tests).as_posix(), path.read_text("utf-8")) for path in tests.rglob("*.py")]
    assert "backends/test_seam.py" in [module.path for module in modules]
    faults = [fault.replace("fwfm_gpu", "tests", 1) for module in modules for fault in length_faults(module)]
    assert not faults, "\n" + "\n".join(faults)


BAD = [
    (floor_faults, "losses.py", "import fwfm_gpu.cli", "fwfm_gpu/losses.py:1: floor 1 imports cli of floor 5"),
    (floor_faults, "losses.py", "\nfrom fwfm_gpu.model import FwFM", "losses.py:2: floor 1 imports model of floor 3"),
    (floor_faults, "losses.py", "def f():\n    from fwfm_gpu import backends", "losses.py:2: floor 1 imports backends"),
    (floor_faults, "backends/cuda.py", "from ..model import FwFM", "backends/cuda.py:1: floor 2 imports model"),
    (floor_faults, "backends/cuda.py", "from .. import model", "backends/cuda.py:1: floor 2 imports model"),
    (floor_faults, "model.py", "from . import cli", "model.py:1: floor 3 imports cli"),
    (floor_faults, "model.py", "import_module('fwfm_gpu.cli')", "model.py:1: floor 3 imports cli"),
    (floor_faults, "model.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import fwfm_gpu.cli", "model.py:4: floor 3"),
    (floor_faults, "model.py", "import fwfm_gpu", "model.py:1: imports fwfm_gpu, which has no floor"),
    (floor_faults, "model.py", "from fwfm_gpu import train", "model.py:1: imports fwfm_gpu.train, which has no floor"),
    (floor_faults, "io/csv.py", "import fwfm_gpu.backends", "io/csv.py:1: io and backends never import each other"),
    (floor_faults, "backends/cuda.py", "import fwfm_gpu.io.csv", "cuda.py:1: backends and io never import each other"),
    (floor_faults, "attic.py", "", "attic.py:1: attic stands on no floor: give it one"),
    (third_party_faults, "model.py", "import cupy", "model.py:1: imports cupy: allowed in backends/cuda.py"),
    (third_party_faults, "model.py", "def f():\n    from tqdm.auto import tqdm", "model.py:2: imports tqdm: allowed"),
    (third_party_faults, "io.py", "import pyarrow", "io.py:1: imports pyarrow: allowed in encoding.py io/"),
    (third_party_faults, "cli.py", "import torch", "cli.py:1: imports torch: allowed in no module"),
    (third_party_faults, "cli.py", "importlib.import_module('numba')", "cli.py:1: imports numba: allowed in"),
    (print_faults, "model.py", "def f():\n    print(1)", "model.py:2: print"),
    (sum_faults, "backends/a.py", "x.sum(axis=0)", "backends/a.py:1: sum adds in no promised order"),
    (sum_faults, "backends/a.py", "y = 1\nnp.sum(x)", "backends/a.py:2: sum"),
    (sum_faults, "backends/a.py", "total = np.sum", "backends/a.py:1: sum"),
    (sum_faults, "backends/a.py", "sum(x)", "backends/a.py:1: sum"),
    (sum_faults, "backends/a.py", "text = '# integers'; np.sum(x)", "backends/a.py:1: sum"),
    (sum_faults, "backends/a.py", "from numpy import dot", "backends/a.py:1: dot"),
    (sum_faults, "backends/a.py", "x @ y", "backends/a.py:1: @"),
    (sum_faults, "backends/a.py", "x @= y", "backends/a.py:1: @"),
    (sum_faults, "backends/a.py", "np.add.reduce(x)", "backends/a.py:1: add.reduce"),
    (sum_faults, "backends/a.py", "np.add.reduceat(x, i)", "backends/a.py:1: reduceat"),
    *((sum_faults, "backends/a.py", f"np.{name}(x, y)", f"a.py:1: {name}") for name in sorted(UNORDERED)),
    (length_faults, "model.py", "x = 1\n" * (LONGEST + 1), "model.py:421: 421 lines, at most 420"),
]

GOOD = [
    (floor_faults, "model.py", "from fwfm_gpu.history import History\nfrom fwfm_gpu import errors\nimport fwfm_gpu.io"),
    (floor_faults, "losses.py", "if TYPE_CHECKING:\n    from fwfm_gpu.model import FwFM"),
    (
        floor_faults,
        "backends/cuda.py",
        "from . import kernels\nfrom .kernels import Kernel\nfrom ..losses import LOSSES",
    ),
    (floor_faults, "encoding.py", "import fwfm_gpu.io.csv"),
    (floor_faults, "__init__.py", "from fwfm_gpu.cli import main"),
    (third_party_faults, "io/parquet.py", "import os, numpy as np, scipy.sparse, pyarrow.parquet, narwhals"),
    (third_party_faults, "backends/cuda.py", "def f():\n    import cupy"),
    (print_faults, "cli.py", "print(1)"),
    (print_faults, "cli_train.py", "print(1)"),
    (print_faults, "model.py", "text = 'print(1)'"),
    (sum_faults, "losses.py", "np.sum(x)"),
    (sum_faults, "backends/a.py", "counts.sum()  # integers: rows of each block"),
    (sum_faults, "backends/a.py", "np.add.at(x, i, y)\nnp.add.accumulate(x)\n@njit\ndef f(inner): return inner"),
    (length_faults, "model.py", "x = 1\n" * LONGEST),
]


@pytest.mark.parametrize(("checker", "path", "source", "fault"), BAD)
def test_a_bad_source_is_named(checker, path, source, fault):
    faults = list(checker(Module(path, source)))
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(("checker", "path", "source"), GOOD)
def test_a_good_source_passes(checker, path, source):
    assert not list(checker(Module(path, source)))


def test_every_room_of_floor_two_knows_its_strangers():
    assert set().union(*STRANGERS) == {name for name, floor in FLOORS.items() if floor == 2}
