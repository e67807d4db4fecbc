# Three images: `wallet` for writer, reader, proxy, sentinel and the preparation of a cluster, `entry`
# for the load balancer before the proxies, and `postgres` for a read store. No compiler and nothing secret
# is in any of them.
ARG PYTHON=3.11
ARG BASE=python:${PYTHON}-slim

FROM ${BASE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/ewallet
# `make wheels` fills .wheels where a build can't reach a package index; it need not exist.
COPY requirements.txt .wheel[s] /wheels/
RUN if ls /wheels/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1; fi; \
    /opt/ewallet/bin/pip install --quiet --find-links /wheels --only-binary :all: \
        --require-hashes --requirement /wheels/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
COPY contracts contracts
COPY ewallet ewallet
COPY proxy proxy
COPY reader reader
COPY runtime runtime
COPY sentinel sentinel
COPY writer writer
RUN /opt/ewallet/bin/pip install --quiet --no-deps --no-build-isolation . \
    && /opt/ewallet/bin/pip uninstall --quiet --yes setuptools pip

# A named volume takes its owner from the folder of the image that it is first mounted on.
FROM ${BASE} AS unprivileged
RUN groupadd --system --gid 10001 ewallet \
    && useradd --system --uid 10001 --gid ewallet --no-create-home ewallet \
    && install -d -o ewallet -g ewallet -m 0700 /data

FROM unprivileged AS wallet
# Python's own images hold no compiled modules, and a service may write none: each start of one would
# compile what it takes of the standard library again.
RUN python -m compileall -qq -j 0 -x '/(test|tests|idlelib|lib2to3|turtledemo|site-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
RUN install -d -o ewallet -g ewallet -m 0700 /stores/1 /stores/2 /stores/3 \
        /secrets/nats /secrets/writer /secrets/reader /secrets/proxy /secrets/postgres \
        /secrets/sentinel
COPY --from=build /opt/ewallet /opt/ewallet
ENV PATH=/opt/ewallet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 EWALLET_DATA_DIR=/data
USER ewallet
WORKDIR /data
ENTRYPOINT ["ewallet"]

# Unpacked, not installed: the program and the libraries it lacks, no service and no user.
FROM ${BASE} AS haproxy
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends --download-only haproxy >/dev/null \
    && for deb in /var/cache/apt/archives/*.deb; do dpkg-deb --extract "$deb" /unpacked; done

FROM unprivileged AS entry
COPY --from=haproxy /unpacked/usr /usr
COPY deploy/entry.cfg /etc/haproxy/entry.cfg
USER ewallet
RUN haproxy -c -f /etc/haproxy/entry.cfg
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/haproxy/entry.cfg"]

# Without the compiler of queries (JIT), which is most of its size.
FROM ${BASE} AS postgresql
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends --download-only postgresql >/dev/null \
    && for deb in /var/cache/apt/archives/*.deb; do dpkg-deb --extract "$deb" /unpacked; done \
    && { [ ! -d /unpacked/lib ] || cp -a /unpacked/lib/. /unpacked/usr/lib/; } \
    && rm -rf /unpacked/usr/lib/llvm* /unpacked/usr/lib/*/libLLVM* /unpacked/usr/share/doc

FROM unprivileged AS postgres
COPY --from=postgresql /unpacked/usr /usr
COPY deploy/postgres.sh /usr/local/bin/postgres.sh
USER ewallet
ENTRYPOINT ["postgres.sh"]
