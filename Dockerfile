# gpublur on the CPU:
#   docker build -t gpublur .
#   docker run --rm --read-only --user "$(id -u):$(id -g)" -v "$PWD:/photos" gpublur blur /photos/in.jpg -o /photos/out.jpg
# The server: --build-arg EXTRAS=[server], and
#   docker run --read-only --tmpfs /tmp -p 8000:8000 -v ./keys:/keys:ro gpublur serve --host 0.0.0.0 --keys /keys
# Its settings may be variables, -e GPUBLUR_SERVE_MAX_WAITING=32; results outlive it in a volume, -e GPUBLUR_SERVE_STORE=/results.
FROM python:3.13-slim AS build
ARG EXTRAS=""
COPY . /source
RUN python -m venv /opt/gpublur && GPUBLUR_NVCC=OFF /opt/gpublur/bin/pip install --no-cache-dir "/source${EXTRAS}"

FROM python:3.13-slim
# Loops are compiled for a kind of CPU, not for the machine that builds: the image serves every machine of that kind.
# x86-64-v3 has AVX2, as servers have since 2013 (AMD: 2015); on Arm: --build-arg CPU=generic.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=$CPU NUMBA_CPU_FEATURES="" PATH=/opt/gpublur/bin:$PATH
COPY --from=build /opt/gpublur /opt/gpublur
RUN gpublur warmup --device cpu
USER nobody
ENTRYPOINT ["gpublur"]
