"""The CUDA backend, on CuPy's loader; its kernels are in kernels/."""
