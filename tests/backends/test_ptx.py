"""The gate over the real kernels, without a GPU: what the compiler made of them keeps the contract.

PTX is looked at, not machine code: there a correctly rounded division or square root is made of fused operations.
"""

from __future__ import annotations

import dataclasses
import re

import pytest

from fwfm_gpu.backends import kernels
from fwfm_gpu.cuda_sources import COMPILED_K, Source, Variant, read_source, source_folder
from fwfm_gpu.errors import FwfmError

NAMES = sorted(path.name for path in source_folder().glob("*.cu"))
ARCHITECTURES = (75, 80, 90, 100)
INDICES = {"int32": (*COMPILED_K, -1), "int64": (16, -1)}

INSTRUCTION = re.compile(r"^\s+(?:@!?%\w+\s+)?([a-z]\w*(?:[.:]+\w+)*)\s", re.MULTILINE)
FLOAT = re.compile(r"\.(b?f16|b?f16x2|f32|f32x2|f64|tf32|e\dm\d)\b")
ROUNDED = re.compile(r"(add|sub|mul|div|sqrt|rcp)\.rn\.(f32|f64)")  # one operation, one rounding to nearest even
ROUNDING = {"add", "sub", "mul", "div", "sqrt", "rcp", "rsqrt", "fma", "mad", "sin", "cos", "ex2", "lg2", "tanh"}
ENTRY = re.compile(r"^\.visible \.entry (\w+)\(", re.MULTILINE)
RESOURCES = re.compile(
    r"Function properties for (\w+)\n.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)


@pytest.fixture(scope="module")
def nvrtc():
    """NVRTC; needs neither a GPU nor a driver."""
    try:
        return kernels.import_nvrtc()
    except FwfmError as error:
        pytest.skip(f"no compiler: {error}")


def list_variants(source: Source) -> list[Variant]:
    """Every variant that is loaded; a source without FWFM_K is the same text for each k."""
    return [
        Variant(real, index, k)
        for real in ("float32", "float64")
        for index, factors in INDICES.items()
        for k in (factors if "FWFM_K" in source.text else factors[-1:])
    ]


CASES = [(name, variant) for name in NAMES for variant in list_variants(read_source(name))]


def spell(value: object) -> str:
    return f"{value.real}-{value.index}-k{value.k}" if isinstance(value, Variant) else str(value)


def find_faults(ptx: str) -> list[str]:
    """The instructions that break the contract (numerics 2, 9)."""
    return sorted({code for code in INSTRUCTION.findall(ptx) if is_fault(code)})


def is_fault(code: str) -> bool:
    operation, *parts = code.split(".")
    if {"ftz", "approx", "full"} & set(parts):
        return True
    if FLOAT.search(code) is None:
        return False
    # Without .rn the driver may still fuse a product with a sum; with it, it may not.
    return operation in ("atom", "red") or (operation in ROUNDING and ROUNDED.fullmatch(code) is None)


def test_the_gate_sees_the_kernels():
    assert set(NAMES) >= {"coordinates.cu", "plan.cu", "rows.cu"}
    assert {name for name, variant in CASES if variant.k == 16} >= {"rows.cu"}
    assert all(read_source(name).kernels for name in NAMES)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
@pytest.mark.parametrize("name, variant", CASES, ids=spell)
def test_every_variant_keeps_the_contract(nvrtc, name, variant, architecture):
    if architecture not in nvrtc.getSupportedArchs():
        pytest.skip(f"NVRTC {nvrtc.getVersion()} does not know sm_{architecture}")
    source = read_source(name)
    options = kernels.list_options(variant, f"sm_{architecture}")
    with kernels.compiled(source, (*options, "--ptxas-options=-v")) as program:
        ptx, log = nvrtc.getPTX(program).decode(), nvrtc.getProgramLog(program)
    assert f".target sm_{architecture}" in ptx
    assert sorted(ENTRY.findall(ptx)) == sorted(source.kernels)  # what is parsed is what is compiled
    assert find_faults(ptx) == []
    resources = {kernel: [int(number) for number in numbers] for kernel, *numbers in RESOURCES.findall(log)}
    assert resources.keys() == source.kernels.keys()
    if architecture == 90:
        assert {kernel: numbers for kernel, numbers in resources.items() if any(numbers)} == {}


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("name", NAMES)
def test_structs_lie_as_the_compiler_lays_them(nvrtc, name, real, index):
    source, variant = read_source(name), Variant(real, index)
    claims = []
    for struct in source.structs:
        layout = source.layout(struct, variant)
        claims.append(f"sizeof({struct}) == {layout.itemsize}")
        claims += [f"__INTADDR__(&(({struct}*)0)->{m}) == {layout.fields[m][1]}" for m in layout.names]
    assert len(claims) > 20
    asserts = "".join(f'static_assert({claim}, "");\n' for claim in claims)
    source = dataclasses.replace(source, text=source.text + asserts)
    assert kernels.compile_source(source, variant, "compute_90", output="ptx")


# The gate itself can fail


@pytest.mark.parametrize(
    "line",
    [
        "fma.rn.f32 \t%f1, %f2, %f3, %f4;",
        "fma.rn.f64 \t%fd1, %fd2, %fd3, %fd4;",
        "mad.rn.f32 \t%f1, %f2, %f3, %f4;",
        "@%p1 add.ftz.f32 \t%f1, %f2, %f3;",
        "setp.lt.ftz.f32 \t%p1, %f1, %f2;",
        "add.f32 \t%f1, %f2, %f3;",
        "mul.f64 \t%fd1, %fd2, %fd3;",
        "mul.rz.f32 \t%f1, %f2, %f3;",
        "add.rn.f16 \t%h1, %h2, %h3;",
        "div.approx.f32 \t%f1, %f2, %f3;",
        "div.full.f32 \t%f1, %f2, %f3;",
        "sqrt.approx.f32 \t%f1, %f2;",
        "rcp.approx.ftz.f64 \t%fd1, %fd2;",
        "rsqrt.approx.f64 \t%fd1, %fd2;",
        "ex2.approx.f32 \t%f1, %f2;",
        "atom.global.add.f32 \t%f1, [%rd1], %f2;",
        "@!%p3 red.global.add.f64 \t[%rd1], %fd1;",
        "red.relaxed.gpu.global.add.noftz.f16 \t[%rd1], %h1;",
        "atom.shared.add.bf16 \t%h1, [%r1], %h2;",
    ],
)
def test_a_planted_instruction_is_found(line):
    ptx = f".visible .entry f()\n{{\n\tadd.rn.f32 \t%f1, %f2, %f3;\n\t{line}\n$L__BB0_1:\n\tret;\n}}\n"
    assert find_faults(ptx) == [re.sub(r"^@!?%\w+ ", "", line).split()[0]]


def test_what_is_allowed_is_not_a_fault():
    codes = [
        *("add.rn.f32", "sub.rn.f64", "mul.rn.f32", "div.rn.f64", "sqrt.rn.f32", "rcp.rn.f64", "neg.f64", "abs.f32"),
        *("cvt.rn.f32.f64", "cvt.rni.f64.f64", "cvt.f64.f32", "min.f64", "selp.f32", "setp.neu.f64", "mov.f32"),
        *("ld.global.nc.v4.f32", "st.shared.f32", "shfl.sync.bfly.b32", "mad.lo.s32", "fns.b32", "add.s64"),
        *("atom.global.add.u32", "red.shared.add.u64", "atom.global.cas.b64", "ld.shared::cta.f32", "bar.sync"),
    ]
    ptx = "".join(f"\t{code} \t%r1, %r2;\n" for code in codes)
    assert INSTRUCTION.findall(ptx) == codes
    assert find_faults(ptx) == []


PLANTED = """\
extern "C" __global__ void fused(float* x) { x[0] = __fmaf_rn(x[1], x[2], x[3]); }
extern "C" __global__ void scattered(double* x) { atomicAdd(x, 1.0); }
extern "C" __global__ void rough(float* x) { x[0] = __fdividef(x[1], x[2]) + __expf(x[3]); }
extern "C" __global__ void spilling(float* x, const int* at)
{
    float own[64];
    for (int i = 0; i < 64; i++) own[i] = x[i];
    for (int i = 0; i < 64; i++) x[i] = own[at[i] & 63];
}
"""


def test_planted_kernels_are_found(nvrtc):
    options = (*kernels.list_options(Variant(), "sm_90"), "--ptxas-options=-v")
    with kernels.compiled(Source("planted.cu", PLANTED), options) as program:
        ptx, log = nvrtc.getPTX(program).decode(), nvrtc.getProgramLog(program)
    found = " ".join(find_faults(ptx))
    for code in ("fma.rn.f32", "add.f64", "div.approx.f32", "ex2.approx"):
        assert code in found
    frames = {kernel: int(frame) for kernel, frame, _, _ in RESOURCES.findall(log)}
    assert frames == {"fused": 0, "scattered": 0, "rough": 0, "spilling": 256}
