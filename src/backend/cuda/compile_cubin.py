#!/usr/bin/env python3
"""One .cu to one cubin, without a GPU: by nvcc where there is one, else by NVRTC, which PyPI has for every version of CUDA.

    compile_cubin.py --compiler nvcc|libnvrtc.so.N --arch sm_87 --include DIR --out FILE.cubin SOURCE.cu

Prints what the assembler says of each kernel (registers, shared memory, spills) into FILE.cubin.txt.
"""
import argparse
import ctypes
import pathlib
import subprocess
import sys

FLAGS = ["-std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true"]


def by_nvcc(options):
    done = subprocess.run([options.compiler, "-cubin", f"-arch={options.arch}", *FLAGS, "--expt-relaxed-constexpr", "-Xptxas=-v", f"-I{options.include}",
                           "-o", options.out, options.source], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def by_nvrtc(options):
    here = pathlib.Path(options.compiler).parent
    for builtins in here.glob("libnvrtc-builtins.so.*"):  # NVRTC asks for it by name, and finds what is loaded already
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(options.compiler)
    program = ctypes.c_void_p()
    source = pathlib.Path(options.source).read_bytes()
    arguments = [f"--gpu-architecture={options.arch}", f"-I{options.include}", "--ptxas-options=-v", "-default-device", *FLAGS]
    array = (ctypes.c_char_p * len(arguments))(*[a.encode() for a in arguments])
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, options.source.encode(), 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(arguments), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if not failed:
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, cubin)
        pathlib.Path(options.out).write_bytes(cubin.raw)
    return failed, log.value.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser()
    for name in ("compiler", "arch", "include", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("source")
    options = parser.parse_args()
    failed, log = (by_nvrtc if "nvrtc" in options.compiler else by_nvcc)(options)
    pathlib.Path(options.out + ".txt").write_text(log)
    if failed:
        sys.exit(f"{options.source} for {options.arch}:\n{log}")


if __name__ == "__main__":
    main()
